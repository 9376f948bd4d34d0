"""What an operator does with a store: look at it, check it, copy it."""
