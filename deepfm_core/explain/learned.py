"""What a model learned of each pair: the pure contributions of its FM pairs, its DNN and both (docs/interactions.md).

Start with `learned_pairs`. A pair's *contribution* to a row's logit is found for each part of the model, then
*purified*: its additive part is removed. In shapes: N rows, P pairs, F fields, K embedding size, L levels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product, repeat, zip_longest
from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits
from torch import Tensor

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.evidence.designs import Levels, field_levels
from deepfm_core.explain.probe import NetworkProbe, network_fields_of, network_probe
from deepfm_core.explain.purify import AdditiveFit
from deepfm_core.models.batch import Batch, Reading
from deepfm_core.models.cells import Cells
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.models.term import Pairs
from deepfm_core.models.terms import FMPairs, WithinPairs, terms_of

MOST_VALUES = 8_000_000
"""Contributions (rows × pairs) kept in memory, 64 MB of them; with many pairs, fewer rows are used."""

MOST_COUNTED = 1 << 22
"""Numbers of a table of levels and features that is summed as a whole; a larger one is sparse from the start."""

MOST_SUMS = 4
"""Pairs of a place among the levels and a slot up to which each is summed by itself: a product takes longer for few."""

SCREEN_ROWS = 128
"""Rows of a screen of all pairs in a network."""


@dataclass(frozen=True)
class LearnedPairs:
    """What a model learned of P pairs: standard deviations over rows of their pure contributions, in log-odds.

    Attributes:
        pairs: field numbers (a, b), a < b; all of them, or those that were asked for.
        fm: (P,) of the FM pairs, over N sampled rows; None if the model has none.
        dnn: (P,) of the DNN, over M of the rows because it costs more; None if the model has none.
        whole: (P,) of FM pairs, DNN and crossed fields together, over the M rows; over all N without a DNN.
        rows: (M,) which of the N rows these are, in ascending order.
        raw: (M, P) contributions of FM pairs, DNN and crossed fields together, before purification.
    """

    pairs: tuple[tuple[int, int], ...]
    fm: NDArray[np.float64] | None
    dnn: NDArray[np.float64] | None
    whole: NDArray[np.float64]
    rows: NDArray[np.int64]
    raw: NDArray[np.float64]


@torch.no_grad()
def learned_pairs(
    model: DeepFM,
    table: EncodedTable,
    *,
    network_rows: int | None = None,
    background: int = 64,
    seed: int = 0,
    pairs: Pairs | None = None,
) -> LearnedPairs:
    """Measure each pair's pure contribution over a sample of rows.

    A strength from M rows has a relative standard error of about √((κ − 1) / 4M), where κ is the kurtosis of the
    contributions: 2% for M = 2,000 and κ = 5. Cost: N · P for the FM pairs, M · P · background for the DNN. Memory: the
    M · P raw contributions, at most `MOST_VALUES`, and a few arrays of N.

    Args:
        model: trained.
        table: N training rows.
        network_rows: M, or None for all N; fewer if there are many pairs.
        background: rows over which the DNN's other fields are averaged.
        seed: of the M rows and the background.
        pairs: of field numbers, in ascending order; None for all.
    """
    pairs = tuple(combinations(range(len(table.layout.fields)), 2) if pairs is None else pairs)
    spec = model.eval().spec
    speaks = not model.network_is_silent
    rows = _sampled_rows(len(table), network_rows if speaks else None, len(pairs), seed)
    sample = table if len(rows) == len(table) else table.take(rows)
    levels, sample_levels = field_levels(table), field_levels(sample)
    fm_is_all = spec.second_order and not speaks and not has_own_pairs(model)
    raw = weight_contributions(model, sample, pairs)  # (M, P)
    fm, dnn, whole = np.zeros(len(pairs)), np.zeros(len(pairs)), np.zeros(len(pairs))
    of_fm = fm_columns(model, table, pairs) if spec.second_order else repeat(None)
    of_network = network_columns(model, sample, pairs, background, seed) if spec.deep else repeat(None)
    # Pair by pair, so that only one column of N contributions is in memory at a time.
    with threadpool_limits(1, user_api="blas"):
        for k, ((f, g), fm_part, network_part) in enumerate(zip(pairs, of_fm, of_network, strict=False)):
            fit = AdditiveFit([sample_levels[f], sample_levels[g]])
            if fm_part is not None:
                on_all = fit if sample is table else AdditiveFit([levels[f], levels[g]])
                fm[k] = _pure_strength(on_all, fm_part)
                raw[:, k] += fm_part[rows]
            if network_part is not None:
                dnn[k] = _pure_strength(fit, network_part)
                raw[:, k] += network_part
            whole[k] = fm[k] if fm_is_all else _pure_strength(fit, raw[:, k])
    return LearnedPairs(pairs, fm if spec.second_order else None, dnn if spec.deep else None, whole, rows, raw)


# Of a wide table only the pairs that stand out are measured.


def standing_out(
    model: DeepFM, table: EncodedTable, observed: pd.DataFrame | None, most: int, seed: int = 0
) -> list[tuple[int, int]]:
    """Choose the pairs of a wide table that are worth measuring: the strongest by the labels and by what was learned.

    Clear pairs, and those with weights or cells of their own, are always among them. The others are the best by the
    labels, by the FM's embeddings and by the networks, in turn.

    Args:
        model: trained.
        table: N training rows.
        observed: the frame of `evidence.ranking.observed_interactions`; None if there is none.
        most: how many are chosen, unless more are clear.
        seed: of the rows that `network_screen` draws.

    Returns:
        Pairs of field numbers, in ascending order.
    """
    names = table.layout.names
    place = {name: number for number, name in enumerate(names)}
    upper = np.triu_indices(len(names), 1)
    chosen = {pair for term in terms_of(model) for pair in term.own_pairs} | set(model.cells_of)
    orders: list[list[tuple[int, int]]] = []
    if observed is not None:
        known = observed[observed["strength"].notna()]
        ranked = [(place[a], place[b]) for a, b in zip(known["field_a"], known["field_b"], strict=True)]
        chosen |= {pair for pair, clear in zip(ranked, known["significant"], strict=True) if clear}
        orders.append(ranked)
    screens = [FMPairs(model).strengths(table)] if model.spec.second_order else []
    screens += [] if model.network_is_silent else [network_screen(model, table, seed)]
    for screen in screens:
        size = screen[upper]
        best = np.argsort(-size, kind="stable")[:most]
        orders.append([(int(upper[0][k]), int(upper[1][k])) for k in best if size[k] > 0])
    for pair in (pair for turn in zip_longest(*orders) for pair in turn):
        if len(chosen) >= most:
            break
        if pair is not None:
            chosen.add(pair)
    return sorted(chosen)


def network_screen(model: DeepFM, table: EncodedTable, seed: int) -> NDArray[np.float64]:
    """Say roughly how much each two fields interact in the networks: (F, F), symmetric.

    It is how much the part of a row's output that is linear in one field changes when the other field takes the value
    it has in another row, as a root mean square. A field's change is seen by all others at once, so it costs F passes
    and not F². `learned_pairs` is what measures a pair.
    """
    drawn = table.take(_sampled_rows(len(table), SCREEN_ROWS, 1, seed))
    fields, dense = network_fields_of(model, drawn), torch.from_numpy(drawn.dense)  # (N, F, K)
    away, others = fields - fields.mean(0), fields.roll(1, 0)

    def linear_parts(at: Tensor) -> Tensor:
        at = at.detach().requires_grad_()
        with torch.enable_grad():
            (slopes,) = torch.autograd.grad(model.eval().network_output(at, dense).sum(), at)
        return (slopes * away).sum(2)  # (N, F)

    before, changes = linear_parts(fields), fields.new_zeros(2 * [fields.shape[1]])
    for number in range(fields.shape[1]):
        exchanged = fields.clone()
        exchanged[:, number] = others[:, number]
        changes[number] = (linear_parts(exchanged) - before).square().mean(0)
    return np.asarray((changes + changes.T).sqrt().double().numpy())


def measured(pairs: pd.DataFrame, names: Sequence[str]) -> list[tuple[int, int]]:
    """Give the field numbers of those pairs of a frame `pairs` that were measured in the model, in ascending order."""
    known, place = pairs[pairs["learned"].notna()], {name: number for number, name in enumerate(names)}
    return sorted((place[a], place[b]) for a, b in zip(known["field_a"], known["field_b"], strict=True))


def _pure_strength(fit: AdditiveFit, contributions: NDArray[np.float64]) -> float:
    return float(strength(fit.residual(contributions[:, None]))[0])


def _sampled_rows(count: int, most: int | None, pairs: int, seed: int) -> NDArray[np.int64]:
    """Choose the M rows, in ascending order: at most `most`, and at most `MOST_VALUES` over all pairs."""
    rows = min(count, count if most is None else most, max(1, MOST_VALUES // max(pairs, 1)))
    if rows == count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(count)[:rows])


def fm_contributions(
    model: DeepFM, table: EncodedTable, pairs: Pairs, means: Tensor | None = None
) -> NDArray[np.float64]:
    """Return ⟨e_f − m_f, e_g − m_g⟩ of each row and pair: (N, P); m is `means` (F, K), or the mean over these rows.

    In a guided model it is weighted, and a pair's cells are added.

    Subtracting the means removes what a pair adds to its fields' main effects; for independent fields, nothing additive
    is left then.
    """
    return _stacked(fm_columns(model, table, pairs, means), len(table), len(pairs))


def fm_columns(
    model: DeepFM, table: EncodedTable, pairs: Pairs, means: Tensor | None = None
) -> Iterator[NDArray[np.float64]]:
    """Give what `fm_contributions` gives, (N,) a pair: that of embeddings and, in a guided model, of cells."""
    of_embeddings = FMPairs(model).of_pairs(table, pairs, means)
    if not Cells.of(model):
        return of_embeddings
    return map(np.add, of_embeddings, Cells(model).of_pairs(table, pairs))


def fm_strengths(model: DeepFM, table: EncodedTable, pairs: Pairs) -> NDArray[np.float64]:
    """Return the root mean square over rows of what `fm_columns` gives: (P,), measured together in float32."""
    a, b = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    strengths = FMPairs(model).strengths(table)[a, b]
    with_cells = model.cells_of
    own = [k for k, pair in enumerate(pairs) if pair in with_cells]  # few: an embedding's product and a cell, added up
    for k, column in zip(own, fm_columns(model, table, [pairs[k] for k in own]), strict=True):
        strengths[k] = strength(column[:, None])[0]
    return strengths


def _stacked(columns: Iterable[NDArray[np.float64]], rows: int, count: int) -> NDArray[np.float64]:
    stacked = np.empty((rows, count))
    for number, column in enumerate(columns):
        stacked[:, number] = column
    return stacked


def weight_contributions(model: DeepFM, table: EncodedTable, pairs: Pairs) -> NDArray[np.float64]:
    """Give what each row's own weights for a pair add to it, such as those of crossed fields: (N, P).

    Terms that compute a pair from the fields' embeddings, FM and network, are not in it.
    """
    contributions = np.zeros((len(table), len(pairs)))
    for term in terms_of(model):
        given = [(number, pair) for number, pair in enumerate(pairs) if pair in term.own_pairs]
        for (number, _), column in zip(given, term.of_pairs(table, [pair for _, pair in given]), strict=True):
            contributions[:, number] += column
    return contributions


def has_own_pairs(model: DeepFM) -> bool:
    """Say whether any pair has weights of its own."""
    return any(term.own_pairs for term in terms_of(model))


def network_contributions(
    model: DeepFM, table: EncodedTable, pairs: Pairs, background: int, seed: int
) -> NDArray[np.float64]:
    """Return the DNN's contribution to each pair, by partial dependence over common background rows: (N, P).

    For row x and background row b it is D(x_f, x_g, b) − D(x_f, b) − D(x_g, b) + D(b), averaged over b. D(z, b) is the
    DNN's output for row b with the named fields taken from x (Friedman & Popescu 2008, as in their H statistic). Each
    distinct pair of values is computed once, and in the first layer only what changes.
    """
    return _stacked(network_columns(model, table, pairs, background, seed), len(table), len(pairs))


def network_columns(
    model: DeepFM, table: EncodedTable, pairs: Pairs, background: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    """Yield the columns of `network_contributions`, (N,) per pair."""
    if model.network_is_silent:
        yield from (np.zeros(len(table)) for _ in pairs)
        return
    probe = network_probe(model, table, background, seed)
    yield from probed_columns(probe, table, network_fields_of(model, table), pairs)


def probed_contributions(probe: NetworkProbe, table: EncodedTable, fields: Tensor, pairs: Pairs) -> NDArray[np.float64]:
    """Return `network_contributions` for rows with `fields` (N, F, K), over a given probe's background: (N, P)."""
    return _stacked(probed_columns(probe, table, fields, pairs), len(table), len(pairs))


