"""Processes that do what is queued."""
