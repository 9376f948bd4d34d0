"""What all charts share: Vega-Lite, theme, legends."""
