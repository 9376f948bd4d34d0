"""What each column is taken to be: its kind, the label, and what to be careful about."""
