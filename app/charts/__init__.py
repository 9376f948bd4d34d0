"""Frame → chart, one function each; neither Streamlit nor torch is imported here."""
