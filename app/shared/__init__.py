"""Sections and sentences that more than one page uses."""
