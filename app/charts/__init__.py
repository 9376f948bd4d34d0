"""Charts: one function per chart, from a frame to Vega-Lite. Nothing here imports Streamlit or torch."""
