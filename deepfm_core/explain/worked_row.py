"""One row worked through a trained model by plain numpy, step by step: what the page Learn shows.

Start with `WorkedRow.of`. It reads weights as arrays, so it needs no torch. Its sums are the terms of the model itself,
which a test compares.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepfm_core.encoding.encoder import Encoder
from deepfm_core.explain.embeddings import Embeddings
from deepfm_core.spec.run import ModelSpec

_ACTIVATIONS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "relu": lambda values: np.maximum(values, 0.0),
    "tanh": np.tanh,
    "sigmoid": lambda values: 1.0 / (1.0 + np.exp(-values)),
    "linear": lambda values: values,
}
_EPSILON = 1e-5
"""That of torch's batch normalisation."""


@dataclass(frozen=True)
class WorkedRow:
    """A row's way through the model.

    Attributes:
        features: a line per feature of the row: `field`, `cell`, `feature`, `x`, and its first-order `weight` in
            log-odds (null where the model has none).
        fields: (F,) names of the embedded fields.
        vectors: (F, K) e_f as FM pairs multiply it, or as the DNN reads it in a model without; None without embeddings.
        products: (F, F) what FM pairs add for two fields in log-odds, 0 on the diagonal; None without FM pairs.
        layers: what the DNN computes: its inputs, the units of each hidden layer, its output; empty without a DNN.
    """

    features: pd.DataFrame
    fields: tuple[str, ...]
    vectors: NDArray[np.float64] | None
    products: NDArray[np.float64] | None
    layers: tuple[NDArray[np.float64], ...]

    @classmethod
    def of(
        cls,
        made: Embeddings,
        weights: Mapping[str, NDArray[Any]],
        encoder: Encoder,
        spec: ModelSpec,
        cells: Mapping[str, str],
    ) -> WorkedRow:
        """Work a row through.

        Args:
            made: the run's embeddings.
            weights: all of its weights, as `RunFolder.weights` reads them.
            encoder: of the same run.
            spec: of the same run.
            cells: the row's cells as text, by column.

        Raises:
            SchemaError: a cell cannot be used.
        """
        encoded = encoder.encode(pd.DataFrame([cells]).astype("category"), subject="The row")
        ids = encoded.ids[0]
        x = np.concatenate([_x(encoded.x(field), field.slots) for field in encoder.layout.fields])
        held, x = ids[x != 0], x[x != 0]  # of each feature that the row has, its id and x
        vectors = None if made.fm is None else _by_field(made, made.fm, held, x)
        multiplied = vectors - made.means if vectors is not None and made.centred else vectors
        layers: tuple[NDArray[np.float64], ...] = ()
        if spec.deep:
            table = made.fm if made.own is None else made.own
            assert table is not None
            read = _by_field(made, table, held, x)
            if spec.switches.weights_read:
                assert made.first_order is not None
                read = np.hstack([_by_field(made, made.first_order[:, None], held, x), read])
            layers = _network(_inputs(spec, read, encoded.dense[0]), weights, spec.activation)
        columns = {field.name: field.column for field in encoder.layout.fields}
        return cls(
            _features(made, held, x, {name: cells[column] for name, column in columns.items()}),
            made.fields,
            multiplied,
            _products(made, multiplied, held, x) if made.multiplied else None,
            layers,
        )

    def strongest(self, count: int = 3) -> tuple[int, ...]:
        """Choose fields whose pairs add most in this row: the strongest pair, then what goes with those chosen."""
        if self.products is None or len(self.fields) < count:
            return tuple(range(min(count, len(self.fields))))
        strength = np.abs(self.products)
        chosen = [int(place) for place in np.unravel_index(strength.argmax(), strength.shape)]
        if chosen[0] == chosen[1]:
            chosen = [0, 1]
        while len(chosen) < count:
            others = strength[chosen].sum(0)
            others[chosen] = -1.0
            chosen.append(int(others.argmax()))
        return tuple(sorted(chosen))


def _x(values: NDArray[np.float32] | None, slots: int) -> NDArray[np.float64]:
    return np.ones(slots) if values is None else values[0].astype(np.float64)


