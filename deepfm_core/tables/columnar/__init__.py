"""Files that store columns, such as Parquet: what decoding them may take."""
