"""The Streamlit app: the only importer of Streamlit."""
