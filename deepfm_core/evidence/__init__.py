"""What the labels say about pairs of fields, without a model and on held-out rows."""
