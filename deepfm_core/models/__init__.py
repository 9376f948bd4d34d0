"""The one model, its terms and its presets."""
