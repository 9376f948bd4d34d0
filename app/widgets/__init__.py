"""Small things drawn on every page: text, messages, figures, columns."""
