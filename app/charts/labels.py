"""Axis labels of names that may be long: shortened in the middle, since names of a family differ at their ends."""

from __future__ import annotations

from .theme import label_limit
from .vega import Spec

_PIXELS = 6.1
"""Width of a letter of an axis label, on average."""


def shortened(share: float, most: int) -> Spec:
    """Give the axis options that shorten names to a share of the container's width and at most so many pixels."""
    return {
        "labelLimit": label_limit(share * 1.15, round(most * 1.15)),
        "labelExpr": _cut("datum.label", _room(share, most)),
    }


def shortened_pairs(share: float, most: int) -> Spec:
    """Give the axis options that shorten both names of a pair; what a short one leaves goes to the other."""
    room = f"({_room(share, most)} - 3)"
    first, second = (f"split(datum.label, ' × ')[{place}]" for place in (0, 1))
    sides = [
        _cut(name, f"max(floor({room} / 2), {room} - length({other}))")
        for name, other in ((first, second), (second, first))
    ]
    fits = f"length(datum.label) <= {_room(share, most)} || length(split(datum.label, ' × ')) != 2"
    text = f"{fits} ? {_cut('datum.label', _room(share, most))} : {sides[0]} + ' × ' + {sides[1]}"
    return {**_limit(share, most), "labelExpr": text}


def _limit(share: float, most: int) -> Spec:
    """Leave some room to texts of broad letters, which are cut at the end then."""
    return {"labelLimit": label_limit(share * 1.15, round(most * 1.15))}


def _room(share: float, most: int) -> str:
    return f"floor(clamp(containerSize()[0] * {share}, 60, {most}) / {_PIXELS})"


def _cut(text: str, letters: str) -> str:
    """Write the Vega expression that keeps both ends of a text."""
    head, tail = f"ceil(({letters} - 1) / 2)", f"floor(({letters} - 1) / 2)"
    return f"(length({text}) <= {letters} ? {text} : slice({text}, 0, {head}) + '…' + slice({text}, -{tail}))"
