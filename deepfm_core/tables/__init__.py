"""Files and frames to tables of text: encoding, dialect, CSV, Parquet."""
