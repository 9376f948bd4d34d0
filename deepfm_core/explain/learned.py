"""What a model learned of each pair: the pure contributions of its FM, its network and both (docs/interactions.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfm_core.data.encoded import EncodedTable
from deepfm_core.explain.levels import Levels, field_levels
from deepfm_core.explain.purify import purify
from deepfm_core.models.batch import Batch
from deepfm_core.models.deepfm import DeepFM

Pairs = Sequence[tuple[int, int]]
BLOCK = 65_536
NETWORK_BLOCK = 4_096


@dataclass(frozen=True)
class LearnedPairs:
    """Pure contributions of P pairs over sampled rows, in log-odds; None where the model lacks the part.

    Attributes:
        pairs: field numbers (a, b), a < b.
        fm: (N, P).
        dnn: (M, P), over the first M of a shuffle of the N rows, since the network costs more.
        whole: (M, P), of FM and network together; (N, P) for a model without network.
    """

    pairs: tuple[tuple[int, int], ...]
    fm: NDArray[np.float64] | None
    dnn: NDArray[np.float64] | None
    whole: NDArray[np.float64]


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
    fm = fm_contributions(model, table, pairs) if model.spec.second_order else np.zeros((len(table), len(pairs)))
    pure = purify(fm, pairs, field_levels(table)) if model.spec.second_order else None
    if not model.spec.deep:
        return LearnedPairs(pairs, pure, None, fm if pure is None else pure)
    rows = np.random.default_rng(seed).permutation(len(table))[:network_rows]
    part = table.take(rows)
    levels = field_levels(part)
    dnn = network_contributions(model, part, pairs, background, seed)
    return LearnedPairs(pairs, pure, purify(dnn, pairs, levels), purify(fm[rows] + dnn, pairs, levels))


@torch.no_grad()
def embeddings_of(model: DeepFM, table: EncodedTable) -> Tensor:
    """Give e of each row and field: (N, F, K)."""
    return torch.cat([model.look_up(batch)[2] for batch in Batch.from_table(table).split(BLOCK)])


def fm_contributions(model: DeepFM, table: EncodedTable, pairs: Pairs) -> NDArray[np.float64]:
    """Give ⟨e_f − m_f, e_g − m_g⟩ of each row and pair, m being the mean over the given rows: (N, P)."""
    embeddings = embeddings_of(model, table)
    centred = (embeddings - embeddings.mean(0)).double()
    a, b = _columns(pairs)
    return np.concatenate(
        [
            (part[:, a] * part[:, b]).sum(2).numpy()
            for part in torch.split(centred, max(1, 1_000_000 // max(1, len(pairs))))
        ]
    )


@torch.no_grad()
def network_contributions(
    model: DeepFM, table: EncodedTable, pairs: Pairs, background: int, seed: int
) -> NDArray[np.float64]:
    """Give the network's pair contribution by partial dependence over common background rows: (N, P).

    For row x and background row b it is D(x_f, x_g, b) − D(x_f, b) − D(x_g, b) + D(b), averaged over b, where D(z, b)
    is the network's output for row b with the named fields taken from x (Friedman & Popescu 2008, H statistic). The
    first layer is additive over fields, so only the rest of the network is evaluated, once per distinct pair of rows of
    the two fields.
    """
    embeddings = embeddings_of(model, table)
    probe = NetworkProbe(model, table, embeddings, background, seed)
    distinct = [_distinct(table, embeddings, number) for number in range(embeddings.shape[1])]
    alone = [probe.alone(number, values) for number, (values, _) in enumerate(distinct)]
    contributions = np.empty((len(table), len(pairs)))
    for column, (f, g) in enumerate(pairs):
        (of_f, place_f), (of_g, place_g) = distinct[f], distinct[g]
        cells, inverse = torch.unique(place_f * len(of_g) + place_g, return_inverse=True)
        a, b = cells // len(of_g), cells % len(of_g)
        pure = probe.pairs(f, g, of_f[a], of_g[b], (alone[f][a], alone[g][b]))
        contributions[:, column] = pure[inverse].numpy()
    return contributions


def _distinct(table: EncodedTable, embeddings: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Give a field's distinct embeddings (D, K) and which of them each row has (N,)."""
    field = table.layout.fields[number]
    slots = slice(field.first_slot, field.first_slot + field.slots)
    key = table.ids[:, slots].astype(np.float64)
    if table.weights is not None:
        key = np.concatenate([key, table.weights[:, slots]], 1)
    packed = np.ascontiguousarray(key).view(np.dtype((np.void, key.itemsize * key.shape[1]))).ravel()
    _, first, inverse = np.unique(packed, return_index=True, return_inverse=True)
    return embeddings[torch.from_numpy(first), number], torch.from_numpy(inverse.astype(np.int64))


