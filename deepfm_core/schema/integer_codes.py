"""Whole numbers that might be codes: what is made of a column without a telling name, once the labels are asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from deepfm_core.schema.column import Cells, Typed, name_words, names_a_quantity, typed_name
from deepfm_core.schema.column_rules import CATEGORIES, QUANTITY
from deepfm_core.schema.schema import FieldRole

# Whether the order of whole numbers says anything about the label, or whether they are codes that happen to be digits.

Values = NDArray[np.float64]

FEWEST_LEVELS, MOST_LEVELS = 6, 300
"""Distinct numbers below which codes and numbers enter much alike, and above which they are not compared."""

FEWEST_PER_LEVEL = 10

VARIANCES = np.array([0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0])
"""Variances of effects, in log-odds², that are tried for σ² and τ²."""

CODES_SURE, CODES_LIKELY = 5.0, 2.0
"""Log-likelihood that effects of their own must add to effects that follow the order, to be sure, and to be likely: by
chance in one of 1,000 and in one of 40 columns that are numbers."""

ORDER_NOTHING, ORDER_LITTLE = 1.0, 2.0
"""Log-likelihood that the order may add to effects of their own, where it says nothing, and where it says little."""


@dataclass(frozen=True)
class OrderEvidence:
    """What labels say of whole numbers.

    Attributes:
        own: log-likelihood by which effects of their own improve on effects that follow the order.
        order: log-likelihood by which effects that follow the order improve on effects of their own.
    """

    own: float
    order: float

    @property
    def codes(self) -> bool:
        """Whether they are surely codes: values differ, and the order says nothing of how."""
        return self.own >= CODES_SURE and self.order <= ORDER_NOTHING

    @property
    def doubtful(self) -> bool:
        """Whether they might be codes."""
        return not self.codes and self.own >= CODES_LIKELY and self.order <= ORDER_LITTLE

    @property
    def unknown(self) -> bool:
        """Whether nothing speaks for a number, or too little is known."""
        return self.order <= ORDER_NOTHING


NOTHING_KNOWN = OrderEvidence(0.0, 0.0)


def order_evidence(rows: Values, clicks: Values) -> OrderEvidence:
    """Compare the models on the values of a column.

    Args:
        rows: (K,) rows of each distinct number, in ascending order of the numbers.
        clicks: (K,) those of them that are positive.

    Returns:
        `NOTHING_KNOWN` where values are too few, too many or too rare to tell.
    """
    there = rows > 0
    rows, clicks = rows[there], clicks[there]
    levels, total = len(rows), float(rows.sum())
    rate = float(clicks.sum()) / max(total, 1.0)
    if not FEWEST_LEVELS <= levels <= MOST_LEVELS or total < FEWEST_PER_LEVEL * levels or not 0 < rate < 1:
        return NOTHING_KNOWN
    effects, noise, walk = response(rows, clicks)
    found = {
        (own, order): _restricted(effects, order * walk + np.diag(own + noise))
        for own in VARIANCES
        for order in VARIANCES
    }
    both = max(found.values())
    by_order = max(value for (own, _), value in found.items() if own == 0)
    by_own = max(value for (_, order), value in found.items() if order == 0)
    return OrderEvidence(both - by_order, both - by_own)


def response(rows: Values, clicks: Values) -> tuple[Values, Values, Values]:
    """Give (K,) working responses of K values in order, (K,) their variances, and (K, K) the walk's covariance."""
    total = float(rows.sum())
    rate = float(clicks.sum()) / total
    information = rows * rate * (1 - rate)
    rank = (np.cumsum(rows) - rows / 2) / total
    return (clicks - rows * rate) / information, 1 / information, np.minimum(rank[:, None], rank[None, :])


