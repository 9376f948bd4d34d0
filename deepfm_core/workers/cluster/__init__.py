"""Runs on the nodes of a Ray cluster. Nothing outside this room imports Ray, and this room only when it is asked to."""
