"""Small encoded tables of every kind of field, drawn from a seed."""

from __future__ import annotations

import numpy as np

from deepfm_core.encoding.encoded_table import CrossedField, EncodedField, EncodedTable, Layout
from deepfm_core.schema.kinds import Kind


def layout(kinds: list[tuple[Kind, int, int]], dense: int = 0) -> Layout:
    """Make a layout from (kind, slots, size) per field."""
    fields, slot, offset = [], 0, 0
    for number, (kind, slots, size) in enumerate(kinds):
        names = tuple(f"value {i}" for i in range(size))
        fields.append(EncodedField(f"f{number}", f"f{number}", kind, slot, slots, offset, size, names, None))
        slot, offset = slot + slots, offset + size
    return Layout(tuple(fields), tuple(f"d{i}" for i in range(dense)))


MIXED = layout(
    [
        (Kind.CATEGORICAL, 1, 5),
        (Kind.NUMERIC, 1, 2),
        (Kind.MULTI_VALUED, 3, 6),
        (Kind.PIECEWISE, 2, 4),
        (Kind.BUCKETISED, 1, 4),
        (Kind.MULTI_VALUED, 2, 4),
    ],
    dense=2,
)


def crossed(shape: Layout, *sizes: int) -> Layout:
    """Add a crossed field of each size to a layout, of its first two fields."""
    fields, offset = [], 0
    for number, size in enumerate(sizes):
        names = tuple(f"combination {i}" for i in range(size))
        fields.append(CrossedField(f"c{number}", (0, 1), offset, size, names))
        offset += size
    return Layout(shape.fields, shape.dense, tuple(fields))


def encoded(shape: Layout, rows: int, seed: int) -> EncodedTable:
    """Draw rows for a layout: distinct values in a multi-valued cell, blends that sum to 1 for piecewise fields."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((rows, shape.slots), np.int32)
    weights = np.ones((rows, shape.slots), np.float32)
    for field in shape.fields:
        slots = slice(field.first_slot, field.first_slot + field.slots)
        draw = rng.random((rows, field.size)).argsort(1)[:, : field.slots]
        ids[:, slots] = field.offset + draw
        if field.kind is Kind.NUMERIC:
            weights[:, slots] = rng.normal(size=(rows, 1))
        if field.kind is Kind.PIECEWISE:
            share = rng.random(rows)
            weights[:, slots] = np.stack([share, 1 - share], 1)
        if field.kind is Kind.MULTI_VALUED:
            count = rng.integers(1, field.slots + 1, rows)
            weights[:, slots] = np.arange(field.slots) < count[:, None]
    dense = rng.normal(size=(rows, len(shape.dense))).astype(np.float32)
    labels = (rng.random(rows) < 0.3).astype(np.float32)
    combinations = [field.offset + rng.integers(0, field.size, rows) for field in shape.crosses]
    crosses = np.stack(combinations, 1).astype(np.int32) if combinations else None
    return EncodedTable(shape, ids, weights, dense, labels, crosses)
