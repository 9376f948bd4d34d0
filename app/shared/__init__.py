"""Sections that more than one page has."""