def _restricted(effects: Values, covariance: Values) -> float:
    """Give the restricted log-likelihood of (K,) effects with an unknown common mean."""
    factor = cho_factor(covariance, lower=True)
    solved = cho_solve(factor, np.stack([effects, np.ones(len(effects))], axis=1))
    precision = float(solved[:, 1].sum())
    mean = float(solved[:, 0].sum()) / precision
    fit = float(effects @ solved[:, 0]) - mean**2 * precision
    return -float(np.log(np.diag(factor[0])).sum()) - 0.5 * (float(np.log(precision)) + fit)


# Numbers whose effect is smooth but for a pattern: sentinels, a few values apart, round ones, weeks and dozens.


FEWEST_SPIKES, MOST_SPIKES = 3, 6
"""Values apart from all others that a number may have besides its sentinels: one in eight within these bounds."""

PERIODS = range(2, 13)

ROUND = ((15,), (20,), (24,), (25,), (50,), (100,), (5, 7, 10, 12), (7, 30), (12, 30), (15, 30, 60), (10, 25, 50, 100))
"""Sets of numbers whose multiples may differ from other values, each set by one effect a number."""

_LEAST_LEFT = 4
"""Values beyond the fixed effects below which nothing is said."""


def evidence_beyond_patterns(values: Values, rows: Values, clicks: Values) -> float:
    """Give the log-likelihood by which effects of their own improve on the order and the pattern that explains most.

    Args:
        values: (K,) the distinct whole numbers of a column, in ascending order.
        rows: (K,) rows of each, above 0.
        clicks: (K,) those of them that are positive.

    Returns:
        0 where so few values are left beside a pattern's effects that nothing can be said.
    """
    effects, noise, walk = response(rows, clicks)
    ends = _sentinels(values)
    designs = [_basis(columns) for columns in _patterns(values, ends)]
    designs.append(_basis(_with_spikes(ends, effects, noise, walk)))
    if any(len(values) - design.shape[1] < _LEAST_LEFT for design in designs):
        return 0.0
    both, by_order = np.full((2, len(designs)), -np.inf)
    for own in VARIANCES:
        for order in VARIANCES:
            found = _restricted_patterns(effects, designs, order * walk + np.diag(own + noise))
            both = np.maximum(both, found)
            by_order = np.maximum(by_order, found) if own == 0 else by_order
    return float((both - by_order).min())


def _sentinels(values: Values) -> Values:
    """Give a constant, and an indicator each of the lowest and the highest value, -1 and 0."""
    marks = [values == special for special in (values[0], values[-1], -1, 0)]
    return np.stack([np.ones(len(values)), *(mark.astype(np.float64) for mark in marks)], axis=1)


def _patterns(values: Values, ends: Values) -> Iterator[Values]:
    """Yield the fixed effects of periods and of round numbers: all residues where values are many, else multiples."""
    for period in PERIODS:
        residues = range(period) if len(values) >= 4 * period else (0,)
        yield _marked(ends, [values % period == residue for residue in residues])
    for numbers in ROUND:
        yield _marked(ends, [values % number == 0 for number in numbers])


def _marked(columns: Values, marks: list[NDArray[np.bool_]]) -> Values:
    return np.column_stack([columns, *(mark.astype(np.float64) for mark in marks)])


