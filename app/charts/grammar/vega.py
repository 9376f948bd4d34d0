"""Vega-Lite as plain values: a layer is a mark over a frame, a chart is layers over each other.

Altair writes the same grammar. The charts write it themselves, since a page draws several charts after every click and
Altair's checked objects take as long as everything else on the page (docs/decisions/008-charts-are-plain-vega-lite.md).
Tests check every spec against Altair's copy of the schema.
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

    `st.vega_lite_chart(chart.spec, alt=chart.description)` draws it. The text is not in the spec, so that a chart whose
    text changes stays on the page and only takes new rows.
    """

    spec: Spec
    description: str

    def to_dict(self) -> Spec:
        """Give one complete Vega-Lite spec, with frames as rows, for a notebook or a file."""
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
        # Vega gets a frame without rows as one empty row and would write it as "null".
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
    """Encode a column without a scale of its own (`x2`, `y2`, `detail`)."""
    return {"field": field, **options}


def value(constant: Any) -> Spec:
    """Encode a constant: pixels, a colour or an opacity."""
    return {"value": constant}


def expr(text: str) -> Spec:
    """Let Vega compute a value when it draws."""
    return {"expr": text}


def when(test: str, yes: Any, no: Any) -> Spec:
    """Encode the constant `yes` if the test on `datum` holds, else `no`."""
    return {"condition": {"test": test, "value": yes}, "value": no}


def hover(*lines: tuple[str, str] | tuple[str, str, str]) -> list[Spec]:
    """Give a tooltip with lines of column, title and, for a number, its d3 format."""
    return [
        {"field": line[0], "title": line[1], "type": "quantitative", "format": line[2]}
        if len(line) == 3
        else {"field": line[0], "title": line[1], "type": "nominal"}
        for line in lines
    ]


def click_selects(name: str, *fields: str) -> Spec:
    """Let a click select marks with the same values in `fields`; Streamlit returns the selection under its name."""
    return {"name": name, "select": {"type": "point", "fields": list(fields)}}


def drag_selects(name: str, *channels: str) -> Spec:
    """Let a drag select an area, or a range along `channels`; Streamlit returns the selection under its name."""
    along = {"encodings": list(channels)} if channels else {}
    return {"name": name, "select": {"type": "interval", **along}}


def over(layers: Sequence[Layer], description: str, **properties: Any) -> Chart:
    """Combine layers into a chart, the first at the bottom; a frame used twice is sent once.

    Args:
        layers: at least one.
        description: the alternative text.
        properties: properties of the whole view (`height`, `title`, `resolve`, `config` …).
    """
    names: dict[int, str] = {}
    datasets: dict[str, pd.DataFrame] = {}
    views = []
    for each in layers:
        name = names.setdefault(id(each.rows), f"rows_{len(names)}")
        datasets[name] = each.rows
        views.append({"data": {"name": name}, **each.spec})
    return Chart({"datasets": datasets, "layer": views, **properties}, description)
