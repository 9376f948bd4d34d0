"""Files that were made to harm."""
