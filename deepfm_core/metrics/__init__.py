"""How good probabilities are, in numpy alone: start with `scores.evaluate`."""
