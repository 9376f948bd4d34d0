"""Charts of pairs of fields: matrix, graph, ranking, model against data, and levels."""
