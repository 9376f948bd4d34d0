"""Runs asked for together: comparisons of models, studies of settings."""
