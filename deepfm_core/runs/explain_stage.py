"""The explain stage of a run: computes the frames that the pages show first and writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.encoding.splits import Part
from deepfm_core.evidence.levels import field_levels
from deepfm_core.explain import frames, row_terms
from deepfm_core.explain.attribution import dnn_attribution_frame
from deepfm_core.explain.example_rows import example_cells_frame
from deepfm_core.explain.frames import sample_rows
from deepfm_core.explain.learned import LearnedPairs, learned_pairs
from deepfm_core.explain.purified_terms import purified_terms, purified_terms_frame
from deepfm_core.explain.row_terms import partial_sums_frame
from deepfm_core.metrics.scores import sigmoid
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.runs import findings
from deepfm_core.schema.schema import Kind
from deepfm_core.spec.events import Event, Stage
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.training.fit import predict_logits

SAMPLE_ROWS = 20_000
FLOP_BUDGET = 5e9
FEWEST_ROWS, FEWEST_BACKGROUND, MOST_BACKGROUND = 500, 8, 32
BEGUN, FOUND = 0.1, 0.5
"""Rough shares of the stage: what all explanations begin with, and waiting for the data's evidence."""
REPORTED = 0.01
"""Share of the evidence after which its progress is reported again."""

Shown = tuple[str, Part, EncodedTable]


def explain(
    folder: RunFolder,
    model: DeepFM,
    train: EncodedTable,
    shown: Shown,
    evidence: Evidence,
    seed: int,
) -> Iterator[Event]:
    """Write every frame but predictions, one after the other, and the findings as soon as they can be made.

    Pairs, fields and findings need what the data shows without a model, which another process computes. Where that is
    there they come first, before the slow explanations; while it is not, explanations are made that do without.
    """
    work = _Explanation.begun(folder, model, train, shown, seed)
    yield Stage("explain", BEGUN)
    remaining, found = [work.terms, work.purified, work.attribution, work.levels], False  # without the data's evidence
    explanations = len(remaining)
    while remaining or not found:
        note = ""
        if not (remaining or evidence.ended()):
            yield from _awaited(evidence, 1.0 - FOUND)
        if not found and (evidence.ended() or not remaining):
            observed, found = evidence.result(), True
            if observed is None:
                note = f"What the data shows could not be computed; {folder.log.name} has the details."
            work.findings(observed)
        else:
            remaining.pop(0)()
        left = (1.0 - BEGUN - FOUND) * len(remaining) / explanations + FOUND * (not found)
        yield Stage("explain", 1.0 - left, note)


def _awaited(evidence: Evidence, done: float) -> Iterator[Event]:
    """Report how far the evidence is while it is waited for, `done` being the share of the stage before it."""
    before, told = evidence.share(), 0.0
    while not evidence.ended():
        evidence.pause()
        share = (evidence.share() - before) / max(1.0 - before, 1e-9)
        if share >= told + REPORTED and not evidence.ended():
            told = share
            yield Stage("explain", done + (1.0 - done) * share)


class Evidence(NamedTuple):
    """What the data shows without a model, while it is being computed elsewhere."""

    ended: Callable[[], bool]
    """Whether `result` would answer at once."""
    result: Callable[[], pd.DataFrame | None]
    """Waits for it; None where it could not be computed."""
    share: Callable[[], float]
    """How much of it is computed, 0 … 1."""
    pause: Callable[[], None]
    """Lets a moment pass, and stops the run where it is cancelled."""


@dataclass(frozen=True)
class _Explanation:
    """A model with the rows it is explained by, and what all explanations of its pairs begin with."""

    folder: RunFolder
    model: DeepFM
    train: EncodedTable
    shown: Shown
    seed: int
    examples: EncodedTable
    rows_of_examples: NDArray[np.int64]
    sample: EncodedTable
    learned: LearnedPairs
    background: int

    @classmethod
    def begun(cls, folder: RunFolder, model: DeepFM, train: EncodedTable, shown: Shown, seed: int) -> _Explanation:
        """Write the sampled rows, which the findings are made of, and measure what was learned of pairs."""
        examples, rows_of_examples = _write_examples(folder, model, shown, seed)
        sample = sample_rows(train, seed, SAMPLE_ROWS)
        rows, background = network_sample(model, sample)
        learned = learned_pairs(model, sample, network_rows=rows, background=background, seed=seed)
        return cls(folder, model, train, shown, seed, examples, rows_of_examples, sample, learned, background)

    def findings(self, observed: pd.DataFrame | None) -> None:
        """Write pairs and fields, and what is said first of the run."""
        pairs = frames.pairs_frame(self.train.layout.names, self.learned, observed)
        self.folder.write_frame("pairs", pairs)
        self.folder.write_frame("fields", frames.fields_frame(self.model, self.sample, pairs))
        self.folder.write_json(findings.FILE, findings.find(self.folder).to_dict())

    def terms(self) -> None:
        """Write the addends of single rows as trained, and the sums of all judged rows part by part."""
        name, part, table = self.shown
        terms = row_terms.example_terms_frame(self.model, self.examples, self.rows_of_examples)
        self.folder.write_frame("example_terms", terms)
        sums = partial_sums_frame(self.model, table, name, part.rows, part.labels)
        if sums is not None:
            self.folder.write_frame("partial_sums", sums)

    def purified(self) -> None:
        """Write the addends of single rows, purified."""
        at = network_background(self.model, self.examples)
        terms = purified_terms(self.model, self.sample, self.learned, self.examples, background=at, seed=self.seed)
        frame = purified_terms_frame(terms, self.examples, self.rows_of_examples)
        self.folder.write_frame("purified_terms", frame)

    def attribution(self) -> None:
        """Write what fields move the network's part of single rows."""
        if self.model.spec.deep:
            frame = dnn_attribution_frame(self.model, self.sample, self.examples, self.rows_of_examples)
            self.folder.write_frame("dnn_attribution", frame)

    def levels(self) -> None:
        """Write the levels of fields and of their pairs."""
        levels = frames.levels_frame(self.model, self.train, self.sample, field_levels(self.sample))
        self.folder.write_frame("levels", levels)
        probabilities = sigmoid(predict_logits(self.model, self.train))
        cells = frames.level_pairs_frame(self.model, self.train, probabilities, self.background, self.seed)
        self.folder.write_frame("level_pairs", cells)


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
    chosen = row_terms.example_rows(model, table, seed)
    rows, sample = part.rows[chosen], table.take(chosen)
    frame = row_terms.terms_frame(model, sample).assign(row=rows)
    frame.insert(1, "part", name)
    frame.insert(2, "label", part.labels[chosen].astype(np.int8))
    folder.write_frame("examples", frame)
    folder.write_frame("example_cells", example_cells_frame(part.table.frame.take(rows), rows))
    return sample, rows
