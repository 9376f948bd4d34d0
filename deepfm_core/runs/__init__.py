"""What a run does, from its tables to its frames: start with `engine.execute`."""
