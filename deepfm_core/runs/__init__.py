"""Store, run folders, engine, worker and launch."""
