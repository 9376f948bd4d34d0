"""What the model learned: terms of a row, interaction strengths, evidence from the data."""
