"""How the cost of training grows with rows, vocabulary, fields, embedding size and widths. Prints tables, draws plots.

    python benchmarks/growth.py --plot docs/images/growth.svg

One thread; medians of processor time. Of rows the whole fit is measured (two epochs, shuffling and an evaluation after
each included), of everything else a single training step, both without L2. `--whole` measures fits of three
epochs instead: as a run begins by default, with the guide's evidence of the labels; with the recommended settings (L2,
averages) but for the guide, which is no training; and with the same less L2. `--of` measures some of these alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "benchmarks"))

import torch  # noqa: E402
from step import table_of  # noqa: E402

from deepfm_core.encoding.encoded_table import EncodedTable  # noqa: E402
from deepfm_core.models.batch import Batch  # noqa: E402
from deepfm_core.models.deepfm import DeepFM  # noqa: E402
from deepfm_core.schema.kinds import Kind  # noqa: E402
from deepfm_core.spec.presets import preset  # noqa: E402
from deepfm_core.spec.run import FitSpec, ModelSpec  # noqa: E402
from deepfm_core.training.fit import fit  # noqa: E402
from deepfm_core.training.state import FitState  # noqa: E402
from deepfm_core.training.step import Step  # noqa: E402

WITHOUT_L2 = FitSpec(epochs=2, patience=2, l2=0.0)


@dataclass
class Curve:
    """How seconds grow with one thing."""

    name: str
    unit: str
    points: list[tuple[int, float]] = field(default_factory=list)

    def markdown(self) -> str:
        """Lay the points out as a table."""
        lines = [f"| {self.name} | {self.unit} | to the first |", "|---|---|---|"]
        lines += [f"| {x:,} | {y:.3g} | {y / self.points[0][1]:.2f} |" for x, y in self.points]
        return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=20, help="steps of each kind")
    parser.add_argument("--rows", type=int, default=10_000_000, help="the most rows")
    parser.add_argument("--whole", action="store_true", help="whole fits with recommended settings alone")
    parser.add_argument("--of", nargs="+", choices=OF, default=OF, help="what to vary in whole fits")
    parser.add_argument("--plot", type=Path, help="where to draw the curves")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    curves = []
    for curve in (
        whole(arguments.rows, arguments.of) if arguments.whole else (*steps(arguments.turns), rows(arguments.rows))
    ):
        print(curve.markdown(), flush=True)
        curves.append(curve)
    if arguments.plot:
        draw(curves, arguments.plot)


def steps(turns: int) -> list[Curve]:
    """Measure one training step of batch 1,024 from 39 fields, vocabulary 100,000, size 10 and layers 64-32 on."""

    def one(fields: int = 39, vocabulary: int = 100_000, size: int = 10, layers: tuple[int, ...] = (64, 32)) -> float:
        return step(fields, vocabulary, ModelSpec(embedding_size=size, layers=layers), turns)

    return [
        Curve("vocabulary", "step, ms", [(count, one(vocabulary=count)) for count in VOCABULARIES]),
        Curve("fields", "step, ms", [(count, one(fields=count)) for count in FIELDS]),
        Curve("embedding size", "step, ms", [(size, one(size=size)) for size in SIZES]),
        Curve("units of each of two layers", "step, ms", [(units, one(layers=(units, units))) for units in WIDTHS]),
    ]


def whole(most: int, of: Sequence[str]) -> Iterator[Curve]:
    """Measure fits of three epochs by default, without the guide, and without L2: 300,000 rows of 10 fields with
    vocabulary 10,000, one of them varied. The batch is 1,024 where the vocabulary varies, else the recommended one."""
    for said, guided, l2 in (
        ("defaults", True, True),
        ("recommended settings", False, True),
        ("recommended, without L2", False, False),
    ):

        def one(fields: int = 10, vocabulary: int = 10_000, count: int = 300_000, **more: Any) -> float:
            model, spec = preset("recommended", "deepfm", count * 9 // 10, guided=guided)  # noqa: B023
            spec = replace(spec, epochs=3, patience=3, **more)
            return whole_fit(table(fields, vocabulary, count), model, spec if l2 else replace(spec, **NO_L2))  # noqa: B023

        unit = f"fit, s ({said})"
        if "vocabulary" in of:
            points = [(count, one(vocabulary=count, batch_size=1024)) for count in VOCABULARIES[:3]]
            yield Curve("vocabulary", unit, points)
        if "fields" in of:
            yield Curve("fields", unit, [(count, one(fields=count, count=30_000)) for count in (10, 39, 100, 300)])
        if "rows" in of:
            counts = [count for count in (10_000, 100_000, 1_000_000, 10_000_000) if count <= most]
            yield Curve("rows", unit, [(count, one(count=count)) for count in counts])


OF = ("vocabulary", "fields", "rows")
NO_L2: dict[str, Any] = {"l2": 0.0, "embedding_l2": 0.0}
VOCABULARIES = (10_000, 100_000, 1_000_000, 10_000_000)
FIELDS = (5, 10, 20, 39, 100, 200)
SIZES = (2, 4, 8, 16, 32, 64)
WIDTHS = (16, 64, 256, 1024)


def rows(most: int) -> Curve:
    """Measure a whole fit on 8 fields, vocabulary 10,000, layers 64-32, batch 1,024."""
    counts = [count for count in (10_000, 100_000, 1_000_000, 10_000_000) if count <= most]
    return Curve(
        "rows",
        "whole fit, s",
        [(count, whole_fit(table(8, 10_000, count), ModelSpec(embedding_size=10), WITHOUT_L2)) for count in counts],
    )


def table(fields: int, vocabulary: int, count: int) -> EncodedTable:
    """Draw fields whose sizes grow geometrically to make up the vocabulary, values of Zipf-like frequencies."""
    rng = np.random.default_rng(0)
    sizes = np.maximum(2, np.geomspace(1, 100, fields) / np.geomspace(1, 100, fields).sum() * vocabulary).astype(int)
    drawn = [np.minimum(size ** rng.random(count) - 1, size - 1).astype(np.int32) for size in sizes]
    return table_of([Kind.CATEGORICAL] * fields, sizes.tolist(), drawn, None, rng)


def step(fields: int, vocabulary: int, spec: ModelSpec, turns: int) -> float:
    """Give the median milliseconds of a training step."""
    drawn = table(fields, vocabulary, 8 * 1024)
    torch.manual_seed(0)
    one = Step(DeepFM(drawn.layout, spec).train(), WITHOUT_L2)
    batches = list(Batch.from_table(drawn).split(1024))
    return 1e3 * median([seconds(one, batches[turn % len(batches)]) for turn in range(turns + 3)][3:])


def seconds(one: Step, batch: Batch) -> float:
    began = time.process_time()
    one(batch)
    return time.process_time() - began


def whole_fit(drawn: EncodedTable, model: ModelSpec, spec: FitSpec) -> float:
    """Give the seconds of a fit on nine tenths of the rows, stopped by the others."""
    cut = len(drawn) * 9 // 10
    train, valid = drawn.take(np.arange(cut)), drawn.take(np.arange(cut, len(drawn)))
    state = FitState.new(drawn.layout, model, spec, seed=0)
    began = time.process_time()
    for _ in fit(spec, train, valid, state):
        pass
    return time.process_time() - began


def median(values: Sequence[float]) -> float:
    return float(np.median(values))


def draw(curves: Sequence[Curve], path: Path) -> None:
    """Draw each curve on axes of orders of magnitude, with proportional growth as a thin line."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(curves), figsize=(3 * len(curves), 3), layout="constrained")
    for axis, curve in zip(np.atleast_1d(axes), curves, strict=True):
        x, y = (np.array(part) for part in zip(*curve.points, strict=True))
        axis.loglog(x, y, "o-", color="#0a6f82")
        axis.loglog(x, y[-1] * x / x[-1], color="#9fadb6", linewidth=0.8)
        axis.set(xlabel=curve.name, ylabel=curve.unit, ylim=(y.min() / 3, y.max() * 3))
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


if __name__ == "__main__":
    main()
