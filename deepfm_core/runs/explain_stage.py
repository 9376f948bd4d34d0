"""The explain stage of a run: it computes and writes the frames that the pages show.

Start with `explain`. Some frames need the evidence of the labels, which another process computes meanwhile; `Evidence`
is the view of it. `network_sample` keeps the cost of the DNN's pairs within a budget. `split_by_other` splits the
example rows by another run's model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import comb
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.encoding.splits import Part, load_parts
from deepfm_core.errors import RunError
from deepfm_core.evidence.designs import field_levels
from deepfm_core.evidence.ranking import MOST_TESTED
from deepfm_core.explain import frames, row_terms
from deepfm_core.explain.example_rows import example_cells_frame
from deepfm_core.explain.frames import sample_rows
from deepfm_core.explain.learned import LearnedPairs, learned_pairs, measured, standing_out
from deepfm_core.explain.row_terms import (
    dnn_attribution_frame,
    partial_sums_frame,
    purified_terms,
    purified_terms_frame,
    terms_frame,
)
from deepfm_core.metrics.scores import sigmoid
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.models.term import Pairs
from deepfm_core.runs import findings
from deepfm_core.runs.predictor import Trained
from deepfm_core.schema.labels import labelled_rows
from deepfm_core.spec.events import Event, Stage
from deepfm_core.spec.run import RunSpec, cross_numbers, network_inputs
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.tables.table import Table
from deepfm_core.training.fit import predict_logits

SAMPLE_ROWS = 20_000
"""Training rows over which learned strengths are measured."""
FLOP_BUDGET = 5e9
"""Floating-point operations that the DNN's pairs may take."""
FEWEST_ROWS, FEWEST_BACKGROUND, MOST_BACKGROUND = 500, 8, 32
"""Bounds of the rows and background rows that the budget is divided into."""
MOST_EXPLAINED = 300
"""Pairs that are explained of a wide table, of more than `MOST_TESTED`: those that stand out, and all clear ones."""
BEGUN, FOUND = 0.1, 0.5
"""Rough shares of the stage: measuring the pairs first, and waiting for the evidence of the labels."""
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
    """Write every frame except predictions, and the findings as soon as possible.

    Pairs, fields and findings need the evidence of the labels, which another process computes. As soon as it is there,
    they are written. Until then, the explanations that do not need it are made. Of a wide table, the pairs that are
    explained are chosen by the evidence, so all wait for it.
    """
    if is_wide(train):
        yield from _awaited(evidence, 0.0, BEGUN)
    asked = pairs_explained(model, train, evidence.result() if is_wide(train) else None, seed)
    work = _Explanation.begun(folder, model, train, shown, seed, asked)
    yield Stage("explain", BEGUN)
    remaining, found = [work.terms, work.purified, work.attribution, work.levels], False  # none of these needs it
    explanations = len(remaining)
    # Each round writes the findings if the evidence is there, otherwise one explanation; it waits when none is left.
    while remaining or not found:
        note = ""
        if not (remaining or evidence.ended()):
            yield from _awaited(evidence, 1.0 - FOUND, 1.0)
        if not found and (evidence.ended() or not remaining):
            observed, found = evidence.result(), True
            if observed is None:
                note = f"The evidence of the labels could not be computed. {folder.log.name} has the details."
            work.findings(observed)
        else:
            remaining.pop(0)()
        left = (1.0 - BEGUN - FOUND) * len(remaining) / explanations + FOUND * (not found)
        yield Stage("explain", 1.0 - left, note)


def pairs_explained(
    model: DeepFM, train: EncodedTable, observed: pd.DataFrame | None, seed: int
) -> list[tuple[int, int]] | None:
    """Choose the pairs of a wide table that are explained, by what the labels say of them; None for all of another."""
    if not is_wide(train):
        return None
    return standing_out(model, sample_rows(train, seed), observed, MOST_EXPLAINED, seed)


