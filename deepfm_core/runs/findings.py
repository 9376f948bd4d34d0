"""The findings of a run: its strongest pair, the shares of FM and DNN in the logit's variance, and its worst slice.

Start with `find`. Reading stored findings imports neither pandas nor numpy, so that a page shows them at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from deepfm_core._files import DAMAGE, require_types
from deepfm_core._words import isolated, percent, signed

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from deepfm_core.schema.schema import FieldRole, Schema
    from deepfm_core.store.run_folder import RunFolder

FILE = "findings.json"
FEWEST_ROWS = 50
"""Slices with fewer rows are not considered."""
FEWEST_VARIANCE = 5.0
"""Slices whose clicks have a smaller variance are not considered: the normal approximation would be poor."""

_OWN = ("row", "label", "probability")


@dataclass(frozen=True)
class Cell:
    """Two levels together: training rows that hold both, how many are positive, the effect beyond each level alone."""

    level_a: str
    """With its field, such as `device = desktop`."""
    level_b: str
    rows: int
    rate: float
    expected: float
    """The share of positives that the model gives these rows."""
    observed: float
    """In log-odds, by the labels, shrunk by its rows."""
    learned: float
    """In log-odds, by the model."""

    @property
    def positive(self) -> str:
        """How many of these training rows are positive: in percent, or by count where nearly none or nearly all are."""
        if 0.01 <= self.rate <= 0.99:
            return f"{share(self.rate)} positive in {self.rows:,} of the training rows"
        return f"{round(self.rate * self.rows):,} positive in {self.rows:,} of the training rows"

    def __str__(self) -> str:
        levels = f"{isolated(self.level_a)} with {isolated(self.level_b)}"
        return f"{levels}: {self.positive}, {signed(self.observed)} log-odds"


def share(rate: float) -> str:
    """Write a rate in percent, a small one with a digit more: 23%, 4.1%."""
    return percent(rate, 0 if rate >= 0.1 or rate == 0 else 1)


@dataclass(frozen=True)
class StrongestPair:
    """The pair of a run that is told first, in the order of `verdicts.put_first`.

    Strengths are standard deviations over rows, in log-odds; one that was not computed is None.
    """

    field_a: str
    field_b: str
    strength: float
    """In the data, or in the whole logit if there is no evidence."""
    pairs: int
    clear: int | None
    """The number of pairs clear above noise; None if the run has no evidence, only what its model learned."""
    holding: int | None = None
    """The number of clear pairs that hold on held-out rows; None if that was not checked."""
    low: float | None = None
    """90% interval of the strength in the data."""
    high: float | None = None
    learned: float | None = None
    """In the whole logit."""
    held_out: float | None = None
    """On held-out rows."""
    cell: Cell | None = None
    """The two levels whose effect together stands out most; None if all have few rows."""
    verdict: str = ""
    """One of `evidence.verdicts`; empty without evidence."""
    unsure: int | None = None
    """The number of pairs that are clear alone, but unsure beside others; None if the run has no evidence."""


def strongest_pair(pairs: pd.DataFrame) -> StrongestPair | None:
    """Return the pair to tell first, by `strength`, or by `learned` if there is no evidence; without its cell.

    It is the first in the order of `put_first`: a pair of noise, or one that the model overstates, may look stronger.

    Args:
        pairs: the frame `pairs` (docs/store.md).

    Returns:
        None if the model has no pairs.
    """
    from deepfm_core.evidence.verdicts import clear, has_evidence, holding, put_first, unsure, verdicts

    evidence = has_evidence(pairs)
    measure = "strength" if evidence or not pairs["learned"].notna().any() else "learned"
    ranked = pairs.assign(verdict=verdicts(pairs))[pairs[measure].notna()]
    if ranked.empty:
        return None
    first = (put_first(ranked, measure) if evidence else ranked.sort_values(measure, ascending=False)).iloc[0]
    checked = evidence and "held_out_z" in ranked and bool(ranked["held_out_z"].notna().any())
    return StrongestPair(
        str(first["field_a"]),
        str(first["field_b"]),
        float(first[measure]),
        len(pairs),
        int(clear(ranked).sum()) if evidence else None,
        int(holding(ranked).sum()) if checked else None,
        _number(first, "strength_low") if evidence else None,
        _number(first, "strength_high") if evidence else None,
        _number(first, "learned"),
        _number(first, "held_out_strength"),
        verdict=str(first["verdict"]),
        unsure=int(unsure(ranked).sum()) if evidence else None,
    )


def _number(pair: pd.Series, column: str) -> float | None:
    value = float(pair.get(column, math.nan))
    return value if math.isfinite(value) else None


def _with_cell(found: StrongestPair | None, folder: RunFolder, schema: Schema) -> StrongestPair | None:
    """Add the cell of a pair, if the run's folder has its cells."""
    from deepfm_core.runs.telling import PLAUSIBLE_SD, cells_of, telling_cell

    if found is None:
        return None
    spread = PLAUSIBLE_SD if found.clear is None else found.strength
    cells = cells_of(folder, found.field_a, found.field_b, spread)
    return replace(found, cell=telling_cell(cells, schema) if len(cells) else None)


