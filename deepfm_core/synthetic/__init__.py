"""Generated tables with planted truth."""
