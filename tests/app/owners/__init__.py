"""Who sees what on a shared server."""
