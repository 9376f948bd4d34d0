"""What if: change fields of a row, and see what the model then gives; the ledger beside it follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from app.charts.ledger import value_sweep
from app.shared import predictions
from app.state import links
from app.state.saved_runs import OpenRun
from app.widgets.columns import ROWS
from app.widgets.figure import figure
from app.widgets.text import errors_shown, plain
from deepfm_core._words import percent, signed
from deepfm_core.schema.column import numbers_in
from deepfm_core.schema.number_parsing import write_number
from deepfm_core.schema.schema import FieldRole
from deepfm_core.spec.models import ADDENDS

if TYPE_CHECKING:
    from deepfm_core.explain.example_rows import Unfamiliar
    from deepfm_core.explain.row_terms import Answers
    from deepfm_core.runs.predictor import Trained

CHANGES = "if"
"""Name, in the URL, of the choice that holds the changed cells."""
MOST_VALUES = 20
"""Values tried for a field: its most frequent ones, or this many steps over the range of a number."""
LEAST_CHANGE = 1e-6
"""Log-odds up to which a term counts as unchanged."""


@dataclass(frozen=True)
class Changed:
    """A row with changed cells, and what the model gives it."""

    changes: dict[str, str]
    """The new cells as text, by column."""
    answers: Answers
    """Of the row itself, of the changed row, and of the changed row with each of `values` in the field changed last."""
    values: list[str]

    @property
    def example(self) -> pd.Series:
        """Give the changed row's probability, logit and the sums of its parts, as a row of `examples` has them."""
        terms = self.answers.terms[self.answers.terms["row"] == 1]
        sums = terms["value"].groupby(terms["term"].map(lambda kind: ADDENDS[kind].column).astype(str)).sum()
        own = {"probability": self.answers.probabilities[1], "logit": self.answers.logits[1]}
        return pd.Series({**dict.fromkeys(("bias", "first_order", "second_order", "dnn_logit"), 0.0), **sums, **own})

    @property
    def terms(self) -> pd.DataFrame:
        """Give the addends of the changed row, with the row's own under `before`."""
        own, changed = (self.answers.terms[self.answers.terms["row"] == row] for row in (0, 1))
        return changed.reset_index(drop=True).assign(before=own["value"].to_numpy())


def choose(run: OpenRun, cells: pd.DataFrame, own: dict[str, str]) -> Changed | None:
    """Let the visitor change fields of a row; None if nothing is changed. Loads the model only if needed.

    Args:
        run: the run whose model is used.
        cells: the sampled rows, with texts as in the table.
        own: the cells of the row as text, by column.
    """
    st.subheader("What if", anchor=False)
    roles = {role.column: role for role in run.spec.schema.used}
    changes = _choose_changes(cells, own, roles)
    if not changes:
        st.caption("Change fields of this row. The model runs on the changed row at once, and the ledger follows.")
        return None
    with errors_shown():
        field = list(changes)[-1]
        values = _values_to_sweep(cells, roles[field], own[field], changes[field])
        answers = _ask(run, own, [{}, changes, *({**changes, field: value} for value in values)])
        warnings = [text for name, value in changes.items() for text in not_trained_on(run, roles[name], value)]
        if warnings:
            st.warning("  \n".join(plain(text) for text in warnings))
        changed = Changed(changes, answers, values)
        _show_answers(changed)
        return changed
    return None


def show(run: OpenRun, changed: Changed, own: dict[str, str]) -> None:
    """Show the probability at every value of the field changed last."""
    field = list(changed.changes)[-1]
    role = run.spec.schema.role(field)
    ends = predictions.training_range(run, field) if role.kind.is_number else None
    _show_sweep(changed.answers, role, changed.values, own[field], changed.changes[field], ends)


def not_trained_on(run: OpenRun, role: FieldRole, value: str) -> list[str]:
    """Warn of values that were not in the training rows."""
    if role.kind.is_number:
        ends, number = predictions.training_range(run, role.column), _number(value, role)
        if ends is None or np.isnan(number) or ends[0] <= number <= ends[1]:
            return []
        said, low, high = (role.notation.measured(f"{each:,.12g}") for each in (number, *ends))
        problem = f"{said} is outside the training range, {low} to {high}."
        return [f"`{role.column}`: {problem}"]
    from deepfm_core.explain.example_rows import unfamiliar

    values = _split(value, role) if role.separator else [value.strip()]
    return [_not_seen(role, strange) for strange in unfamiliar(_trained(run.id, run).encoder, role.column, values)]


def _not_seen(role: FieldRole, strange: Unfamiliar) -> str:
    rare = strange.feature == "rare"
    problem = "is in too few training rows, so it counts as rare" if rare else "is not in the training rows"
    nearest = f" The most similar value there is `{strange.nearest}`." if strange.nearest and not rare else ""
    return f"`{role.column}`: `{strange.value}` {problem}.{nearest}"


