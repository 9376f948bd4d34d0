"""The pair of fields that a page shows: kept in the URL, chosen by a click or in a select box."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

import pandas as pd

from app.charts.interactions.ranking import MEASURES, pair_label, ranked
from app.state import links
from app.state.links import chart_key, point
from app.widgets.layout import ask_in_view
from deepfm_core.evidence.verdicts import has_evidence as has_evidence

PAIR, RANKED, MATRIX = "pair", "ranked", "matrix"
"""Names of the choices in the URL."""
_SEPARATOR = "~"


def pair_id(field_a: str, field_b: str) -> str:
    """Name a pair in the URL; the same field twice means the field alone."""
    return _SEPARATOR.join(quote(field, safe="").replace(_SEPARATOR, "%7E") for field in (field_a, field_b))


def pair_of(name: str) -> tuple[str, str]:
    """Read the two fields from a name made by `pair_id`."""
    field_a, _, field_b = name.partition(_SEPARATOR)
    return unquote(field_a), unquote(field_b)


def measures(pairs: pd.DataFrame) -> list[str]:
    """Name the measures by which pairs can be ranked, the best ranking first.

    Without evidence, `strength` only repeats one of the learned measures, so it is left out. The whole logit comes
    first, since it makes the prediction. A model of one part has one learned measure: its part is its whole logit.
    """
    there = [name for name in MEASURES if name in pairs and pairs[name].notna().any()]
    if has_evidence(pairs):
        return there
    parts = ("learned", "learned_fm", "learned_dnn")
    first: list[str] = [name for name in parts if name in there]
    return first if len(first) > 2 else first[:1] or there


def options(pairs: pd.DataFrame, fields: pd.DataFrame, measure: str) -> list[str]:
    """List the choices: every pair in the order of `ranked`, so clear pairs come first, then every field alone."""
    first = ranked(pairs, measure)
    names = [pair_id(a, b) for a, b in zip(first["field_a"], first["field_b"], strict=True)]
    return names + [pair_id(field, field) for field in fields.dropna(subset=["order"]).sort_values("order")["field"]]


def title(name: str) -> str:
    """Write a choice as the charts do."""
    field_a, field_b = pair_of(name)
    return pair_label(field_a, field_b) if field_a != field_b else f"{field_a} (main effect)"


def triangles(pairs: pd.DataFrame, measure: str) -> dict[str, tuple[str, str]]:
    """List what the matrix can show above and below its diagonal, by title; the first is the default."""
    there = {name for name in MEASURES if name in pairs and pairs[name].notna().any()}
    halves = [("learned_fm", "learned"), ("learned", "compared")]
    if has_evidence(pairs):
        halves = [("learned", "strength"), ("learned", "held_out_strength"), ("learned", "observed"), *halves]
    both = [half for half in halves if set(half) <= there]
    whole = [(name, name) for name in [measure, *(name for name in measures(pairs) if name != measure)]]
    chosen = [*both, *whole] if has_evidence(pairs) else [*whole, *both]
    return {_triangles_title(*half): half for half in chosen}


def _triangles_title(above: str, below: str) -> str:
    return MEASURES[above].label if above == below else f"{MEASURES[above].label} | {MEASURES[below].label}"


def keep(field_a: str, field_b: str) -> None:
    """Keep a pair in the URL, and have the page show it."""
    links.choose(PAIR, pair_id(field_a, field_b))
    ask_in_view()


def keep_click(chart: str) -> None:
    """Keep the pair clicked in a chart; an empty selection changes nothing."""
    picked = point(chart, PAIR)
    if picked:
        keep(picked["field_a"], picked["field_b"])


def clickable(name: str, chosen: tuple[str, str]) -> dict[str, Any]:
    """Make a click in a chart choose a pair; pass the result on to `figure` as keywords."""
    key = chart_key(name, lambda picked: all({p["field_a"], p["field_b"]} == set(chosen) for p in picked[PAIR]))
    return {"chart_key": key, "on_select": lambda: keep_click(key), "selections": [PAIR]}