def _by_field(
    made: Embeddings, table: NDArray[np.float64], held: NDArray[np.int32], x: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sum x · v over the features of each field: (F, columns)."""
    summed = np.zeros((len(made.fields), table.shape[1]))
    np.add.at(summed, made.field[held], table[held] * x[:, None])
    return summed


def _features(
    made: Embeddings, held: NDArray[np.int32], x: NDArray[np.float64], cells: Mapping[str, str]
) -> pd.DataFrame:
    fields = [made.fields[number] for number in made.field[held]]
    weight = np.nan if made.first_order is None else made.first_order[held]
    columns = {"field": fields, "cell": [cells[name] for name in fields], "feature": made.names[held]}
    return pd.DataFrame({**columns, "x": x, "weight": weight})


def _products(
    made: Embeddings, vectors: NDArray[np.float64] | None, held: NDArray[np.int32], x: NDArray[np.float64]
) -> NDArray[np.float64]:
    count = len(made.fields)
    products = np.zeros((count, count)) if vectors is None else vectors @ vectors.T * made.pair_weights
    if made.cells is not None:
        met = made.cells[held][:, held].toarray() * np.outer(x, x)
        places = made.field[held]
        np.add.at(products, (places[:, None], places[None, :]), met)
    np.fill_diagonal(products, 0.0)
    return products


def _inputs(spec: ModelSpec, read: NDArray[np.float64], dense: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give all that the network reads: fields, inner products, the outer product, dense values."""
    parts = [read.ravel()]
    if spec.switches.inner:
        parts.append((read @ read.T)[np.triu_indices(len(read), 1)])
    if spec.switches.outer:
        parts.append(np.outer(read.sum(0), read.sum(0)).ravel())
    return np.concatenate([*parts, dense.astype(np.float64)])


def _network(
    inputs: NDArray[np.float64], weights: Mapping[str, NDArray[Any]], activation: str
) -> tuple[NDArray[np.float64], ...]:
    """Give the inputs, what each hidden layer passes on, and the output."""
    found = [re.fullmatch(r"network\.stack\.(\d+)\.weight", name) for name in weights]
    places = sorted(int(match[1]) for match in found if match)
    linear = [place for place in places if weights[f"network.stack.{place}.weight"].ndim == 2]
    passed = [inputs]
    for place in linear:
        part = {name: weights[f"network.stack.{place}.{name}"].astype(np.float64) for name in ("weight", "bias")}
        values = part["weight"] @ passed[-1] + part["bias"]
        if place != linear[-1]:
            values = _ACTIVATIONS[activation](_normalised(values, weights, f"network.stack.{place + 1}"))
        passed.append(values)
    return tuple(passed)


def _normalised(values: NDArray[np.float64], weights: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float64]:
    """Apply the batch normalisation that follows a layer, if one does."""
    if f"{name}.running_mean" not in weights:
        return values
    mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    scaled = (values - mean) / np.sqrt(variance + _EPSILON)
    return np.asarray(scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"])


# The FM's identity, worked out.


def as_vectors(products: NDArray[np.float64]) -> NDArray[np.float64]:
    """Write a table of products of n features as n vectors: (n, at most n − 1).

    Any symmetric table can be written so, since the product of a feature with itself is free: with λ the size of the
    smallest eigenvalue, the table with λ on its diagonal has no negative one left.
    """
    free = products.copy()
    np.fill_diagonal(free, 0.0)
    values, axes = np.linalg.eigh(free)
    lengths = np.sqrt(np.maximum(values - values[0], 0.0))
    vectors: NDArray[np.float64] = (axes * lengths)[:, ::-1]
    return vectors[:, : max(len(products) - 1, 1)]


def identity(vectors: NDArray[np.float64], names: Sequence[str]) -> pd.DataFrame:
    """Work out Σ_{f<g} ⟨e_f, e_g⟩ = ½ (|Σ e_f|² − Σ |e_f|²) of n vectors, number by number.

    Returns:
        A line per vector, then `sum`, `square of the sum`, `sum of the squares` and `half the difference`; columns
        `what`, `1` … `K`, and `total`, which is null for lines whose numbers do not add up to anything.
    """
    total, squares = vectors.sum(0), (vectors**2).sum(0)
    lines = np.vstack([vectors, total, total**2, squares, (total**2 - squares) / 2])
    frame = pd.DataFrame(lines, columns=[str(place + 1) for place in range(vectors.shape[1])])
    what = [*names, "sum", "square of the sum", "sum of the squares", "half the difference"]
    frame.insert(0, "what", what)
    frame["total"] = [np.nan] * (len(vectors) + 1) + lines[-3:].sum(1).tolist()
    return frame


def pair_products(products: NDArray[np.float64], chosen: Sequence[int], names: Sequence[str]) -> pd.DataFrame:
    """List the products of the chosen fields: `field_a`, `field_b`, `value`."""
    rows = [(names[a], names[b], float(products[a, b])) for a, b in combinations(chosen, 2)]
    return pd.DataFrame(rows, columns=["field_a", "field_b", "value"])
