"""Texts with delimiters: read into memory, or onto the disk a piece at a time."""
