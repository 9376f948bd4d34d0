"""What leaves the app, and what comes in again: the menu Export of a finished run, and the import of a bundle."""