def is_wide(table: EncodedTable) -> bool:
    """Say whether a table has so many pairs that only those that stand out are explained."""
    return comb(len(table.layout.fields), 2) > MOST_TESTED


def _awaited(evidence: Evidence, done: float, after: float) -> Iterator[Event]:
    """Wait for the evidence and report its progress; `done` and `after` are shares of the stage around the wait."""
    before, reported = evidence.share(), 0.0
    while not evidence.ended():
        evidence.pause()
        share = (evidence.share() - before) / max(1.0 - before, 1e-9)  # of the part that was left when the wait began
        if share >= reported + REPORTED and not evidence.ended():
            reported = share
            yield Stage("explain", done + (after - done) * share)


class Evidence(NamedTuple):
    """The evidence of the labels, while another process computes it."""

    ended: Callable[[], bool]
    """Whether `result` would return at once."""
    result: Callable[[], pd.DataFrame | None]
    """Waits for the evidence and returns it, or None if it could not be computed."""
    share: Callable[[], float]
    """The share of it that is computed, 0 … 1."""
    pause: Callable[[], None]
    """Waits a moment, and stops the run if it was cancelled."""


@dataclass(frozen=True)
class _Explanation:
    """A model, the rows that explain it, and its learned pairs, which several explanations start from."""

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
    asked: list[tuple[int, int]] | None
    """The pairs that are explained; None for all."""

    @classmethod
    def begun(
        cls,
        folder: RunFolder,
        model: DeepFM,
        train: EncodedTable,
        shown: Shown,
        seed: int,
        asked: list[tuple[int, int]] | None,
    ) -> _Explanation:
        """Write the example rows, which findings come from, and measure what the model learned of each pair."""
        examples, rows_of_examples = _write_examples(folder, model, shown, seed, asked)
        sample = sample_rows(train, seed, SAMPLE_ROWS)
        rows, background = network_sample(model, sample, asked)
        learned = learned_pairs(model, sample, network_rows=rows, background=background, seed=seed, pairs=asked)
        return cls(folder, model, train, shown, seed, examples, rows_of_examples, sample, learned, background, asked)

    def findings(self, observed: pd.DataFrame | None) -> None:
        """Write the frames `pairs` and `fields`, and the findings."""
        pairs = frames.pairs_frame(self.train.layout.names, self.learned, observed)
        self.folder.write_frame("pairs", pairs)
        self.folder.write_frame("fields", frames.fields_frame(self.model, self.sample, pairs))
        findings.find_again(self.folder)

    def terms(self) -> None:
        """Write the addends of the example rows as trained, and the partial sums of all evaluated rows."""
        name, part, table = self.shown
        terms = row_terms.example_terms_frame(self.model, self.examples, self.rows_of_examples, self.asked)
        self.folder.write_frame("example_terms", terms)
        sums = partial_sums_frame(self.model, table, name, part.rows, part.labels)
        if sums is not None:
            self.folder.write_frame("partial_sums", sums)

    def purified(self) -> None:
        """Write the purified addends of the example rows."""
        at = network_background(self.model, self.examples, self.asked)
        terms = purified_terms(self.model, self.sample, self.learned, self.examples, background=at, seed=self.seed)
        frame = purified_terms_frame(terms, self.examples, self.rows_of_examples)
        self.folder.write_frame("purified_terms", frame)

    def attribution(self) -> None:
        """Write the fields' attributions of the DNN's part of the example rows."""
        if self.model.spec.deep:
            frame = dnn_attribution_frame(self.model, self.sample, self.examples, self.rows_of_examples)
            self.folder.write_frame("dnn_attribution", frame)

    def levels(self) -> None:
        """Write the levels of fields and the cells of pairs."""
        levels = frames.levels_frame(self.model, self.train, self.sample, field_levels(self.sample))
        self.folder.write_frame("levels", levels)
        probabilities = sigmoid(predict_logits(self.model, self.train))
        cells = frames.level_pairs_frame(self.model, self.train, probabilities, self.background, self.seed, self.asked)
        self.folder.write_frame("level_pairs", cells)


