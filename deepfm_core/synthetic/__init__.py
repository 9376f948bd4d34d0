"""Generated tables whose interactions are known: start with `worlds.make_world`."""
