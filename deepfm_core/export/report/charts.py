"""The report's charts, each a function from frames to SVG text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from deepfm_core._words import in_sequence, percent, signed
from deepfm_core.metrics.scores import auc_range, calibration, thresholds

# Charts as SVG text: elements, scales and axes. Colours are classes or variables of `style.CSS`.


def tag(name: str, *content: str, **attributes: object) -> str:
    """Write an element; `class_` is `class`, and underscores in names become hyphens."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_text(value))}"' for key, value in attributes.items()
    )
    return f"<{name}{said}>{''.join(content)}</{name}>"


def _text(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def label(text: str, x: float, y: float, **attributes: object) -> str:
    """Write a text at a place."""
    return tag("text", escape(text), x=x, y=y, **attributes)


def short(text: str, most: int) -> str:
    """Cut a text to so many letters."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def picture(width: float, height: float, alt: str, *content: str, least: float = 0.0) -> str:
    """Write a chart; it shrinks with the page, but not below the share `least` of its width, and never grows."""
    style = f"max-width:{width:.0f}px;min-width:{width * least:.0f}px"
    box = f"0 0 {width:.0f} {height:.0f}"
    return tag("svg", tag("title", escape(alt)), *content, viewBox=box, role="img", style=style)


def path(points: Iterable[tuple[float, float]], class_: str, **attributes: object) -> str:
    """Draw a line through points."""
    line = " ".join(f"{'M' if not n else 'L'}{x:.1f} {y:.1f}" for n, (x, y) in enumerate(points))
    return tag("path", d=line, class_=class_, **attributes)


@dataclass(frozen=True)
class Scale:
    """From values `low` … `high` to pixels `start` … `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Give the pixel of a value."""
        return self.start + (value - self.low) / ((self.high - self.low) or 1.0) * (self.end - self.start)

    def ticks(self, most: int = 5) -> list[float]:
        """Give round values within the scale."""
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        step = next(s for s in _steps(span / most) if span / s <= most)
        first = math.ceil(self.low / step - 1e-9)
        return [round(n * step, 10) for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _steps(least: float) -> Iterable[float]:
    power = 10.0 ** math.floor(math.log10(least))
    return (power * factor for factor in (1, 2, 2.5, 5, 10, 20))


def number(value: float) -> str:
    """Write a tick's number, with a true minus."""
    return f"{value:g}".replace("-", "−")


def axes(x: Scale, y: Scale, titles: tuple[str, str], percent: tuple[bool, bool] = (False, False)) -> str:
    """Draw the grid, the numbers along both axes and their titles."""
    left, right, bottom = x.start, x.end, y.start

    def write(value: float, share: bool) -> str:
        return f"{number(round(value * 100, 6))}%" if share else number(value)

    rows = [
        tag("line", x1=left, x2=right, y1=y(v), y2=y(v), class_="grid")
        + label(write(v, percent[1]), left - 6, y(v) + 4, text_anchor="end")
        for v in y.ticks()
    ]
    columns = [label(write(v, percent[0]), x(v), bottom + 16, text_anchor="middle") for v in x.ticks(6)]
    named = label(titles[0], right, bottom + 33, text_anchor="end", class_="axis")
    return "".join([*rows, *columns, named, label(titles[1], left - 30, y.end - 10, class_="axis")])


def around(values: Sequence[float], room: float = 0.06) -> tuple[float, float]:
    """Give the range of values with some room at both ends."""
    low, high = min(values), max(values)
    more = (high - low or abs(high) or 1.0) * room
    return low - more, high + more


# The report's charts, each a function from frames to SVG text.


WIDTH, HEIGHT = 460.0, 290.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 50.0, 14.0, 30.0, 44.0


def _plot(x: tuple[float, float], y: tuple[float, float], right: float = _RIGHT) -> tuple[Scale, Scale]:
    return Scale(*x, _LEFT, WIDTH - right), Scale(*y, HEIGHT - _BOTTOM, _TOP)


def loss_curves(epochs: pd.DataFrame, base: float | None) -> str:
    """Draw training and validation logloss by epoch; the best epoch is marked, the dashed line is guessing the rate."""
    names = {"train_logloss": "training", "valid_logloss": "validation"}
    values = [*epochs["train_logloss"], *epochs["valid_logloss"], *([] if base is None else [base])]
    x, y = _plot((1, max(epochs["epoch"].max(), 2)), around(values), right=74)
    lines = [_curve(epochs, name, x, y, "valid" if name == "valid_logloss" else "train") for name in names]
    ends = _apart([y(epochs[name].iloc[-1]) for name in names])
    said = [label(names[name], x.end + 6, at + 4, class_="say") for name, at in zip(names, ends, strict=True)]
    guess = [] if base is None else [_level(base, x, y), label("the rate alone", x.end, y(base) - 6, text_anchor="end")]
    best = epochs.nsmallest(1, "valid_logloss").iloc[0]
    alt = f"Logloss by epoch. Lowest on validation rows: {best['valid_logloss']:.4f} after epoch {best['epoch']}."
    marks = _best(epochs, "valid_logloss", x, y)
    return picture(WIDTH, HEIGHT, alt, axes(x, y, ("epoch", "logloss (nats)")), *guess, *lines, *marks, *said)


def auc_curve(epochs: pd.DataFrame) -> str:
    """Draw the validation AUC by epoch."""
    x, y = _plot((1, max(epochs["epoch"].max(), 2)), around(auc_range(epochs["valid_auc"])))
    best = epochs.nsmallest(1, "valid_logloss").iloc[0]
    alt = f"Validation AUC by epoch. After epoch {best['epoch']}, of lowest logloss, it is {best['valid_auc']:.3f}."
    curve, marks = _curve(epochs, "valid_auc", x, y, "valid"), _best(epochs, "valid_auc", x, y)
    return picture(WIDTH, HEIGHT, alt, axes(x, y, ("epoch", "AUC")), curve, *marks)


def _best(epochs: pd.DataFrame, name: str, x: Scale, y: Scale) -> list[str]:
    """Mark the epoch whose weights were kept, if any were: a guided model may keep its guide alone."""
    kept = epochs[epochs["best"]].tail(1)
    return [
        tag("circle", cx=x(e), cy=y(v), r=5, class_="hollow") for e, v in zip(kept["epoch"], kept[name], strict=True)
    ]


def _curve(rows: pd.DataFrame, name: str, x: Scale, y: Scale, class_: str) -> str:
    return path(((x(e), y(v)) for e, v in zip(rows["epoch"], rows[name], strict=True)), class_)


def _level(value: float, x: Scale, y: Scale) -> str:
    return tag("line", x1=x.start, x2=x.end, y1=y(value), y2=y(value), class_="dash")


def _apart(places: Sequence[float], least: float = 14.0) -> list[float]:
    """Move labels at two places apart."""
    a, b = places
    if abs(a - b) >= least:
        return [a, b]
    middle, half = (a + b) / 2, least / 2
    return [middle - half, middle + half] if a <= b else [middle + half, middle - half]


def roc_curve(rows: pd.DataFrame, title: str) -> str:
    """Draw the true positive rate by the false positive rate."""
    counts = thresholds(rows["label"].to_numpy(dtype=float), rows["probability"].to_numpy())
    few = counts.iloc[np.unique(np.linspace(0, len(counts) - 1, 240).astype(int))]
    x, y = _plot((0, 1), (0, 1))
    points = [(0.0, 0.0), *zip(few["false_positive_rate"], few["recall"], strict=True)]
    line = path([(x(a), y(b)) for a, b in points], "valid")
    diagonal = path([(x(0), y(0)), (x(1), y(1))], "dash")
    named = ("false positive rate", "true positive rate")
    return picture(WIDTH, HEIGHT, title, axes(x, y, named, (True, True)), diagonal, line)


def calibration_chart(rows: pd.DataFrame) -> str:
    """Draw the observed share of positives by the predicted one, in tenths of the rows, with 95% intervals."""
    found = calibration(rows["label"].to_numpy(dtype=float), rows["probability"].to_numpy())
    top = min(float(max(found["high"].max(), found["predicted"].max())) * 1.05, 1.0)
    x, y = _plot((0, top), (0, top))
    marks = [
        tag("line", x1=x(r["predicted"]), x2=x(r["predicted"]), y1=y(r["low"]), y2=y(r["high"]), class_="span faint")
        + tag("circle", cx=x(r["predicted"]), cy=y(r["observed"]), r=4, class_="dot")
        for r in _records(found)
    ]
    diagonal = path([(x(0), y(0)), (x(top), y(top))], "dash")
    alt = "Observed share of positives by the predicted one, in tenths of the rows. On the dashed line both agree."
    named = ("predicted share of positives", "observed")
    return picture(WIDTH, HEIGHT, alt, axes(x, y, named, (True, True)), diagonal, *marks)


# Pairs.


def interval(low: float | None, value: float, high: float | None, learned: float | None, top: float) -> str:
    """Draw one pair's strength in the data with its interval, and as a bar below what the model learned."""
    width, height = 220.0, 24.0
    x = Scale(0, top or 1.0, 4, width - 6)
    span = (
        ""
        if low is None or high is None
        else tag("line", x1=x(low), x2=x(min(high, top)), y1=8, y2=8, class_="span faint")
    )
    bar = (
        ""
        if learned is None
        else tag("rect", x=x(0), y=16, width=max(x(min(learned, top)) - x(0), 1), height=4, rx=1, class_="model")
    )
    dot = tag("circle", cx=x(value), cy=8, r=4.5, class_="dot")
    rule = tag("line", x1=x(0), x2=x(0), y1=1, y2=height - 1, class_="zero")
    alt = f"Data {value:.2f}" + ("" if learned is None else f", model {learned:.2f}")
    return picture(width, height, alt, rule, span, dot, bar)


def matrix(fields: Sequence[str], pairs: pd.DataFrame) -> str:
    """Draw the strength of every pair of fields; numbers stand where a pair is clear above noise."""
    place = {name: number for number, name in enumerate(fields)}
    count, side = len(fields), max(26.0, min(46.0, 560 / max(len(fields), 1)))
    left, bottom = 118.0, 104.0
    top = float(pairs["strength"].max()) or 1.0
    cells = []
    for pair in _records(pairs):
        if {pair["field_a"], pair["field_b"]} <= set(place):
            column, row = sorted((place[pair["field_a"]], place[pair["field_b"]]))
            cells.append(_pair_cell(pair, left + column * side, (row - 1) * side, side, top))
    rows = [
        label(short(name, 16), left - 8, (number - 0.5) * side + 4, text_anchor="end", class_="say")
        for number, name in enumerate(fields)
        if number
    ]
    base = (count - 1) * side + 12
    columns = [_turned(short(name, 16), left + (number + 0.5) * side, base) for number, name in enumerate(fields[:-1])]
    first = _records(pairs)[0]
    alt = f"Strength of {len(pairs):,} pairs of fields. The strongest is {first['field_a']} × {first['field_b']}."
    return picture(left + (count - 1) * side + 40, base + bottom - 12, alt, *cells, *rows, *columns, least=0.8)


def _pair_cell(pair: Mapping[str, Any], x: float, y: float, side: float, top: float) -> str:
    share = max(float(pair["strength"]), 0.0) / top
    said = f"{pair['strength']:.2f}"
    title = tag("title", _plain(f"{pair['field_a']} × {pair['field_b']}: {said}"))
    cell = _cell(x, y, side, f"color-mix(in oklab,var(--strong) {share * 100:.0f}%,var(--weak))", title)
    if not pair["clear"]:
        return cell
    ink = "on" if share > 0.45 else "say"
    return cell + label(said, x + side / 2, y + side / 2 + 4, text_anchor="middle", class_=ink)


def _turned(text: str, x: float, y: float) -> str:
    return label(text, x, y, class_="say", text_anchor="end", transform=f"rotate(-45 {x:.1f} {y:.1f})")


def _cell(x: float, y: float, side: float, fill: str, title: str, height: float | None = None) -> str:
    size = {"width": side - 1.5, "height": (height or side) - 1.5}
    return tag("rect", title, x=x, y=y, rx=2, style=f"fill:{fill}", **size)


MOST_ACROSS = 13
"""Levels of the second field that stand side by side; more go down if the first field has fewer."""


def levels(cells: pd.DataFrame, value: str, limit: float, title: str) -> str:
    """Draw the effect of each two levels together, in log-odds: green raises, purple lowers.

    A long list of levels goes down the side.
    """
    if MOST_ACROSS < cells["level_b"].nunique() > cells["level_a"].nunique():
        cells = cells.rename(columns={"level_a": "level_b", "level_b": "level_a"})
    across, down = _natural(cells["level_b"]), _natural(cells["level_a"])
    left, side = 120.0, max(30.0, min(58.0, 440 / max(len(across), 1)))
    height = min(side, 34.0)
    marks = [
        _level_cell(
            cell,
            float(cell[value]) / limit,
            (left + across.index(cell["level_b"]) * side, down.index(cell["level_a"]) * height),
            (side, height),
            signed(float(cell[value])),
        )
        for cell in _records(cells)
    ]
    rows = [
        label(short(name, 17), left - 8, (n + 0.5) * height + 4, text_anchor="end", class_="say")
        for n, name in enumerate(down)
    ]
    base = len(down) * height + 14
    columns = [_turned(short(name, 17), left + (n + 0.5) * side, base) for n, name in enumerate(across)]
    return picture(left + len(across) * side + 8, base + 92, title, *marks, *rows, *columns, least=0.7)


def _level_cell(
    cell: Mapping[str, Any], share: float, place: tuple[float, float], size: tuple[float, float], said: str
) -> str:
    """Draw two levels' cell; its colour has the strength `share`, −1 … 1, and numbers stand where there is room."""
    (x, y), (side, height), strong = place, size, min(abs(share), 1.0)
    rate = f"{percent(cell['clicks'] / cell['rows'], 1)} of {cell['rows']:,} rows positive"
    title = tag("title", _plain(f"{cell['level_a']}, {cell['level_b']}: {said} log-odds, {rate}"))
    fill = f"color-mix(in oklab,var(--{'up' if share > 0 else 'down'}) {strong * 100:.0f}%,var(--cell))"
    drawn = _cell(x, y, side, fill, title, height)
    if side < 38:
        return drawn
    ink, number = "on" if strong > 0.6 else "say", float(said.replace("−", "-"))
    text = "0" if abs(number) < 0.05 else signed(number, 1)
    return drawn + label(text, x + side / 2, y + height / 2 + 4, text_anchor="middle", class_=ink)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Give the lines of a frame, by column."""
    return [{str(name): value for name, value in line.items()} for line in frame.to_dict("records")]


def _natural(levels: pd.Series[str]) -> list[str]:
    """Give the distinct levels: numbers and times ascending, what is neither last; all others as they come."""
    if (sequence := in_sequence(list(dict.fromkeys(map(str, levels))))) is not None:
        return sequence
    names = pd.Series(list(dict.fromkeys(levels)), dtype=object)
    numbers = pd.to_numeric(names, errors="coerce")
    order = numbers.argsort(kind="stable") if numbers.notna().sum() > len(names) / 2 else names.index
    return [str(name) for name in names.iloc[order]]


def _plain(text: str) -> str:
    return text.replace("&", "+").replace("<", "‹")


# Rows.


@dataclass(frozen=True)
class Step:
    """An addend of a row's logit: what it is called, and its log-odds."""

    name: str
    value: float


def ledger(base: float, steps: Sequence[Step], logit: float) -> str:
    """Draw how a row's logit adds up, from the mean logit to its own."""
    left, width, line = 190.0, 520.0, 23.0
    running = np.cumsum([base, *(step.value for step in steps)])
    x = Scale(*around([0.0, *running.tolist()], 0.1), left, width - 54)
    rows = [label("mean logit", left - 10, 16, text_anchor="end"), _bar(x, 0.0, base, 0, "rest")]
    for number, step in enumerate(steps, 1):
        y, start = number * line, float(running[number - 1])
        rows.append(label(short(step.name, 27), left - 10, y + 16, text_anchor="end", class_="say"))
        rows.append(_bar(x, start, start + step.value, y, "up" if step.value > 0 else "down"))
    y = (len(steps) + 1) * line
    rows += [label("logit", left - 10, y + 16, text_anchor="end", class_="bold"), _bar(x, 0.0, logit, y, "whole")]
    values = [base, *(step.value for step in steps), logit]
    rows += [label(signed(v), width - 4, n * line + 16, text_anchor="end", class_="say") for n, v in enumerate(values)]
    zero = tag("line", x1=x(0), x2=x(0), y1=0, y2=y + line, class_="zero")
    return picture(width, y + line + 2, f"The row's logit, {signed(logit)}, as a sum.", zero, *rows, least=0.7)


def _bar(x: Scale, start: float, end: float, y: float, class_: str) -> str:
    low, high = sorted((x(start), x(end)))
    return tag("rect", x=low, y=y + 4, width=max(high - low, 1.0), height=15, rx=2, class_=class_)


def effect(value: float, top: float) -> str:
    """Draw the size of a field's own effect."""
    x = Scale(0, top or 1.0, 0, 150)
    bar = tag("rect", x=0, y=4, width=max(x(value), 1.0), height=10, rx=2, class_="dot")
    return picture(150, 18, f"{value:.2f} log-odds", bar)
