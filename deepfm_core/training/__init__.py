"""Run spec, fit (a generator of events), optimiser and metrics."""
