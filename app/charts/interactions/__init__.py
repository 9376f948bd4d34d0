"""Pairs of fields: matrix, graph, ranking, agreement, levels."""
