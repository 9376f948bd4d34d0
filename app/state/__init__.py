"""What a visitor has chosen and saved: the URL, tables, runs."""