def probed_columns(
    probe: NetworkProbe, table: EncodedTable, fields: Tensor, pairs: Pairs
) -> Iterator[NDArray[np.float64]]:
    """Yield the columns of `probed_contributions`, (N,) per pair."""
    distinct = [distinct_fields(table, fields, number) for number in range(fields.shape[1])]
    with torch.no_grad():
        alone = [probe.alone(number, values) for number, (values, _) in enumerate(distinct)]
    for f, g in pairs:
        (of_f, place_f), (of_g, place_g) = distinct[f], distinct[g]  # (D, K) values, (N,) which of them
        cells, inverse = torch.unique(place_f * len(of_g) + place_g, return_inverse=True)
        a, b = cells // len(of_g), cells % len(of_g)  # each distinct pair of values once
        with torch.no_grad():
            pure = probe.pairs(f, g, of_f[a], of_g[b], (alone[f][a], alone[g][b]))
        yield pure[inverse].numpy()


def distinct_fields(table: EncodedTable, embeddings: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Return a field's D distinct embeddings (D, K), and which of them each row has (N,)."""
    field = table.layout.fields[number]
    slots = slice(field.first_slot, field.first_slot + field.slots)
    key = table.ids[:, slots].astype(np.float64)
    if (x := table.x(field)) is not None:
        key = np.concatenate([key, x], 1)
    # Rows with equal ids (and weights) have equal embeddings; as raw bytes, they compare in one step.
    packed = np.ascontiguousarray(key).view(np.dtype((np.void, key.itemsize * key.shape[1]))).ravel()
    _, first, inverse = np.unique(packed, return_index=True, return_inverse=True)
    return embeddings[torch.from_numpy(first), number], torch.from_numpy(inverse.astype(np.int64))


def strength(contributions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each pair's strength, the standard deviation over rows of its pure contribution in log-odds: (P,)."""
    # Pure contributions have mean 0, so the root mean square is the standard deviation.
    return np.asarray(np.sqrt(np.mean(np.square(contributions), axis=0)))


def purified_first_order(
    model: DeepFM, table: EncodedTable, levels: Sequence[Levels]
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Return each field's first-order contribution minus its mean, by row (N, F) and by level (a list of (L,)).

    The FM pairs hold main effects too, ⟨e_f − m_f, Σ_{g≠f} m_g⟩. They belong to field f and are added to it.
    """
    with torch.no_grad():
        weights, _, embeddings = model.look_up(Batch.from_table(table))
        effect = model.sum_slots(weights.unsqueeze(2)).squeeze(2).double()
        if model.spec.second_order and not model.spec.centred:
            means = embeddings.double().mean(0)  # (F, K)
            effect = effect + ((embeddings.double() - means) * (means.sum(0) - means)).sum(2)
    rows = (effect - effect.mean(0)).numpy()
    by_level = [level.sums(rows[:, f]) / np.maximum(level.rows(), 1.0) for f, level in enumerate(levels)]
    return rows, by_level


def within_strength(model: DeepFM, table: EncodedTable) -> NDArray[np.float64]:
    """Return the standard deviation of the pairs within each field: (F,), NaN if a field has none."""
    result = np.full(len(table.layout.fields), np.nan)
    if model.spec.second_order and len(model.within_fields):
        with torch.no_grad():
            within = WithinPairs(model).by_field(Reading(model, Batch.from_table(table))).double().numpy()
        result[model.within_fields.numpy()] = within.std(0)
    return result


# What a model learned of each pair, level by level: the cells of the drill-down.
#
# Start with `level_contributions`. In shapes: N rows, M slots of a row, F fields, K embedding size, L levels of a
# field, A × B levels of a pair.


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
    shares = [level_shares(table, number, codes) for number, codes in enumerate(members)]
    fm = _fm_levels(model, table, shares, pairs) if model.spec.second_order else repeat(None)
    network = _network_levels(model, table, shares, pairs, background, seed) if model.spec.deep else repeat(None)
    weights = _weight_levels(model, table, members, pairs)
    for parts in zip(fm, network, weights, strict=False):
        yield LevelContributions(*parts)


def _fm_levels(
    model: DeepFM, table: EncodedTable, shares: Sequence[csr_array], pairs: Pairs
) -> Iterator[NDArray[np.float64]]:
    means = _mean_embeddings(model, table, shares, model.fm_columns)
    centred = [values[:-1] - values[-1] for values in means]
    weights = model.pair_weights if model.spec.has_guide else None
    cells = _cell_levels(model, table, shares, pairs)
    for (f, g), of_cells in zip(pairs, cells, strict=True):
        effect = centred[f] @ centred[g].T  # (A, K) x (K, B) -> (A, B)
        effect = effect if weights is None else effect * float(weights[f, g])
        yield effect if of_cells is None else effect + of_cells


def _cell_levels(
    model: DeepFM, table: EncodedTable, shares: Sequence[csr_array], pairs: Pairs
) -> Iterator[NDArray[np.float64] | None]:
    """Give, where a guided model has cells for a pair, what they add at each two levels."""
    if not Cells.of(model):
        yield from repeat(None, len(pairs))
        return
    cells = Cells(model)
    for a, b in pairs:
        found = cells.table_of((a, b))
        yield None if found is None else (shares[a][:-1] @ found @ shares[b][:-1].T).toarray()


def level_shares(table: EncodedTable, number: int, members: Codes) -> csr_array:
    """Give the mean x of a field's features over the rows at each of L levels, and over all: (L + 1, features), sparse.

    Args:
        table: N rows.
        number: of the field.
        members: (N, M) the levels of each row, numbered from 0; unused places are -1.
    """
    field, count = table.layout.fields[number], int(members.max(initial=-1)) + 1
    x, shape = table.x(field), (count + 1, field.size)
    ids = table.ids[:, field.first_slot : field.first_slot + field.slots] - field.offset
    places = [*members.T, np.full(len(ids), count, members.dtype)]
    if len(places) * field.slots > MOST_SUMS:
        whole = np.column_stack(places)
        levels = _sparse(np.maximum(whole, 0), (whole >= 0).astype(np.float64), shape[0])
        sums = csr_array(levels.T @ _sparse(ids, np.ones(ids.shape) if x is None else x.astype(np.float64), shape[1]))
        sums.eliminate_zeros()  # of unused places
    else:
        found = None
        for place, slot in product(places, range(field.slots)):
            at = np.flatnonzero(place >= 0) if place.min(initial=0) < 0 else slice(None)
            part = _sums_at(place[at], ids[at, slot], None if x is None else x[at, slot], shape)
            found = part if found is None else found + part
        sums = csr_array(found)
    rows = sum(np.bincount(place[place >= 0], minlength=count + 1) for place in places)
    return csr_array(sums.multiply(1.0 / np.maximum(rows, 1)[:, None]))


def _sparse(columns: Codes, values: NDArray[np.float64], size: int) -> csr_array:
    """Give (N, size) columns from the (N, s) entries of each row."""
    rows, entries = columns.shape
    starts = np.arange(0, rows * entries + 1, entries)
    return csr_array((values.ravel(), columns.ravel(), starts), shape=(rows, size))


def _sums_at(
    level: Codes, feature: Codes, x: NDArray[np.float32] | None, shape: tuple[int, int]
) -> csr_array | NDArray[np.float64]:
    """Sum x, 1 where it is None, by level and feature; sparse if the table is large."""
    if shape[0] * shape[1] > MOST_COUNTED:
        return csr_array((np.ones(len(level)) if x is None else x.astype(np.float64), (level, feature)), shape=shape)
    cell = level.astype(np.int64) * shape[1] + feature
    return np.bincount(cell, x, shape[0] * shape[1]).reshape(shape).astype(np.float64)


def _mean_embeddings(
    model: DeepFM, table: EncodedTable, shares: Sequence[csr_array], columns: slice
) -> list[NDArray[np.float64]]:
    """Average a field's embedding, some `columns` of the table, over the rows of each line of its `shares`: (·, K)."""
    means = []
    for field, share in zip(table.layout.fields, shares, strict=True):
        held, places = np.unique(share.indices, return_inverse=True)
        rows = model.table[torch.from_numpy(held.astype(np.int64) + field.offset), columns].double().numpy()
        means.append(csr_array((share.data, places, share.indptr), shape=(share.shape[0], len(held))) @ rows)
    return means


def _network_levels(
    model: DeepFM,
    table: EncodedTable,
    shares: Sequence[csr_array],
    pairs: Pairs,
    background: int,
    seed: int,
) -> Iterator[NDArray[np.float64]]:
    if model.network_is_silent:
        sizes = [share.shape[0] - 1 for share in shares]
        yield from (np.zeros((sizes[f], sizes[g])) for f, g in pairs)
        return
    means = _mean_embeddings(model, table, shares, model.deep_columns)
    of_level = [torch.from_numpy(values[:-1]).float() for values in means]
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
