"""How good probabilities are, in numpy alone."""
