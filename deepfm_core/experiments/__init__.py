"""Several runs started together: `comparison` compares models, `study` compares settings of one model."""
