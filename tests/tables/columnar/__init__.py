"""Files that store columns."""
