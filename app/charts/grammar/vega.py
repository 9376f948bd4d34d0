"""Vega-Lite as plain values: marks over frames, laid over each other into a chart.

This is the grammar that Altair writes too. The charts write it themselves because a page draws several of them after
every click, and building one through Altair's checked objects takes as long as everything else on the page
(docs/decisions/008-charts-are-plain-vega-lite.md). Tests check every spec against Altair's copy of the schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pandas as pd

Spec: TypeAlias = dict[str, Any]
"""A piece of Vega-Lite, https://vega.github.io/vega-lite/docs/."""


@dataclass(frozen=True)
class Chart:
    """A finished chart: its spec with its frames under `datasets`, and its alternative text.

    `st.vega_lite_chart(chart.spec, alt=chart.description)` draws it. The text is kept out of the spec, so that a chart
    whose text changes keeps its place on the page and only takes new rows.
    """

    spec: Spec
    description: str

    def to_dict(self) -> Spec:
        """Give the whole as one Vega-Lite spec, frames as rows, for a notebook or a file."""
        frames = self.spec["datasets"].items()
        datasets = {name: frame.astype(object).where(frame.notna(), None).to_dict("records") for name, frame in frames}
        return {**self.spec, "datasets": datasets, "description": self.description}

    def _repr_mimebundle_(self, **_: Any) -> Spec:
        return {"application/vnd.vegalite.v6+json": self.to_dict(), "text/plain": self.description}


@dataclass(frozen=True)
class Layer:
    """A mark over the rows of a frame."""

    rows: pd.DataFrame
    spec: Spec


def layer(rows: pd.DataFrame, mark: Spec, *, selections: Sequence[Spec] = (), **encoding: Any) -> Layer:
    """Draw a mark for each row, its channels as given."""
    spec: Spec = {"mark": mark, "encoding": encoding}
    if mark["type"] == "text":
        # A frame without rows reaches Vega as one row of nothing, which would be written "null".
        spec["transform"] = [{"filter": f"isValid(datum[{encoding['text']['field']!r}])"}]
    if selections:
        spec["params"] = list(selections)
    return Layer(rows, spec)


def mark(kind: str, **properties: Any) -> Spec:
    """Name a mark (`rect`, `line`, `rule`, `point`, `text` …) with its constant properties."""
    return {"type": kind, **properties}


def quantity(field: str, **options: Any) -> Spec:
    """Encode a number."""
    return {"field": field, "type": "quantitative", **options}


def nominal(field: str, **options: Any) -> Spec:
    """Encode a name."""
    return {"field": field, "type": "nominal", **options}


def column(field: str, **options: Any) -> Spec:
    """Encode a column on the scale of another channel (`x2`, `y2`, `detail`)."""
    return {"field": field, **options}


def value(constant: Any) -> Spec:
    """Encode a constant in the units of the drawing: pixels, a colour, an opacity."""
    return {"value": constant}


def expr(text: str) -> Spec:
    """Let Vega compute a value where it draws."""
    return {"expr": text}


def when(test: str, yes: Any, no: Any) -> Spec:
    """Encode one constant where the test on `datum` holds and another where it does not."""
    return {"condition": {"test": test, "value": yes}, "value": no}


def hover(*lines: tuple[str, str] | tuple[str, str, str]) -> list[Spec]:
    """Give the tooltip: column, title and, for a number, its d3 format."""
    return [
        {"field": line[0], "title": line[1], "type": "quantitative", "format": line[2]}
        if len(line) == 3
        else {"field": line[0], "title": line[1], "type": "nominal"}
        for line in lines
    ]


def click_selects(name: str, *fields: str) -> Spec:
    """Let a click select by columns; the selection comes back under its name."""
    return {"name": name, "select": {"type": "point", "fields": list(fields)}}


def drag_selects(name: str, *channels: str) -> Spec:
    """Let a drag select an area, or along the given channels; the selection comes back under its name."""
    along = {"encodings": list(channels)} if channels else {}
    return {"name": name, "select": {"type": "interval", **along}}


def over(layers: Sequence[Layer], description: str, **properties: Any) -> Chart:
    """Lay marks over each other, the first at the bottom; equal frames are sent once.

    Args:
        layers: at least one.
        description: the alternative text.
        properties: of the whole view (`height`, `title`, `resolve`, `config` …).
    """
    names: dict[int, str] = {}
    datasets: dict[str, pd.DataFrame] = {}
    views = []
    for each in layers:
        name = names.setdefault(id(each.rows), f"rows_{len(names)}")
        datasets[name] = each.rows
        views.append({"data": {"name": name}, **each.spec})
    return Chart({"datasets": datasets, "layer": views, **properties}, description)
