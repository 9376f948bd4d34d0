"""What a model learned of each pair: pure contributions of its FM, its network and the whole (docs/interactions.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfm_core.data.encoded import EncodedTable
from deepfm_core.explain.levels import Levels, field_levels
from deepfm_core.explain.probe import BLOCK, NetworkProbe, network_fields_of, network_probe
from deepfm_core.explain.purify import purify
from deepfm_core.models.batch import Batch
from deepfm_core.models.deepfm import DeepFM

Pairs = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class LearnedPairs:
    """Pure contributions of P pairs over sampled rows, in log-odds; None where the model lacks the part.

    Attributes:
        pairs: field numbers (a, b), a < b.
        fm: (N, P).
        dnn: (M, P), over the first M of a shuffle of the N rows, since the network costs more.
        whole: (M, P), of FM, network and crossed fields together; (N, P) for a model without network.
        rows: (M,), which of the N rows these are.
        raw: as `whole`, before purification.
    """

    pairs: tuple[tuple[int, int], ...]
    fm: NDArray[np.float64] | None
    dnn: NDArray[np.float64] | None
    whole: NDArray[np.float64]
    rows: NDArray[np.int64]
    raw: NDArray[np.float64]


def learned_pairs(
    model: DeepFM, table: EncodedTable, *, network_rows: int | None = None, background: int = 64, seed: int = 0
) -> LearnedPairs:
    """Compute each pair's pure contribution for a sample of rows.

    Args:
        model: trained.
        table: N training rows; the FM's cost grows with N · P.
        network_rows: M, all N if None; the network's cost grows with M · P · background.
        background: rows over which the network's other fields are averaged.
        seed: picks the M rows and the background.
    """
    pairs = tuple(combinations(range(len(table.layout.fields)), 2))
    model.eval()
    exact = crossed_contributions(model, table, pairs)
    pure = None
    if model.spec.second_order:
        fm = fm_contributions(model, table, pairs)
        exact += fm
        pure = purify(fm, pairs, field_levels(table))
    if not model.spec.deep:
        return LearnedPairs(pairs, pure, None, exact if pure is None else pure, np.arange(len(table)), exact)
    rows = np.random.default_rng(seed).permutation(len(table))[:network_rows]
    part = table.take(rows)
    levels = field_levels(part)
    dnn = network_contributions(model, part, pairs, background, seed)
    whole = exact[rows] + dnn
    return LearnedPairs(pairs, pure, purify(dnn, pairs, levels), purify(whole, pairs, levels), rows, whole)


@torch.no_grad()
def embeddings_of(model: DeepFM, table: EncodedTable) -> Tensor:
    """Give e of each row and field, as the FM reads it: (N, F, K)."""
    return torch.cat([model.look_up(batch)[2] for batch in Batch.from_table(table).split(BLOCK)])


def fm_contributions(
    model: DeepFM, table: EncodedTable, pairs: Pairs, means: Tensor | None = None
) -> NDArray[np.float64]:
    """Give ⟨e_f − m_f, e_g − m_g⟩ of each row and pair, m being `means` (F, K) or those over the given rows: (N, P)."""
    embeddings = embeddings_of(model, table)
    centred = (embeddings - (embeddings.mean(0) if means is None else means)).double()
    a, b = _columns(pairs)
    return np.concatenate(
        [
            (part[:, a] * part[:, b]).sum(2).numpy()
            for part in torch.split(centred, max(1, 1_000_000 // max(1, len(pairs))))
        ]
    )


@torch.no_grad()
def crossed_contributions(model: DeepFM, table: EncodedTable, pairs: Pairs) -> NDArray[np.float64]:
    """Give the first-order weight of each row's combination where a pair is crossed, 0 elsewhere: (N, P)."""
    contributions = np.zeros((len(table), len(pairs)))
    if model.crossed_weights is not None:
        terms = model.crossed_terms(Batch.from_table(table)).double().numpy()
        for column, pair in zip(terms.T, crossed_pairs(model), strict=True):
            if pair in pairs:
                contributions[:, pairs.index(pair)] += column
    return contributions


def crossed_pairs(model: DeepFM) -> list[tuple[int, int]]:
    """Give the field numbers (a, b), a < b, of each crossed field."""
    return [(min(field.fields), max(field.fields)) for field in model.layout.crosses]


