"""What a model holds of each feature: its embedding, its cells, and what these do together with other features.

Start with `Embeddings.of`, which takes the weights of a finished run as numpy arrays: nothing here needs torch. Each
feature stands for itself at x = 1: a value, a bucket, a knot of a piecewise number, one standard deviation of a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse import csr_array

from deepfm_core.encoding.encoder import Encoder
from deepfm_core.errors import RunError
from deepfm_core.spec.run import ModelSpec

FM, OWN, CELLS = "fm", "own", "cells"
"""Spaces that features stand in: the embeddings that FM pairs multiply or, in a model without, that the DNN reads; the
DNN's own ones; and the cells of a guided model."""
THIN = 30
"""Training rows below which a feature's place is mostly noise."""
COMPONENTS = 3
"""Components of a projection that are kept."""
_LEAST = 1e-12

Points: TypeAlias = "NDArray[np.float64] | csr_array"
"""(features, dimensions) of a space."""


@dataclass(frozen=True)
class Embeddings:
    """V features of F fields with what a trained model holds of them.

    Attributes:
        names: (V,) of the features.
        fields: (F,) names of the fields.
        field: (V,) the number of each feature's field.
        rows: (V,) training rows that hold it; 0 where it was never trained.
        mean_x: (V,) its mean x over the training rows.
        first_order: (V,) its weight in log-odds; None where nothing reads it.
        fm: (V, K) embeddings, see `FM`; None where the model has none.
        own: (V, K) embeddings that only the DNN reads; None where it reads the FM's.
        multiplied: whether FM pairs multiply `fm`.
        centred: whether they do so less their field's mean.
        pair_weights: (F, F) what the product of each pair of fields counts; all 1 without a guide.
        cells: (V, V) symmetric, the weight of two features together; None without a guide.
        several: (F,) whether features of a field meet within a row.
    """

    names: NDArray[np.object_]
    fields: tuple[str, ...]
    field: NDArray[np.int64]
    rows: NDArray[np.int64]
    mean_x: NDArray[np.float64]
    first_order: NDArray[np.float64] | None
    fm: NDArray[np.float64] | None
    own: NDArray[np.float64] | None
    multiplied: bool
    centred: bool
    pair_weights: NDArray[np.float64]
    cells: csr_array | None
    several: NDArray[np.bool_]

    @classmethod
    def of(cls, weights: Mapping[str, NDArray[Any]], encoder: Encoder, spec: ModelSpec) -> Embeddings:
        """Take a finished run's weights apart.

        Args:
            weights: of the best epoch, by name, as `RunFolder.weights` reads them.
            encoder: of the same run.
            spec: of the same run.

        Raises:
            RunError: weights and encoder do not belong together.
        """
        layout, switches, size = encoder.layout, spec.switches, spec.embedding_size
        table = np.asarray(weights.get("table", np.zeros((0, 0))), dtype=np.float64)
        if table.shape != (layout.vocabulary, 1 + switches.embedding_sets * size):
            raise RunError("The weights of this run do not fit its fields, so they are damaged. Train it again.")
        sizes = [field.size for field in layout.fields]
        names = [str(name) for field in layout.fields for name in field.features]
        read = switches.first_order or switches.weights_read
        pairs = weights.get("pair_weights", np.ones(2 * [len(sizes)]))
        return cls(
            np.array(names, dtype=object),
            layout.names,
            np.repeat(np.arange(len(sizes)), sizes),
            encoder.counts,
            encoder.mass / max(encoder.rows, 1),
            table[:, 0] if read else None,
            table[:, 1 : 1 + size] if switches.embedding_sets else None,
            table[:, 1 + size :] if switches.own_embeddings else None,
            switches.second_order,
            spec.centred and switches.second_order,
            np.asarray(pairs, dtype=np.float64),
            _cells(weights, layout.vocabulary) if spec.has_guide else None,
            np.array([field.pairs_within for field in layout.fields], dtype=bool),
        )

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def spaces(self) -> tuple[str, ...]:
        """The spaces that hold something, embeddings first."""
        there = {FM: self.fm, OWN: self.own, CELLS: self.cells}
        return tuple(name for name, held in there.items() if held is not None and bool(abs(held).max() > 0))

    def points(self, space: str) -> Points:
        """Give each feature's place in a space: (V, dimensions).

        In `FM` that is the vector as FM pairs multiply it. In `CELLS` it is the feature's row of cells, each weighed by
        how often the other feature stands in a row: two features are close if they do alike in the rows there are.
        """
        if space == CELLS:
            assert self.cells is not None
            return csr_array(self.cells.multiply(np.sqrt(self.mean_x)[None, :]))
        if space == OWN:
            assert self.own is not None
            return self.own
        assert self.fm is not None
        return self.fm - self.means[self.field] if self.centred else self.fm

    @cached_property
    def means(self) -> NDArray[np.float64]:
        """The mean embedding of each field over the training rows: (F, K)."""
        assert self.fm is not None
        return _by_field(self.fm * self.mean_x[:, None], self.field, len(self.fields))

    def described(self, shown: NDArray[np.int64], space: str, levels: pd.DataFrame | None = None) -> pd.DataFrame:
        """Describe n features: `id`, `field`, `feature`, `rows`, `norm`, `weight`, and `rate`, the share of positives.

        Args:
            shown: (n,) their ids.
            space: whose norms.
            levels: the frame `levels` of the run, which has the clicks; without it the rate is not known.
        """
        frame = pd.DataFrame(
            {
                "id": shown,
                "field": np.array(self.fields, dtype=object)[self.field[shown]],
                "feature": self.names[shown],
                "rows": self.rows[shown],
                "norm": norms(self.points(space)[shown]),
                "weight": np.nan if self.first_order is None else self.first_order[shown],
            }
        )
        if levels is None:
            return frame.assign(rate=np.nan)
        known = levels.assign(rate=levels["clicks"] / levels["rows"], feature=levels["level"].astype(str))
        known = known[["field", "feature", "rate"]].astype({"field": str})
        return frame.merge(known, on=["field", "feature"], how="left", validate="many_to_one")

    def most_frequent(self, per_field: int, fields: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Give the ids of the `per_field` features with most rows of each field, or of the fields named: (n,)."""
        order = np.lexsort((-self.rows, self.field))
        first = np.searchsorted(self.field, np.arange(len(self.fields)))
        place = np.arange(len(order)) - first[self.field[order]]
        kept = place < per_field
        if fields is not None:
            kept &= np.isin(self.field[order], fields)
        return order[kept]

    def together(self, feature: int) -> NDArray[np.float64]:
        """Give what the FM part adds for a feature together with each other one, in log-odds: (V,).

        It is the pair's pure contribution of a row that holds just the two, beyond what each does alone under training
        frequencies: r ⟨v_i − m_f, v_j − m_g⟩ + cells, which are centred alike. Within a multi-valued field it is
        ⟨v_i, v_j⟩. Features that never meet in a row have 0.
        """
        field = int(self.field[feature])
        effects = np.zeros(len(self))
        if self.multiplied and self.fm is not None:
            centred = self.fm - self.means[self.field]
            effects += (centred @ centred[feature]) * self.pair_weights[field, self.field]
        if self.cells is not None:
            effects += self._cells_beyond(feature)
        own = self.field == field
        within = self.fm @ self.fm[feature] if self.several[field] and self.multiplied and self.fm is not None else 0.0
        effects[own] = np.broadcast_to(within, effects.shape)[own]
        effects[feature] = 0.0
        return effects

    def _cells_beyond(self, feature: int) -> NDArray[np.float64]:
        """Give u_ij less its means over i, over j and over both, under training frequencies: (V,)."""
        assert self.cells is not None
        own, count = self.field == self.field[feature], len(self.fields)
        cells = self.cells[[feature]].toarray()[0]
        others = self.cells.T @ np.where(own, self.mean_x, 0.0)  # (V,): the mean over the features of the own field
        mean, means = (_by_field(part * self.mean_x, self.field, count)[self.field] for part in (cells, others))
        beyond: NDArray[np.float64] = cells - others - mean + means
        return beyond

    def partners(self, feature: int, level_pairs: pd.DataFrame | None = None) -> pd.DataFrame:
        """List the features that a feature does most together with, strongest first.

        Args:
            feature: its id.
            level_pairs: the rows of the frame `level_pairs` that hold the feature's field. They know what the whole
                logit adds, the DNN included, and the rows with both, for the levels that the frame shows.

        Returns:
            `id`, `field`, `feature`, `rows` (with the partner), `fm` (in log-odds; null where the model has no FM
            pairs), `whole` (with what the DNN adds; null where not known), `both` (rows with both), `rate` (share of
            positives among these).
        """
        effects = self.together(feature)
        meets = (self.rows > 0) & (effects != 0 if self.multiplied else self.field != self.field[feature])
        ids = np.flatnonzero(meets)
        frame = pd.DataFrame(
            {
                "id": ids,
                "field": np.array(self.fields, dtype=object)[self.field[ids]],
                "feature": self.names[ids],
                "rows": self.rows[ids],
                "fm": effects[ids] if self.multiplied else np.nan,
            }
        )
        seen = _seen_together(self.fields[self.field[feature]], str(self.names[feature]), level_pairs)
        frame = frame.merge(seen, on=["field", "feature"], how="left", validate="one_to_one")
        if self.multiplied:
            # One measure for both: bar and tick differ by what the DNN adds, and by nothing else.
            frame["whole"] = frame["fm"] + frame["beyond_fm"]
        frame = frame.drop(columns="beyond_fm")
        rank = frame["fm" if self.multiplied else "whole"].abs()
        ordered = frame.assign(size=rank).sort_values("size", ascending=False, kind="stable", ignore_index=True)
        return ordered.dropna(subset=["size"]).drop(columns="size")

    def neighbours(self, feature: int, space: str, metric: str, most: int = 10) -> pd.DataFrame:
        """List the trained features nearest to a feature, among all features, in all dimensions of a space.

        Features at a right angle, or that point the other way, are near to nothing and left out.

        Args:
            feature: its id.
            space: one of `spaces`.
            metric: `inner`, the inner product that FM pairs use, or `cosine`.
            most: how many.

        Returns:
            `id`, `field`, `feature`, `rows`, `inner` and `cosine`, the nearest first.
        """
        points = self.points(space)
        inner = np.asarray(points @ _dense(points[[feature]])[0]).ravel()
        lengths = norms(points)
        cosine = inner / np.maximum(lengths * lengths[feature], _LEAST)
        measure = inner if metric == "inner" else cosine
        near = np.flatnonzero((self.rows > 0) & (measure > _LEAST))
        others = near[near != feature]
        nearest = others[np.argsort(-measure[others], kind="stable")[:most]]
        return pd.DataFrame(
            {
                "id": nearest,
                "field": np.array(self.fields, dtype=object)[self.field[nearest]],
                "feature": self.names[nearest],
                "rows": self.rows[nearest],
                "inner": inner[nearest],
                "cosine": cosine[nearest],
            }
        )


@dataclass(frozen=True)
class Projection:
    """Principal components of n points.

    Attributes:
        places: (n, 3) along the first three components; 0 where there are fewer.
        shares: (3,) of the variance that each shows.
    """

    places: NDArray[np.float64]
    shares: NDArray[np.float64]


def project(points: Points, rows: NDArray[Any]) -> Projection:
    """Find the principal components of n points, each counting by its rows; a feature without rows moves nothing.

    Each component points to the side of the point that is farthest out, so that a map never flips by chance.
    """
    share = np.asarray(rows, dtype=np.float64)
    share = share / share.sum() if share.sum() > 0 else np.full(len(share), 1.0 / max(len(share), 1))
    if isinstance(points, csr_array):
        places, spread, total = _by_products(points, share)
    else:
        places, spread, total = _by_covariance(_dense(points), share)
    found = min(COMPONENTS, len(spread))
    whole, shares = np.zeros((len(share), COMPONENTS)), np.zeros(COMPONENTS)
    whole[:, :found] = places[:, :found] * _sides(places[:, :found])
    shares[:found] = spread[:found] / total if total > _LEAST else 0.0
    return Projection(whole, shares)


def _by_covariance(points: NDArray[np.float64], share: NDArray[np.float64]) -> tuple[Any, Any, float]:
    """Project by the covariance of the dimensions: places (n, K), variances (K,) from the largest on, their sum."""
    centred = points - share @ points
    variances, axes = np.linalg.eigh(centred.T @ (centred * share[:, None]))
    return centred @ axes[:, ::-1], np.maximum(variances[::-1], 0.0), float(np.maximum(variances, 0.0).sum())


def _by_products(points: csr_array, share: NDArray[np.float64]) -> tuple[Any, Any, float]:
    """Project by the inner products of the points, where they have many dimensions: as `_by_covariance`."""
    products = (points @ points.T).toarray()
    mean = products @ share
    centred = products - mean[:, None] - mean[None, :] + share @ mean
    root = np.sqrt(share)
    last = len(share) - 1
    weighed = centred * root[:, None] * root[None, :]
    variances, axes = eigh(weighed, subset_by_index=(max(last - COMPONENTS + 1, 0), last))
    variances, axes = np.maximum(variances[::-1], 0.0), axes[:, ::-1]
    places = (centred * root[None, :]) @ axes / np.sqrt(np.maximum(variances, _LEAST))
    return places, variances, float(np.trace(weighed))


def _sides(places: NDArray[np.float64]) -> NDArray[np.float64]:
    if not len(places):
        return np.ones(places.shape[1])
    farthest = np.abs(places).argmax(0)
    return np.where(places[farthest, np.arange(places.shape[1])] < 0, -1.0, 1.0)


def norms(points: Points) -> NDArray[np.float64]:
    """Give the length of each point: (n,)."""
    squares = points.multiply(points) if isinstance(points, csr_array) else points * points
    return np.sqrt(np.asarray(squares.sum(axis=1), dtype=np.float64)).ravel()


def _dense(points: Points) -> NDArray[np.float64]:
    return points.toarray() if isinstance(points, csr_array) else points


def _by_field(values: NDArray[np.float64], field: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Sum the values of each field's features: (F, …)."""
    sums = np.zeros((count, *values.shape[1:]))
    np.add.at(sums, field, values)
    return sums


def _cells(weights: Mapping[str, NDArray[Any]], vocabulary: int) -> csr_array:
    """Lay the cells of a guided model out: (V, V), the same both ways."""
    keys = np.asarray(weights["cell_keys"], dtype=np.int64)
    values = np.asarray(weights["cell_weights"], dtype=np.float64)
    a, b = keys // vocabulary, keys % vocabulary
    shape = (vocabulary, vocabulary)
    return csr_array((np.tile(values, 2), (np.concatenate([a, b]), np.concatenate([b, a]))), shape=shape)


def _seen_together(field: str, feature: str, level_pairs: pd.DataFrame | None) -> pd.DataFrame:
    """Give the levels in a row with a feature: `field`, `feature`, `whole`, `beyond_fm`, `both` and `rate`.

    `beyond_fm` is what of `whole` is not the FM's: the part of the DNN, and 0 where there is none.
    """
    columns = ["field", "feature", "whole", "beyond_fm", "both", "rate"]
    if level_pairs is None:
        return pd.DataFrame(columns=columns).astype(dict.fromkeys(columns[2:], float))
    sides = []
    for own, other in (("a", "b"), ("b", "a")):
        part = level_pairs[
            (level_pairs[f"field_{own}"] == field)
            & (level_pairs[f"level_{own}"] == feature)
            & (level_pairs[f"field_{other}"] != field)
        ]
        part = part.rename(columns={f"field_{other}": "field", f"level_{other}": "feature"})
        beyond = part["learned"] - part["learned_fm"].fillna(0.0)
        sides.append(
            part.assign(whole=part["learned"], beyond_fm=beyond, both=part["rows"], rate=part["clicks"] / part["rows"])
        )
    seen = pd.concat(sides)[columns]
    return seen.astype({"field": str, "feature": str}).drop_duplicates(["field", "feature"])