def _with_spikes(columns: Values, effects: Values, noise: Values, walk: Values) -> Values:
    """Add indicators of the values that deviate most from what follows the order, one after another."""
    for _ in range(min(max(FEWEST_SPIKES, len(effects) // 8), MOST_SPIKES)):
        basis = _basis(columns)
        if len(effects) - basis.shape[1] < _LEAST_LEFT:
            break
        covariances = [order * walk + np.diag(noise) for order in VARIANCES]
        best = max(covariances, key=lambda covariance: float(_restricted_patterns(effects, [basis], covariance)[0]))
        inverse = cho_solve(cho_factor(best, lower=True), np.eye(len(effects)))
        weighted = inverse @ basis
        projection = inverse - weighted @ np.linalg.solve(basis.T @ weighted, weighted.T)
        spread = np.diag(projection)
        free = spread > 1e-9 * np.diag(inverse)
        deviation = np.where(free, np.abs(projection @ effects) / np.sqrt(np.where(free, spread, 1.0)), 0.0)
        columns = np.column_stack([columns, np.arange(len(effects)) == deviation.argmax()])
    return columns


def _basis(columns: Values) -> Values:
    """Give orthonormal columns that span the same effects."""
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, singular > 1e-9 * singular[0]])


def _restricted_patterns(effects: Values, designs: list[Values], covariance: Values) -> Values:
    """Give the restricted log-likelihood of (K,) effects under each design."""
    factor, lower = cho_factor(covariance, lower=True)
    whitened = solve_triangular(factor, np.column_stack([effects, *designs]), lower=lower)
    start, target, found = 1, whitened[:, 0], []
    for design in designs:
        part = whitened[:, start : (start := start + design.shape[1])]
        upper = np.linalg.qr(part, mode="r")
        explained = solve_triangular(upper, part.T @ target, trans="T")
        fit = float(target @ target - explained @ explained)
        found.append(-float(np.log(np.abs(np.diag(upper))).sum()) - 0.5 * fit)
    return np.array(found) - float(np.log(np.diag(factor)).sum())


SPARSE_GRID = 3.0
"""Times as many numbers as occur that their range may hold for them to be taken for codes: prices leave most out."""

_SAYS_NOTHING = frozenset(("feature", "feat", "field", "col", "column", "var", "variable", "attr", "attribute"))

_SHORTEST_WORD = 3

_ADVICE = "make it categorical if they are codes"

_OTHERWISE = "make it piecewise if it is a quantity"


def checked_for_codes(role: FieldRole, cells: Cells, labels: NDArray[np.bool_]) -> FieldRole:
    """Make a column of whole numbers categorical where the labels say that its values differ but not by their order.

    A column named as a quantity, or with numbers that are not whole, is left as it is. Where the labels are not sure,
    where an effect that is smooth but for a pattern would explain them as well (see `number_patterns`), or where they
    say nothing of a column whose name says nothing either, the role is kept with advice.

    Args:
        role: what the column was taken to be.
        cells: its cells in the labelled rows.
        labels: (N,) of these rows.
    """
    if role.kind is not QUANTITY or role.stray or names_a_quantity(name_words(role.column)):
        return role
    if typed_name(role.column)[1] is Typed.NUMBER:
        return role
    values, rows, clicks = _by_number(cells, labels)
    if not 0 < len(values) <= MOST_LEVELS or np.any(values != np.floor(values)):
        return role
    found = order_evidence(rows, clicks)
    there = [of_value[rows > 0] for of_value in (values, rows, clicks)]
    dense = values[0] >= -1 and values[-1] - values[0] < SPARSE_GRID * len(values)
    if found.codes and dense and evidence_beyond_patterns(*there) >= CODES_SURE:
        reason = f"{len(values):,} whole numbers whose order says nothing of the label: codes"
        warning = f"taken for codes, since values differ and neighbours are no more alike than others: {_OTHERWISE}"
        return replace(role, kind=CATEGORIES, reason=reason + _missing_of(role), warning=_with(role.warning, warning))
    if found.codes or found.doubtful:
        said = f"whole numbers that might be codes, since their order says nothing of the label: {_ADVICE}"
        return replace(role, warning=_with(role.warning, said))
    if dense and values[0] in (0, 1) and found.unknown and _name_says_nothing(role.column):
        return replace(role, warning=_with(role.warning, f"whole numbers that might be codes: {_ADVICE}"))
    return role


def _missing_of(role: FieldRole) -> str:
    """Return what a reason says of missing cells, to go with another reason."""
    return "".join(role.reason.partition("; ")[1:]) if role.missing and "missing" in role.reason else ""


# Identifiers whose last digits were lost on the way: several of them are one now.

_SHORTENED = r"^[1-9](?:[.,](?P<decimals>\d+))?[eE]\+?(?P<exponent>\d{2})$"
"""How spreadsheets show whole numbers of 12 digits and more, and then write them: `1.23E+18`."""

_ROUNDED_OFF = r"^[1-9]\d{14}0{2,}$"
"""Whole numbers of which a spreadsheet kept the 15 digits that it can."""

_FEWEST_LOST, _SHARE_LOST = 10, 0.9
_TOLD_APART = 1_000
"""Distinct numbers that are compared with what a float holds of them."""

_LONGEST_EXACT = 15
"""Digits of a number that every program keeps."""


def checked_for_lost_digits(role: FieldRole, cells: Cells) -> FieldRole:
    """Warn of long whole numbers that a spreadsheet, or a float, has shortened: different ones may have become one.

    Those of more than 15 digits are identifiers, whatever their name.

    Args:
        role: what the column was taken to be.
        cells: of all rows.
    """
    if not role.kind.is_used or role.kind.is_time or names_a_quantity(name_words(role.column)):
        return role
    texts = cells.held_texts
    digits = _shortened(texts)
    lost = digits or (_LONGEST_EXACT + 1 if _rounded_off(texts) else 0)
    if not lost:
        return role
    said = (
        f"long numbers such as `{texts[0].as_py()}` have lost digits, as in a spreadsheet or a float: different ones "
        "may have become one, so write them as text where they come from"
    )
    if role.kind is QUANTITY and lost > _LONGEST_EXACT:
        reason = f"{len(texts):,} distinct values of {lost} digits, so taken for codes" + _missing_of(role)
        said += "; make it piecewise if they are measurements"
        role = replace(role, kind=CATEGORIES, reason=reason, stray="")
    return replace(role, warning=_with(role.warning, said))


def _shortened(texts: pa.Array) -> int:
    """Return how many digits numbers had that are written as `1.23E+18`; 0 where they are not, or nothing is lost."""
    if not len(texts) or not pc.any(pc.match_substring_regex(texts[:_FEWEST_LOST], "[eE]")).as_py():
        return 0
    parts = pc.extract_regex(texts, _SHORTENED)
    fitting = parts.filter(parts.is_valid())
    if len(fitting) < max(_SHARE_LOST * len(texts), 1):
        return 0
    exponents = np.asarray(pc.cast(fitting.field("exponent"), pa.int64()))
    decimals = np.asarray(pc.utf8_length(pc.fill_null(fitting.field("decimals"), "")))
    spread = int(np.ptp(exponents))
    alike = exponents.min() >= 11 and exponents.max() <= 30 and spread <= 2
    return int(exponents.max()) + 1 if alike and bool((decimals < exponents).all()) else 0


def _rounded_off(texts: pa.Array) -> bool:
    """Say whether whole numbers of 17 digits or more end in zeros after 15 digits, or are all ones that a float has."""
    if len(texts) < _FEWEST_LOST or not pc.all(pc.match_substring_regex(texts[:_FEWEST_LOST], r"^\d{17,20}$")).as_py():
        return False
    if not pc.all(pc.match_substring_regex(texts, r"^\d{17,20}$")).as_py():
        return False
    if pc.all(pc.match_substring_regex(texts, _ROUNDED_OFF)).as_py():
        return True
    return all(int(text) == int(float(text)) for text in texts[:_TOLD_APART].to_pylist())


def _by_number(
    cells: Cells, labels: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Give the distinct numbers in ascending order, and the rows and clicks of each."""
    of_text = cells.numbers.values
    values = np.unique(of_text[~np.isnan(of_text) & (cells.counts > 0)])
    of_row = of_text[cells.codes]
    known = ~np.isnan(of_row)
    place = np.searchsorted(values, of_row[known])
    rows, clicks = (np.bincount(place[chosen], minlength=len(values)) for chosen in (slice(None), labels[known]))
    return values, rows.astype(np.float64), clicks.astype(np.float64)


def _name_says_nothing(column: str) -> bool:
    words = name_words(column)
    return all(len(word) < _SHORTEST_WORD or word in _SAYS_NOTHING for word in words)


def _with(warning: str, said: str) -> str:
    return f"{warning}; {said}" if warning else said