def opened_pair(folder: RunFolder, fields: tuple[str, str], table: Callable[[str], Table]) -> pd.DataFrame:
    """Explain one pair of a finished run, as `explain` does those that stand out.

    Args:
        folder: of the run.
        fields: the names of the pair's fields.
        table: a function that returns a table by its SHA-256.

    Returns:
        The pair's cells as in the frame `level_pairs`, with its strengths as in `pairs` in the columns
        `pair_learned_fm`, `pair_learned_dnn` and `pair_learned`.

    Raises:
        RunError: the run is not finished, or does not have the fields.
    """
    spec, trained = folder.spec(), Trained.load(folder)
    train = _training_part(folder, spec, table).encode(trained.encoder)
    for name in fields:
        if name not in train.layout.names:
            raise RunError(f"Run `{folder.path.name}` has no field `{name}`. Choose a pair of its fields.")
    a, b = sorted(train.layout.names.index(name) for name in fields)
    sample = sample_rows(train, spec.seed, SAMPLE_ROWS)
    rows, background = network_sample(trained.model, sample, [(a, b)])
    learned = learned_pairs(
        trained.model, sample, network_rows=rows, background=background, seed=spec.seed, pairs=[(a, b)]
    )
    probabilities = sigmoid(predict_logits(trained.model, train))
    cells = frames.level_pairs_frame(trained.model, train, probabilities, background, spec.seed, [(a, b)])
    parts = {"learned_fm": learned.fm, "learned_dnn": learned.dnn, "learned": learned.whole}
    return cells.assign(**{f"pair_{name}": np.nan if part is None else float(part[0]) for name, part in parts.items()})


def _training_part(folder: RunFolder, spec: RunSpec, table: Callable[[str], Table]) -> Part:
    """Return the rows that a finished run was trained on; of a run on more rows than its table, those of the sample.

    The parts of such a run were made of all rows, so the sample's cannot be made again: it is what was not held out.
    """
    if "sample" not in (folder.summary() or {}):
        return load_parts(spec, table).train
    whole, predictions = table(spec.table), folder.frame("predictions")
    assert predictions is not None, "a finished run lists the rows that were held out"
    rows, labels = labelled_rows(whole.frame, spec.schema.label, whole.name)
    kept = ~np.isin(rows, predictions["row"].to_numpy())
    return Part(lambda: whole, rows[kept], labels[kept])


def network_sample(model: DeepFM, sample: EncodedTable, pairs: Pairs | None = None) -> tuple[int, int]:
    """Choose the rows and background rows for the DNN's pairs (all if None), within `FLOP_BUDGET`."""
    rows, affordable = len(sample), _affordable(model, sample, pairs)
    background = int(np.clip(affordable / FEWEST_ROWS, FEWEST_BACKGROUND, MOST_BACKGROUND))
    return int(np.clip(affordable / background, FEWEST_ROWS, max(rows, FEWEST_ROWS))), background


def network_background(model: DeepFM, table: EncodedTable, pairs: Pairs | None = None) -> int:
    """Choose the background rows for the DNN's pairs (all if None) at all rows of a table, within the same budget."""
    return int(np.clip(_affordable(model, table, pairs) / max(len(table), 1), FEWEST_BACKGROUND, MOST_BACKGROUND))