def _choose_changes(cells: pd.DataFrame, own: dict[str, str], roles: dict[str, FieldRole]) -> dict[str, str]:
    kept = {name: str(value) for name, value in links.chosen_values(CHANGES).items() if name in roles}
    key = f"changed fields of row {cells.index.name} {own}"
    fields = st.multiselect(
        "Fields to change", list(roles), default=list(kept), key=key, placeholder="Choose one or more fields"
    )
    changes = {name: _widget(cells, roles[name], kept.get(name, own[name]), own[name]) for name in fields}
    if changes != kept:
        links.choose_values(CHANGES, changes)
    return changes


def _widget(cells: pd.DataFrame, role: FieldRole, value: str, own: str) -> str:
    """Draw the input for a field of this kind, whose cell is `own` unchanged, and return the cell's new text."""
    key, label = f"what if {role.column}", plain(role.measured_in)
    if role.kind.is_number:
        key, number = f"{key} of {own}", _number(value, role)
        known = None if np.isnan(number) else number
        st.session_state.setdefault(key, known)  # a value that changes with each answer would bring back an old one
        given = st.number_input(label, value=None, key=key, placeholder="missing", format="%g")
        if given == known:
            return value  # with its unit, as the table writes it
        return "" if given is None else write_number(given, role.notation)
    texts = cells[role.column].astype(str)
    if role.separator:
        there = sorted(
            set(texts.str.split(role.separator, regex=False).explode().str.strip()) | set(_split(value, role))
        )
        return role.separator.join(st.multiselect(label, there, default=_split(value, role), key=key))
    options = list(dict.fromkeys([*texts.value_counts().index, value]))
    chosen = st.selectbox(label, options, index=options.index(value), key=key, accept_new_options=True)
    return chosen or ""


def _number(value: str, role: FieldRole) -> float:
    """Read a cell as the model does; NaN where it is missing."""
    return float(numbers_in([value], role.notation)[0])


def _split(value: str, role: FieldRole) -> list[str]:
    return [part.strip() for part in value.split(role.separator or "\0") if part.strip()]


def _values_to_sweep(cells: pd.DataFrame, role: FieldRole, own: str, chosen: str) -> list[str]:
    """List the values to try for a field: its own, the chosen one, and frequent ones or steps between numbers."""
    column = cells[role.column].astype(str)
    if role.kind.is_number:
        numbers = numbers_in(column, role.notation)
        if np.isnan(numbers).all():
            return [own, chosen]
        low, high = (float(np.nanquantile(numbers, share)) for share in (0.01, 0.99))
        steps = np.linspace(low, high, MOST_VALUES)
        return [own, chosen, *(write_number(float(f"{step:g}"), role.notation) for step in steps)]
    return [own, chosen, *column.value_counts().index[:MOST_VALUES]]


@st.cache_resource(max_entries=2, show_spinner="Loading the model …")
def _trained(run_id: str, _run: OpenRun) -> Trained:
    from deepfm_core.runs.predictor import Trained

    return Trained.load(_run.folder)


def _ask(run: OpenRun, own: dict[str, str], variants: list[dict[str, str]]) -> Answers:
    from deepfm_core.explain.row_terms import ask

    trained = _trained(run.id, run)
    return ask(trained.encoder, trained.model, own, variants)


def _show_answers(changed: Changed) -> None:
    answers, terms = changed.answers, changed.terms
    (before, after), (p_before, p_after) = answers.logits[:2], answers.probabilities[:2]
    left, right = st.columns(2)
    moves = (f"{signed(100 * (p_after - p_before), 1)} points", f"{signed(after - before)} log-odds")
    points, odds = moves if after != before else (None, None)
    left.metric("Probability", percent(p_after, 1), points, delta_color="off", delta_arrow="off")
    right.metric("Logit", signed(after), odds, delta_color="off", delta_arrow="off")
    if (terms["value"] - terms["before"]).abs().max() <= LEAST_CHANGE:
        st.caption("No term of the logit changes.")


def _show_sweep(
    answers: Answers, role: FieldRole, values: list[str], own: str, chosen: str, ends: tuple[float, float] | None
) -> None:
    """Draw the probability at each value of the field chosen last; values beyond training are at the edge."""
    numeric = role.kind.is_number
    table = pd.DataFrame({"value": values, "probability": answers.probabilities[2:]}).drop_duplicates("value")
    table["own"], table["chosen"] = table["value"] == own, table["value"] == chosen
    reading = f"Probability of this row with other values of {plain(role.column)}; all other fields as above."
    if numeric:
        table["value"] = numbers_in(table["value"], role.notation)
        table = table.dropna(subset=["value"]).sort_values("value")
        if ends is not None and not table["value"].between(*ends).all():
            reading += " The arrow marks a value beyond the training range, where the axis ends."
    else:
        table = table.sort_values("probability", ascending=False)
    figure(
        f"Every value of {role.column}",
        lambda: value_sweep(table, role.measured_in, numeric=numeric, ends=ends),
        table,
        reading,
        key="sweep",
        titles=ROWS,
        file=f"sweep-{role.column}",
    )
