"""Parts of every page: escaped text, messages, figures with their table and CSV, columns, layout."""