@dataclass(frozen=True)
class Spread:
    """The shares of FM logit and DNN logit in the logit's variance over rows; they sum to 1."""

    fm: float
    dnn: float
    rows: int


def logit_spread(examples: pd.DataFrame) -> Spread | None:
    """Split the variance of the logit over rows: Var(logit) = Cov(FM, logit) + Cov(DNN, logit).

    Args:
        examples: the frame `examples`.

    Returns:
        None if the model lacks one of the parts, or all logits are equal.
    """
    rows = examples.dropna(subset=["fm_logit", "dnn_logit"])
    if len(rows) < 2 or float(rows["logit"].var()) <= 0:
        return None
    centred = rows["logit"] - rows["logit"].mean()
    # Covariances with the logit up to a common factor. One may be negative if the parts counteract each other.
    fm, dnn = (float((rows[part] * centred).sum()) for part in ("fm_logit", "dnn_logit"))
    return Spread(fm / (fm + dnn), dnn / (fm + dnn), len(rows))


@dataclass(frozen=True)
class Slice:
    """The level of a field at which predicted and observed click rate differ most, among `slices` levels."""

    field: str
    level: str
    rows: int
    predicted: float
    observed: float
    low: float
    """95% Wilson interval of the observed rate, for this slice alone."""
    high: float
    slices: int
    """The number of slices considered."""
    beyond_chance: bool
    """Whether a perfect model would show so large a difference in any of the slices in less than 5% of cases."""


def worst_slice(examples: pd.DataFrame, cells: pd.DataFrame, schema: Schema) -> Slice | None:
    """Find the level of a field at which predictions are furthest off, by difference ÷ standard error.

    Under a calibrated model the clicks of a slice have mean Σp and variance Σp(1−p). Over m slices the largest
    standardised difference is compared with the 1 − 0.05/(2m) quantile of the normal distribution (Bonferroni).

    Args:
        examples: the frame `examples`: sampled held-out rows with `row`, `label`, `probability`.
        cells: the frame `example_cells`: the cells of the same rows.
        schema: roles of the table's columns.

    Returns:
        None if no slice has enough rows.
    """
    rows = examples[list(_OWN)].merge(cells, on="row", suffixes=("", " (cell)"))
    columns = {role.column: rows[_cell_column(role.column)].astype(str) for role in schema.used}
    table = ranked_slices(rows["label"], rows["probability"], columns, schema.used)
    evaluated = table[table["judged"]]
    if evaluated.empty:
        return None
    worst = evaluated.iloc[0]
    return Slice(
        field=str(worst["field"]),
        level=str(worst["level"]),
        rows=int(worst["rows"]),
        predicted=float(worst["predicted"]),
        observed=float(worst["observed"]),
        low=float(worst["low"]),
        high=float(worst["high"]),
        slices=len(evaluated),
        beyond_chance=bool(worst["beyond_chance"]),
    )


def ranked_slices(
    labels: pd.Series[int],
    probabilities: pd.Series[float],
    cells: Mapping[str, pd.Series[str]],
    roles: Sequence[FieldRole],
) -> pd.DataFrame:
    """Rank the levels of all fields by how far predictions are off, in standard errors; those not judged come last.

    Args:
        labels: of N rows, 0 or 1.
        probabilities: of the same rows.
        cells: by column, the cells of these rows as text.
        roles: of the fields.

    Returns:
        One row per level of a field: `field`, `level`, `rows`, `clicks`, `predicted` and `observed` (positive rates),
        `low` and `high` (95% Wilson interval of the observed rate), `errors` (difference ÷ standard error), `judged`
        (whether the level has rows enough), and `beyond_chance` (Bonferroni over those judged).
    """
    import numpy as np
    import pandas as pd

    from deepfm_core.metrics.scores import wilson

    table = _slices(np.asarray(labels, dtype=float), np.asarray(probabilities, dtype=float), cells, roles)
    count = table["rows"].to_numpy(float)
    judged = (count >= FEWEST_ROWS) & (table["variance"].to_numpy() >= FEWEST_VARIANCE)
    errors: pd.Series[float] = (table["clicks"] - table["predicted"]) / np.sqrt(np.maximum(table["variance"], 1e-12))
    low, high = wilson(table["clicks"].to_numpy(float), count)
    bound = NormalDist().inv_cdf(1 - 0.05 / (2 * max(int(judged.sum()), 1)))  # Bonferroni over the slices
    ranked = pd.DataFrame(
        {
            "field": table["field"],
            "level": table["level"],
            "rows": table["rows"],
            "clicks": table["clicks"].astype(int),
            "predicted": table["predicted"] / count,
            "observed": table["clicks"] / count,
            "low": low,
            "high": high,
            "errors": errors,
            "judged": judged,
            "beyond_chance": judged & (errors.abs() > bound),
        }
    )
    order = np.lexsort((-errors.abs().to_numpy(), ~judged))  # stable: of equals, the first field's first level
    return ranked.iloc[order].reset_index(drop=True)


