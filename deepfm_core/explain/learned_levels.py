"""What a model learned of each pair, level by level: the cells of the drill-down.

Start with `level_contributions`. In shapes: N rows, M slots of a row, F fields, K embedding size, L levels of a field,
A × B levels of a pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.explain.learned import weight_contributions
from deepfm_core.explain.probe import BLOCK, network_probe
from deepfm_core.models.batch import Batch
from deepfm_core.models.cells import Cells
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.models.term import Pairs
from deepfm_core.models.terms import terms_of

Codes: TypeAlias = NDArray[np.signedinteger]


class LevelContributions(NamedTuple):
    """A pair's contribution by level pair, (A, B) each, before purification; None if the model lacks the part."""

    fm: NDArray[np.float64] | None
    dnn: NDArray[np.float64] | None
    weights: NDArray[np.float64] | None


@torch.no_grad()
def level_contributions(
    model: DeepFM,
    table: EncodedTable,
    members: Sequence[Codes],
    pairs: Pairs,
    background: int,
    seed: int,
) -> Iterator[LevelContributions]:
    """Yield the contribution of each pair, by level.

    A level is represented by the mean embedding of its rows. For a categorical field that is the value's own embedding.

    Args:
        model: trained.
        table: N rows.
        members: for each field (N, M), the levels of each row, numbered from 0; unused slots are -1.
        pairs: of field numbers.
        background: rows over which the DNN's other fields are averaged.
        seed: of these rows.
    """
    fm = _fm_levels(model, table, members, pairs) if model.spec.second_order else repeat(None)
    network = _network_levels(model, table, members, pairs, background, seed) if model.spec.deep else repeat(None)
    weights = _weight_levels(model, table, members, pairs)
    for parts in zip(fm, network, weights, strict=False):
        yield LevelContributions(*parts)


def _fm_levels(
    model: DeepFM, table: EncodedTable, members: Sequence[Codes], pairs: Pairs
) -> Iterator[NDArray[np.float64]]:
    of_level, means = _level_means(lambda batch: model.look_up(batch)[2], table, members)
    centred = [values - mean for values, mean in zip(of_level, means, strict=True)]
    weights = model.pair_weights if model.spec.has_guide else None
    cells = _cell_levels(model, table, members, pairs)
    for (f, g), of_cells in zip(pairs, cells, strict=True):
        product = (centred[f] @ centred[g].T).double()  # (A, K) x (K, B) -> (A, B)
        product = product if weights is None else product * weights[f, g]
        yield product.numpy() if of_cells is None else product.numpy() + of_cells


def _cell_levels(
    model: DeepFM, table: EncodedTable, members: Sequence[Codes], pairs: Pairs
) -> Iterator[NDArray[np.float64] | None]:
    """Give, where a guided model has cells for a pair, what they add at each two levels."""
    if not Cells.of(model):
        yield from repeat(None, len(pairs))
        return
    cells = Cells(model)
    shares = [level_shares(table, number, members[number]) for number in range(len(table.layout.fields))]
    for pair in pairs:
        found = cells.table_of(pair)
        yield None if found is None else (shares[pair[0]] @ found @ shares[pair[1]].T).toarray()


def level_shares(table: EncodedTable, number: int, members: Codes) -> csr_array:
    """Give the mean x of a field's features over the rows at each of its levels: (L, features), sparse."""
    field = table.layout.fields[number]
    x = table.x(field)
    ids = table.ids[:, field.first_slot : field.first_slot + field.slots] - field.offset
    rows, places = np.nonzero(members >= 0)
    levels = members[rows, places].astype(np.int64)
    shape = int(members.max(initial=-1)) + 1, field.size
    share = 1.0 / np.maximum(np.bincount(levels, minlength=shape[0]), 1)[levels]
    values = [share if x is None else share * x[rows, slot] for slot in range(field.slots)]
    columns = [ids[rows, slot] for slot in range(field.slots)]
    at = np.tile(levels, field.slots), np.concatenate(columns)
    return csr_array((np.concatenate(values), at), shape=shape)


def _network_levels(
    model: DeepFM,
    table: EncodedTable,
    members: Sequence[Codes],
    pairs: Pairs,
    background: int,
    seed: int,
) -> Iterator[NDArray[np.float64]]:
    if model.network_is_silent:
        sizes = [int(codes.max(initial=-1)) + 1 for codes in members]
        yield from (np.zeros((sizes[f], sizes[g])) for f, g in pairs)
        return
    of_level, _ = _level_means(model.network_fields, table, members)
    probe = network_probe(model, table, background, seed)
    alone = [probe.alone(f, values) for f, values in enumerate(of_level)]
    for f, g in pairs:
        shape = len(of_level[f]), len(of_level[g])
        a, b = torch.cartesian_prod(torch.arange(shape[0]), torch.arange(shape[1])).reshape(-1, 2).T
        both = probe.pairs(f, g, of_level[f][a], of_level[g][b], (alone[f][a], alone[g][b]))
        yield both.reshape(shape).numpy()


def _weight_levels(
    model: DeepFM, table: EncodedTable, members: Sequence[Codes], pairs: Pairs
) -> Iterator[NDArray[np.float64] | None]:
    """Give, where a pair has weights of its own, the mean weight of each cell's rows; its fields have a level a row."""
    own = {pair for term in terms_of(model) for pair in term.own_pairs}
    for f, g in pairs:
        if (f, g) not in own:
            yield None
            continue
        shape = int(members[f].max()) + 1, int(members[g].max()) + 1
        cells = members[f][:, 0] * shape[1] + members[g][:, 0]
        weights = weight_contributions(model, table, [(f, g)])[:, 0]
        rows = np.maximum(np.bincount(cells, minlength=shape[0] * shape[1]), 1)
        yield (np.bincount(cells, weights, shape[0] * shape[1]) / rows).reshape(shape)


def _level_means(
    read: Callable[[Batch], Tensor], table: EncodedTable, members: Sequence[Codes]
) -> tuple[list[Tensor], Tensor]:
    """Average what `read` returns of a batch, (B, F, K), over the rows at each level, a block of rows at a time.

    Returns:
        For each field (L, K), and over all rows (F, K).
    """
    counts = [int(codes.max(initial=-1)) + 1 for codes in members]
    sums: list[Tensor] = []
    for number, batch in enumerate(Batch.held(table).split(BLOCK)):
        fields = read(batch).double()
        sums = sums or [fields.new_zeros(count + 1, fields.shape[2]) for count in counts]  # last line: all rows
        for f, codes in enumerate(members):
            part = codes[number * BLOCK : (number + 1) * BLOCK]
            rows, columns = np.nonzero(part >= 0)
            levels = torch.from_numpy(part[rows, columns].astype(np.int64))
            sums[f][:-1].index_add_(0, levels, fields[torch.from_numpy(rows), f])
            sums[f][-1] += fields[:, f].sum(0)
    means, overall = [], []
    for codes, count, total in zip(members, counts, sums, strict=True):
        rows_at = torch.from_numpy(np.bincount(codes[codes >= 0], minlength=count)).clamp(min=1)
        means.append((total[:-1] / rows_at.unsqueeze(1)).float())
        overall.append((total[-1] / len(table)).float())
    return means, torch.stack(overall)
