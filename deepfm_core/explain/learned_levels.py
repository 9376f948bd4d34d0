"""What a model learned of each pair, level by level."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfm_core.data.encoded import EncodedTable
from deepfm_core.explain.learned import Pairs, crossed_contributions, crossed_pairs, embeddings_of
from deepfm_core.explain.probe import network_fields_of, network_probe
from deepfm_core.models.deepfm import DeepFM


class LevelContributions(NamedTuple):
    """A pair's contribution level by level, (A, B) each, not yet purified; None where the model lacks the part."""

    fm: NDArray[np.float64] | None
    dnn: NDArray[np.float64] | None
    crossed: NDArray[np.float64] | None


@torch.no_grad()
def level_contributions(
    model: DeepFM, table: EncodedTable, members: Sequence[NDArray[np.int64]], pairs: Pairs, background: int, seed: int
) -> Iterator[LevelContributions]:
    """Yield each pair's contribution level by level.

    A level counts with the mean embedding of its rows, which for one value of a categorical field is its embedding.

    Args:
        model: trained.
        table: N rows.
        members: for each field (N, M), the levels each row stands at, numbered from 0; -1 fills up.
        pairs: of field numbers.
        background: rows over which the network's other fields are averaged.
        seed: picks them.
    """
    fm = _fm_levels(model, table, members, pairs) if model.spec.second_order else repeat(None)
    network = _network_levels(model, table, members, pairs, background, seed) if model.spec.deep else repeat(None)
    crossed = _crossed_levels(model, table, members, pairs)
    for parts in zip(fm, network, crossed, strict=False):
        yield LevelContributions(*parts)


def _fm_levels(
    model: DeepFM, table: EncodedTable, members: Sequence[NDArray[np.int64]], pairs: Pairs
) -> Iterator[NDArray[np.float64]]:
    embeddings = embeddings_of(model, table)
    means = embeddings.mean(0)
    of_level = [_level_means(codes, embeddings[:, f]) - means[f] for f, codes in enumerate(members)]
    for f, g in pairs:
        yield (of_level[f] @ of_level[g].T).double().numpy()


def _network_levels(
    model: DeepFM, table: EncodedTable, members: Sequence[NDArray[np.int64]], pairs: Pairs, background: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    fields = network_fields_of(model, table)
    of_level = [_level_means(codes, fields[:, f]) for f, codes in enumerate(members)]
    probe = network_probe(model, table, fields, background, seed)
    alone = [probe.alone(f, values) for f, values in enumerate(of_level)]
    for f, g in pairs:
        shape = len(of_level[f]), len(of_level[g])
        a, b = torch.cartesian_prod(torch.arange(shape[0]), torch.arange(shape[1])).reshape(-1, 2).T
        both = probe.pairs(f, g, of_level[f][a], of_level[g][b], (alone[f][a], alone[g][b]))
        yield both.reshape(shape).numpy()


def _crossed_levels(
    model: DeepFM, table: EncodedTable, members: Sequence[NDArray[np.int64]], pairs: Pairs
) -> Iterator[NDArray[np.float64] | None]:
    """Give, where a pair is crossed, the mean weight of each cell's rows; a crossed field stands at one level a row."""
    crossed = crossed_pairs(model) if model.crossed_weights is not None else []
    for f, g in pairs:
        if (f, g) not in crossed:
            yield None
            continue
        shape = int(members[f].max()) + 1, int(members[g].max()) + 1
        cells = members[f][:, 0] * shape[1] + members[g][:, 0]
        weights = crossed_contributions(model, table, [(f, g)])[:, 0]
        rows = np.maximum(np.bincount(cells, minlength=shape[0] * shape[1]), 1)
        yield (np.bincount(cells, weights, shape[0] * shape[1]) / rows).reshape(shape)


def _level_means(codes: NDArray[np.int64], embeddings: Tensor) -> Tensor:
    """Average embeddings (N, K) over the rows at each level: (L, K)."""
    rows, columns = np.nonzero(codes >= 0)
    levels = torch.from_numpy(codes[rows, columns])
    count = int(codes.max(initial=-1)) + 1
    sums = embeddings.new_zeros(count, embeddings.shape[1]).index_add(0, levels, embeddings[torch.from_numpy(rows)])
    return sums / torch.bincount(levels, minlength=count).clamp(min=1).unsqueeze(1)
