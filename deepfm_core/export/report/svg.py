"""Charts as SVG text: elements, scales and axes. Colours are classes or variables of `style.CSS`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape


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
