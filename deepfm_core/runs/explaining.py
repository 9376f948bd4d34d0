"""The explain stage of a run: computes the frames that the pages show first and writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepfm_core.data.encoded import EncodedTable
from deepfm_core.data.schema import Kind
from deepfm_core.explain import findings, tables
from deepfm_core.explain.attribution import dnn_attribution_frame
from deepfm_core.explain.learned import learned_pairs
from deepfm_core.explain.levels import field_levels
from deepfm_core.explain.partial_sums import partial_sums_frame
from deepfm_core.explain.purified_terms import purified_terms, purified_terms_frame
from deepfm_core.explain.snapshot import sample_rows
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.runs.example_cells import example_cells_frame
from deepfm_core.runs.folder import RunFolder
from deepfm_core.runs.parts import Part
from deepfm_core.training.events import Event, Stage
from deepfm_core.training.fit import predict_logits
from deepfm_core.training.metrics import sigmoid

SAMPLE_ROWS = 20_000
FLOP_BUDGET = 5e9
FEWEST_ROWS, FEWEST_BACKGROUND, MOST_BACKGROUND = 500, 8, 32

Shown = tuple[str, Part, EncodedTable]


def explain(
    folder: RunFolder,
    model: DeepFM,
    train: EncodedTable,
    shown: Shown,
    observed: Callable[[], pd.DataFrame | None],
    seed: int,
) -> Iterator[Event]:
    """Write every frame but predictions: examples, then pairs, fields, levels and their pairs; last the findings.

    `observed` waits for what the data shows without a model. All that does not depend on it is done before it is asked,
    since it is computed in another process.
    """
    examples, rows_of_examples = _write_examples(folder, model, shown, seed)
    name, part, table = shown
    sums = partial_sums_frame(model, table, name, part.rows, part.labels)
    if sums is not None:
        folder.write_frame("partial_sums", sums)
    yield Stage("explain", 0.1)
    sample = sample_rows(train, seed, SAMPLE_ROWS)
    rows, background = network_sample(model, sample)
    learned = learned_pairs(model, sample, network_rows=rows, background=background, seed=seed)
    yield Stage("explain", 0.5)
    at = network_background(model, examples)
    terms = purified_terms(model, sample, learned, examples, background=at, seed=seed)
    folder.write_frame("purified_terms", purified_terms_frame(terms, examples, rows_of_examples))
    if model.spec.deep:
        folder.write_frame("dnn_attribution", dnn_attribution_frame(model, sample, examples, rows_of_examples))
    yield Stage("explain", 0.6)
    sample_levels = field_levels(sample)
    folder.write_frame("levels", tables.levels_frame(model, train, sample, sample_levels))
    probabilities = sigmoid(predict_logits(model, train))
    cells = tables.level_pairs_frame(model, train, probabilities, background, seed)
    folder.write_frame("level_pairs", cells)
    yield Stage("explain", 0.8)
    evidence = observed()
    if evidence is None:
        note = f"What the data shows could not be computed; {folder.log.name} has the details."
        yield Stage("explain", 0.9, note)
    pairs = tables.pairs_frame(train.layout.names, learned, evidence)
    folder.write_frame("pairs", pairs)
    folder.write_frame("fields", tables.fields_frame(model, sample, sample_levels, pairs))
    folder.write_json(findings.FILE, findings.find(folder).to_dict())
    yield Stage("explain", 1.0)


def network_sample(model: DeepFM, sample: EncodedTable) -> tuple[int, int]:
    """Choose rows and background rows for the network's pairs so that they stay within a budget of arithmetic."""
    rows, affordable = len(sample), _affordable(model, sample)
    background = int(np.clip(affordable / FEWEST_ROWS, FEWEST_BACKGROUND, MOST_BACKGROUND))
    return int(np.clip(affordable / background, FEWEST_ROWS, max(rows, FEWEST_ROWS))), background


def network_background(model: DeepFM, table: EncodedTable) -> int:
    """Choose background rows for the network's pairs at all rows of a table, within the same budget."""
    return int(np.clip(_affordable(model, table) / max(len(table), 1), FEWEST_BACKGROUND, MOST_BACKGROUND))


def _affordable(model: DeepFM, sample: EncodedTable) -> float:
    """Say how many rows times background rows of a sample's pairs the budget pays."""
    rows = len(sample)
    widths, size, switches = (*model.spec.layers, 1), model.spec.embedding_size, model.spec.switches
    flops = 2.0 * sum(a * b for a, b in pairwise(widths)) + 2.0 * widths[0]
    if switches.inner or switches.outer:
        flops += 2.0 * widths[0] * (2 * size + switches.outer * size**2)
    # A blend, a scaled value or a set of values hardly repeats between rows; one value out of a vocabulary does.
    sizes = [
        min(field.size, rows) if field.slots == 1 and field.kind is not Kind.NUMERIC else rows
        for field in sample.layout.fields
    ]
    cells_a_row = sum(min(1.0, a * b / max(rows, 1)) for i, a in enumerate(sizes) for b in sizes[i + 1 :])
    return FLOP_BUDGET / max(flops * cells_a_row, 1.0)


def _write_examples(
    folder: RunFolder, model: DeepFM, shown: Shown, seed: int
) -> tuple[EncodedTable, NDArray[np.int64]]:
    """Write the frames of the sampled rows as trained, and return these rows and their numbers."""
    name, part, table = shown
    chosen = tables.example_rows(model, table, seed)
    rows, sample = part.rows[chosen], table.take(chosen)
    frame = tables.terms_frame(model, sample).assign(row=rows)
    frame.insert(1, "part", name)
    frame.insert(2, "label", part.labels[chosen].astype(np.int8))
    folder.write_frame("examples", frame)
    folder.write_frame("example_terms", tables.example_terms_frame(model, sample, rows))
    folder.write_frame("example_cells", example_cells_frame(part.table.frame.take(rows), rows))
    return sample, rows