@torch.no_grad()
def network_contributions(
    model: DeepFM, table: EncodedTable, pairs: Pairs, background: int, seed: int
) -> NDArray[np.float64]:
    """Give the network's pair contribution by partial dependence over common background rows: (N, P).

    For row x and background row b it is D(x_f, x_g, b) − D(x_f, b) − D(x_g, b) + D(b), averaged over b, where D(z, b)
    is the network's output for row b with the named fields taken from x (Friedman & Popescu 2008, H statistic). It is
    computed once per distinct pair of values of the two fields, and of the first layer only what changes.
    """
    fields = network_fields_of(model, table)
    return probed_contributions(network_probe(model, table, fields, background, seed), table, fields, pairs)


@torch.no_grad()
def probed_contributions(probe: NetworkProbe, table: EncodedTable, fields: Tensor, pairs: Pairs) -> NDArray[np.float64]:
    """Give what `network_contributions` does for rows with `fields` (N, F, K) over a probe's background: (N, P)."""
    distinct = [distinct_fields(table, fields, number) for number in range(fields.shape[1])]
    alone = [probe.alone(number, values) for number, (values, _) in enumerate(distinct)]
    contributions = np.empty((len(table), len(pairs)))
    for column, (f, g) in enumerate(pairs):
        (of_f, place_f), (of_g, place_g) = distinct[f], distinct[g]
        cells, inverse = torch.unique(place_f * len(of_g) + place_g, return_inverse=True)
        a, b = cells // len(of_g), cells % len(of_g)
        pure = probe.pairs(f, g, of_f[a], of_g[b], (alone[f][a], alone[g][b]))
        contributions[:, column] = pure[inverse].numpy()
    return contributions


def distinct_fields(table: EncodedTable, embeddings: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Give a field's distinct embeddings (D, K) and which of them each row has (N,)."""
    field = table.layout.fields[number]
    slots = slice(field.first_slot, field.first_slot + field.slots)
    key = table.ids[:, slots].astype(np.float64)
    if table.weights is not None:
        key = np.concatenate([key, table.weights[:, slots]], 1)
    packed = np.ascontiguousarray(key).view(np.dtype((np.void, key.itemsize * key.shape[1]))).ravel()
    _, first, inverse = np.unique(packed, return_index=True, return_inverse=True)
    return embeddings[torch.from_numpy(first), number], torch.from_numpy(inverse.astype(np.int64))


def strength(contributions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give each pair's strength, the standard deviation of its pure contribution over rows in log-odds: (P,)."""
    return np.asarray(np.sqrt(np.mean(np.square(contributions), axis=0)))


def purified_first_order(
    model: DeepFM, table: EncodedTable, levels: Sequence[Levels]
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Give each field's first-order contribution less its mean, by row (N, F) and by level (a list of (L,)).

    The FM's main effects that sit in its pairs, ⟨e_f − m_f, Σ_{g≠f} m_g⟩, belong to the field and are added.
    """
    with torch.no_grad():
        weights, _, embeddings = model.look_up(Batch.from_table(table))
        effect = model._sum_slots(weights.unsqueeze(2)).squeeze(2).double()
        if model.spec.second_order and not model.spec.centred:
            means = embeddings.double().mean(0)
            effect = effect + ((embeddings.double() - means) * (means.sum(0) - means)).sum(2)
    rows = (effect - effect.mean(0)).numpy()
    by_level = [level.sums(rows[:, f]) / np.maximum(level.rows(), 1.0) for f, level in enumerate(levels)]
    return rows, by_level


def within_strength(model: DeepFM, table: EncodedTable) -> NDArray[np.float64]:
    """Give the strength of the pairs within each field, about their mean: (F,), NaN where a field has none."""
    result = np.full(len(table.layout.fields), np.nan)
    if model.spec.second_order and len(model.within_fields):
        with torch.no_grad():
            _, features, embeddings = model.look_up(Batch.from_table(table))
            within = model._within_terms(features, embeddings).double().numpy()
        result[model.within_fields.numpy()] = within.std(0)
    return result


def _columns(pairs: Pairs) -> tuple[Tensor, Tensor]:
    numbers = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)
    return numbers[:, 0], numbers[:, 1]