def _affordable(model: DeepFM, sample: EncodedTable, pairs: Pairs | None) -> float:
    """Return how many rows × background rows the budget allows for the pairs of a sample."""
    rows = len(sample)
    widths, size, switches = (*model.spec.layers, 1), model.spec.embedding_size, model.spec.switches
    flops = 2.0 * sum(a * b for a, b in pairwise(widths)) + 2.0 * widths[0]  # of one row through the layers
    if switches.inner or switches.outer:
        flops += 2.0 * widths[0] * (2 * size + switches.outer * size**2)
    inputs = network_inputs(model.spec, len(sample.layout.fields), len(sample.layout.dense))
    flops += 2.0 * cross_numbers(model.spec, inputs)
    # Each distinct pair of values costs once. Numbers and sets of values hardly repeat; values of a vocabulary do.
    sizes = [min(field.size, rows) if field.repeats else rows for field in sample.layout.fields]
    every = combinations(range(len(sizes)), 2) if pairs is None else pairs
    cells_a_row = sum(min(1.0, sizes[a] * sizes[b] / max(rows, 1)) for a, b in every)
    return FLOP_BUDGET / max(flops * cells_a_row, 1.0)


def _write_examples(
    folder: RunFolder, model: DeepFM, shown: Shown, seed: int, asked: Pairs | None
) -> tuple[EncodedTable, NDArray[np.int64]]:
    """Write the frames `examples` and `example_cells`, and return the example rows and their numbers."""
    name, part, table = shown
    chosen = row_terms.example_rows(model, table, seed, None if asked is None else len(asked))
    rows, sample = part.rows[chosen], table.take(chosen)
    frame = row_terms.terms_frame(model, sample).assign(row=rows)
    frame.insert(1, "part", name)
    frame.insert(2, "label", part.labels[chosen].astype(np.int8))
    folder.write_frame("examples", frame)
    folder.write_frame("example_cells", example_cells_frame(part.table.frame.take(rows), rows))
    return sample, rows


# Split the example rows of one run by the model of another, to see how much a split depends on the seed.


OTHER_SAMPLE_ROWS = 4_000
COLUMNS = ("row", "logit", "fm_logit", "dnn_logit", "base", "main", "pair", "higher")


def split_by_other(run: RunFolder, other: RunFolder, table: Callable[[str], Table]) -> pd.DataFrame:
    """Predict the example rows of one run with the model of another, and split these logits into their parts.

    Args:
        run: the run whose example rows are used.
        other: the run whose model is used.
        table: a function that returns a table by its SHA-256.

    Returns:
        One line per example row, in log-odds: `row`, `logit`; as trained, `fm_logit` and `dnn_logit`; purified, `base`,
        `main`, `pair` and `higher`, summed over fields and pairs.

    Raises:
        RunError: a run is not finished.
        SchemaError: the other run's model cannot read the rows.
    """
    examples = run.frame("examples")
    if examples is None:
        raise RunError(f"Run `{run.path.name}` has no examples yet. Wait until it is finished.")
    spec, trained = run.spec(), Trained.load(other)
    part = str(examples["part"].iloc[0])
    theirs = table({"test": spec.test_table, "valid": spec.valid_table}[part] or spec.table)
    # The rows are those of the one run, but vocabulary, model and purification are those of the other.
    rows = trained.encoder.encode(theirs.frame, rows=examples["row"].to_numpy(), subject=theirs.name)
    train = _training_part(other, trained.spec, table).encode(trained.encoder)
    sample, seed = sample_rows(train, trained.spec.seed, OTHER_SAMPLE_ROWS), trained.spec.seed
    pairs = other.frame("pairs")  # of a wide table, those that the other run explains
    asked = None if pairs is None else measured(pairs, train.layout.names)
    network_rows, background = network_sample(trained.model, sample, asked)
    learned = learned_pairs(
        trained.model, sample, network_rows=network_rows, background=background, seed=seed, pairs=asked
    )
    at = network_background(trained.model, rows, asked)
    pure = purified_terms(trained.model, sample, learned, rows, background=at, seed=seed)
    return (
        terms_frame(trained.model, rows)
        .assign(
            row=examples["row"].to_numpy(),
            base=pure.base,
            main=pure.main.sum(1),
            pair=pure.pair.sum(1),
            higher=0.0 if pure.higher is None else pure.higher,
        )
        .reindex(columns=list(COLUMNS))
    )