def _slices(
    labels: NDArray[np.floating],
    probabilities: NDArray[np.floating],
    cells: Mapping[str, pd.Series[str]],
    roles: Sequence[FieldRole],
) -> pd.DataFrame:
    """Sum `rows`, `clicks`, `predicted` and `variance` over the rows of each level of each field."""
    import numpy as np
    import pandas as pd

    from deepfm_core.metrics.scores import level_rows

    variance = probabilities * (1 - probabilities)
    values = pd.DataFrame({"rows": 1, "clicks": labels, "predicted": probabilities, "variance": variance})
    parts = [values.iloc[:0].assign(field="", level="")]
    for role in roles:
        levels = level_rows(cells[role.column], role)
        codes, found = pd.factorize(levels["level"])
        sums = values.take(levels["position"].to_numpy()).groupby(codes).sum()
        parts.append(sums.assign(field=role.column, level=np.asarray(found, dtype=object)))
    return pd.concat(parts, ignore_index=True)


def _cell_column(column: str) -> str:
    return f"{column} (cell)" if column in _OWN else column


@dataclass(frozen=True)
class Findings:
    """The findings of a run; one that the model or the rows do not allow is None."""

    pair: StrongestPair | None
    spread: Spread | None
    worst: Slice | None

    def to_dict(self) -> dict[str, Any]:
        """Return the findings as plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Findings:
        """Rebuild findings from `to_dict`; version 0.1 called a pair's `clear` `told_apart`."""
        pair, spread, worst = (values[name] for name in ("pair", "spread", "worst"))
        if pair:
            pair = {"clear" if name == "told_apart" else name: value for name, value in pair.items()}
            pair["cell"] = Cell(**pair["cell"]) if pair.get("cell") else None
        read = cls(pair and StrongestPair(**pair), spread and Spread(**spread), worst and Slice(**worst))
        require_types(read)
        return read


def findings(folder: RunFolder) -> Findings:
    """Read what a finished run found, or find it where the run does not hold it yet; nothing is written.

    A run of an earlier version does not hold the cell of its strongest pair, its verdict, or the number of unsure
    pairs. What is damaged is found
    again.
    """
    kept = folder.read_json(FILE)
    try:
        if kept and (not kept["pair"] or {"cell", "verdict", "unsure"} <= set(kept["pair"])):
            return Findings.from_dict(kept)
    except DAMAGE:
        pass
    return find(folder)


def find_again(folder: RunFolder) -> None:
    """Write what a run found, from the frames that it has by now."""
    folder.write_json(FILE, find(folder).to_dict())


def find_pair_again(folder: RunFolder) -> None:
    """Write the strongest pair anew, after the frames of pairs have changed; the rest of what was found stays."""
    pairs = folder.frame("pairs")
    pair = None if pairs is None else _with_cell(strongest_pair(pairs), folder, folder.spec().schema)
    folder.write_json(FILE, replace(findings(folder), pair=pair).to_dict())


def find(folder: RunFolder) -> Findings:
    """Find what is to be said of a run whose frames are all there."""
    pairs, examples, cells = (folder.frame(name) for name in ("pairs", "examples", "example_cells"))
    spec = folder.spec()
    two_parts = spec.model.first_order and spec.model.deep
    return Findings(
        pair=None if pairs is None else _with_cell(strongest_pair(pairs), folder, spec.schema),
        spread=logit_spread(examples) if examples is not None and two_parts else None,
        worst=None if examples is None or cells is None else worst_slice(examples, cells, spec.schema),
    )
