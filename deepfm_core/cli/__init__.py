"""The command line, one module a verb; docs/command-line.md is its contract."""
