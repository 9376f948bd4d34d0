"""One fit by several workers: each has a replica of the model, and its share of every batch (docs/scale.md)."""