class NetworkProbe:
    """The network with one or two fields exchanged, over common background rows."""

    def __init__(self, model: DeepFM, table: EncodedTable, embeddings: Tensor, background: int, seed: int) -> None:
        """Prepare the hidden layer of the background rows.

        Args:
            model: with a network.
            table: N rows to draw the background from.
            embeddings: (N, F, K), theirs.
            background: how many rows to draw.
            seed: of the draw.
        """
        assert model.network is not None
        linear = model.network.stack[0]
        assert isinstance(linear, torch.nn.Linear)
        fields, k = embeddings.shape[1:]
        self._rest = model.network.stack[1:]
        self._weight = linear.weight[:, : fields * k].reshape(-1, fields, k).transpose(0, 1)  # (F, H, K)
        rows = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))[:background]
        dense = torch.from_numpy(table.dense)[rows]
        self._at = torch.einsum("bfk,fhk->fbh", embeddings[rows], self._weight)  # (F, B, H)
        self._base = self._at.sum(0) + dense @ linear.weight[:, fields * k :].T + linear.bias  # (B, H)
        self._constant = self._finish(self._base.unsqueeze(0)).mean()

    def alone(self, f: int, embeddings: Tensor) -> Tensor:
        """Give the mean output with field f at each of (L, K) embeddings: (L,)."""
        return self._blocks(self._base - self._at[f], embeddings @ self._weight[f].T)

    def pairs(self, f: int, g: int, of_f: Tensor, of_g: Tensor, alone: tuple[Tensor, Tensor]) -> Tensor:
        """Give the pair's contribution with fields f and g at each of (C, K) embeddings: (C,).

        `alone` holds what `alone` gave for each of these embeddings, (C,) each.
        """
        shift = of_f @ self._weight[f].T + of_g @ self._weight[g].T
        both = self._blocks(self._base - self._at[f] - self._at[g], shift)
        return both - alone[0] - alone[1] + self._constant

    def _blocks(self, base: Tensor, shift: Tensor) -> Tensor:
        """Average the output over base (B, H) for each shift of (C, H) added to it: (C,)."""
        size = max(1, NETWORK_BLOCK // len(base))
        return torch.cat([self._finish(base.unsqueeze(0) + part.unsqueeze(1)) for part in torch.split(shift, size)])

    def _finish(self, hidden: Tensor) -> Tensor:
        output: Tensor = self._rest(hidden.flatten(0, 1)).reshape(hidden.shape[:2])
        return output.double().mean(1)


@torch.no_grad()
def level_contributions(
    model: DeepFM, table: EncodedTable, members: Sequence[NDArray[np.int64]], pairs: Pairs, background: int, seed: int
) -> Iterator[tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]]:
    """Yield each pair's contribution level by level, of the FM and of the network: (A, B) each, not yet purified.

    A level counts with the mean embedding of its rows, which for one value of a categorical field is its embedding.

    Args:
        model: trained.
        table: N rows.
        members: for each field (N, M), the levels each row stands at, numbered from 0; -1 fills up.
        pairs: of field numbers.
        background: rows over which the network's other fields are averaged.
        seed: picks them.
    """
    embeddings = embeddings_of(model, table)
    of_level = [_level_means(codes, embeddings[:, number]) for number, codes in enumerate(members)]
    means = embeddings.mean(0)
    probe = NetworkProbe(model, table, embeddings, background, seed) if model.spec.deep else None
    alone = [probe.alone(number, values) for number, values in enumerate(of_level)] if probe else []
    for f, g in pairs:
        a, b = torch.cartesian_prod(torch.arange(len(of_level[f])), torch.arange(len(of_level[g]))).reshape(-1, 2).T
        shape = len(of_level[f]), len(of_level[g])
        fm = ((of_level[f] - means[f]) @ (of_level[g] - means[g]).T).double().numpy()
        network = None
        if probe:
            both = probe.pairs(f, g, of_level[f][a], of_level[g][b], (alone[f][a], alone[g][b]))
            network = both.reshape(shape).numpy()
        yield (fm if model.spec.second_order else None), network


def _level_means(codes: NDArray[np.int64], embeddings: Tensor) -> Tensor:
    """Average embeddings (N, K) over the rows at each level: (L, K)."""
    rows, columns = np.nonzero(codes >= 0)
    levels = torch.from_numpy(codes[rows, columns])
    count = int(codes.max(initial=-1)) + 1
    sums = embeddings.new_zeros(count, embeddings.shape[1]).index_add(0, levels, embeddings[torch.from_numpy(rows)])
    return sums / torch.bincount(levels, minlength=count).clamp(min=1).unsqueeze(1)


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
