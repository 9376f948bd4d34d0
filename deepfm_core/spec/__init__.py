"""Everything needed to repeat a run, as plain values: settings, presets, splits, events."""
