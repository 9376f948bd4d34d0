"""State of a visit: choices in the URL, selections in charts, and the visitor's tables and runs."""
