"""From bytes to an encoded table: reading, schema inference, encoder, splits, synthetic tables with planted truth."""
