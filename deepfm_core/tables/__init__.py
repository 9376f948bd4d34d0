"""Files and frames as tables of text. Start with `reader.read_table`, or `dataframe.table_from_frame` for a frame.

A CSV passes through `decoding` (bytes to text), `dialect` (delimiter and header) and `csv_parser` (text to columns).
"""
