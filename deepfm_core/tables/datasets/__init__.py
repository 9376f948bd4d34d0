"""Tables of many files: a folder, a pattern or a URI. Start with `dataset.read_dataset`."""
