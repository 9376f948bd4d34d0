"""Where a row's logit comes from: its purified ledger, and the fields that the networks' part of it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import comb

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfm_core.encoding.encoded_table import EncodedTable, together
from deepfm_core.evidence.levels import field_levels
from deepfm_core.explain.frames import repeated
from deepfm_core.explain.learned import (
    LearnedPairs,
    distinct_fields,
    fm_contributions,
    probed_contributions,
    weight_contributions,
)
from deepfm_core.explain.probe import NetworkProbe, network_fields_of, network_probe
from deepfm_core.explain.purify import additive_parts
from deepfm_core.explain.row_terms import OTHER_PAIRS, REST
from deepfm_core.models.batch import Batch, Reading
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.models.terms import WithinPairs, gives_pairs
from deepfm_core.training.fit import predict_logits

# The purified ledger of a row: mean logit, main effects, pairs, higher order (docs/interactions.md).
#
# Start with `purified_terms`. The split of a logit into first-order, second-order and DNN part is not unique:
# constants and main effects move freely between the parts during training. The functional-ANOVA decomposition of the
# whole logit is unique. It takes out of every pair what belongs to one field alone, under the training rows' own
# distribution (Hooker 2007; Lengerich et al. 2020). In shapes: N rows, M sampled training rows, F fields, D dense
# fields, P pairs.


Values = NDArray[np.float64]

MAIN_BACKGROUND = 4
"""Background rows for single fields, in multiples of those for pairs: a field costs far less than a pair."""


@dataclass(frozen=True)
class PurifiedTerms:
    """The purified addends of N rows' logits, in log-odds; they sum to the logit.

    Attributes:
        base: the mean logit over the sampled training rows.
        main: (N, F + D), a column per embedded field, then per dense field.
        pairs: (a, b) of each pair; (a, a) for the pairs within a multi-valued field.
        pair: (N, P).
        higher: (N,), the effect of three or more fields together; None for a model without a DNN, which has none. If
            some pairs are left out, they are in it, and every model has it.
        rest: the kind of addend that `higher` is.
    """

    base: float
    main: Values
    pairs: tuple[tuple[int, int], ...]
    pair: Values
    higher: Values | None
    rest: str = "higher-order"


def purified_terms(
    model: DeepFM,
    sample: EncodedTable,
    learned: LearnedPairs,
    table: EncodedTable,
    *,
    background: int = 32,
    seed: int = 0,
) -> PurifiedTerms:
    """Split the logit of each row of a table into base, main effects, pairs and higher order.

    The strength of a pair in `learned` is the standard deviation of its part over training rows. The additive parts
    that are removed there are removed here too, and go to the two fields. A field's main effect is the sum of

    - its first-order term,
    - the products of its embedding with the mean embeddings of the other fields,
    - the DNN's partial dependence on it,
    - the additive parts of its pairs,

    each minus its mean over training rows. Higher order is the rest. Pairs that `learned` leaves out are in
    the rest, with their additive parts.

    Cost: the DNN on N · P · background rows at most, fewer if values repeat; 12 fields and 2,000 rows 1 s.

    Args:
        model: trained.
        sample: training rows.
        learned: `learned_pairs` of the model and that sample.
        table: N rows.
        background: training rows over which the DNN's other fields are averaged.
        seed: of these rows.
    """
    model.eval()
    pairs = learned.pairs if gives_pairs(model) else ()
    means, learned_sample = model.embeddings_of(sample).mean(0), sample.take(learned.rows)  # (F, K)
    main, within = _first_and_second_order(model, sample, table, means)
    at_rows = weight_contributions(model, table, pairs)  # (N, P)
    if model.spec.second_order:
        at_rows += fm_contributions(model, table, pairs, means)
    if model.spec.deep:
        fields, probe = network_fields_of(model, table), network_probe(model, learned_sample, background, seed)
        at_rows += probed_contributions(probe, table, fields, pairs)
        wide = network_probe(model, learned_sample, MAIN_BACKGROUND * background, seed)
        main += _partial_dependence(wide, table, fields)
    # Fit the additive parts on the training rows, and read them off at the table's rows.
    levels = field_levels(together([learned_sample, table]))
    parts = additive_parts(learned.raw[:, : len(pairs)], pairs, levels)
    pure = at_rows - parts.of_a - parts.of_b - parts.constant  # (N, P)
    for column, (a, b) in enumerate(pairs):
        main[:, a] += parts.of_a[:, column]
        main[:, b] += parts.of_b[:, column]
    own = tuple((int(f), int(f)) for f in model.within_fields) if model.spec.second_order else ()
    if own:
        levels = field_levels(together([sample, table]))
        parts = additive_parts(within[: len(sample)], own, levels)
        pure = np.concatenate([pure, within[len(sample) :] - parts.of_a - parts.constant], 1)
        main[:, [f for f, _ in own]] += parts.of_a
    # The rest makes the addends sum to the logit exactly. Without a DNN it is only the rounding of float32,
    # unless pairs are left out.
    base = float(predict_logits(model, sample).mean())
    rest = predict_logits(model, table) - base - main.sum(1) - pure.sum(1)
    whole, deep = not gives_pairs(model) or len(pairs) == comb(len(table.layout.fields), 2), model.spec.deep
    kind = "higher-order" if whole else REST if deep else OTHER_PAIRS
    return PurifiedTerms(base, main, (*pairs, *own), pure, rest if deep or not whole else None, kind)


@torch.no_grad()
def _first_and_second_order(
    model: DeepFM, sample: EncodedTable, table: EncodedTable, means: Tensor
) -> tuple[Values, Values]:
    """Return each field's main effect without the DNN, minus its mean over the sample, and the pairs within fields.

    The FM pairs are ⟨e_f − μ_f, e_g − μ_g⟩, where μ is zero or the model's own centre. Around the means m, the part
    that is linear in field f alone is ⟨e_f − m_f, m_g − μ_g⟩; the part of field g is its mirror image.

    Returns:
        (N, F + D) at the table's rows, and (M + N, fields with pairs within) at the sample's and the table's.
    """
    fields = len(table.layout.fields)
    read = Reading(model, Batch.from_table(together([sample, table])))
    weights, embeddings = read.weights, read.embeddings
    own = torch.zeros(len(weights), fields + len(table.layout.dense), dtype=torch.float64)
    if model.spec.first_order:
        own[:, :fields] = model.sum_slots(weights.unsqueeze(2)).squeeze(2).double()
        own[:, fields:] = torch.from_numpy(np.concatenate([sample.dense, table.dense])).double() * model.dense_weights
    if model.spec.second_order:
        offset = (means - model.field_means if model.spec.centred else means).double()
        own[:, :fields] += (embeddings.double() * (offset.sum(0) - offset)).sum(2)
    at_rows = own[len(sample) :] - own[: len(sample)].mean(0)
    return at_rows.numpy(), WithinPairs(model).by_field(read).double().numpy()


@torch.no_grad()
def _partial_dependence(probe: NetworkProbe, table: EncodedTable, fields: Tensor) -> Values:
    """Return the DNN's partial dependence on each field minus its mean output: (N, F + D)."""
    columns = []
    for number in range(len(table.layout.fields)):
        values, place = distinct_fields(table, fields, number)
        columns.append(probe.alone(number, values)[place])
    for number in range(len(table.layout.dense)):
        values, place = torch.unique(torch.from_numpy(table.dense[:, number]), return_inverse=True)
        columns.append(probe.alone_dense(number, values)[place])
    return np.asarray((torch.stack(columns, 1) - probe.constant).numpy())


def purified_terms_frame(terms: PurifiedTerms, table: EncodedTable, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Make the `purified_terms` frame: one line per addend of each row's logit."""
    names, dense = table.layout.names, table.layout.dense
    kinds: list[tuple[str, str | None, str | None]] = [("base", None, None)]
    kinds += [("main", name, None) for name in (*names, *dense)]
    kinds += [("pair", names[a], names[b]) for a, b in terms.pairs]
    blocks = [np.full((len(rows), 1), terms.base), terms.main, terms.pair]
    if terms.higher is not None:
        kinds.append((terms.rest, None, None))
        blocks.append(terms.higher[:, None])
    return pd.DataFrame(
        {
            "row": np.repeat(rows, len(kinds)),
            "term": repeated([term for term, _, _ in kinds], len(rows)),
            "field_a": repeated([a for _, a, _ in kinds], len(rows)),
            "field_b": repeated([b for _, _, b in kinds], len(rows)),
            "value": np.concatenate(blocks, 1).ravel().astype(np.float32),
        }
    )


# The fields that the networks' part of a logit comes from, by integrated gradients (Sundararajan et al. 2017, eq. 1).
#
# For a row x and a baseline b, the attribution of field f is (x_f − b_f) · ∫₀¹ ∂D(b + α(x − b))/∂x_f dα, summed over
# its embedding. Attributions sum to D(x) − D(b), which the paper calls completeness. With a finite number of steps a
# small error is left, which the frame reports. Unlike purified terms, attributions share interactions out among the
# fields.


STEPS = 32
"""Points of the quadrature."""
POINTS = 32_768
"""Rows × steps that pass through the network at a time, which bounds the memory."""


def dnn_attribution_frame(
    model: DeepFM, train: EncodedTable, table: EncodedTable, rows: NDArray[np.int64], *, steps: int = STEPS
) -> pd.DataFrame:
    """Make the `dnn_attribution` frame: the DNN's output for each row, shared out among the fields.

    The baseline is the mean of the DNN's inputs over training rows: each field's, and each dense field's. Cost: N ·
    steps passes forward and back; 2,000 rows of 12 fields take 0.3 s.

    Args:
        model: trained, with a network.
        train: training rows.
        table: N rows.
        rows: (N,) their numbers in the table they come from.
        steps: points of the integral.

    Returns:
        One line per row and field: `row`, `field`, `value` (log-odds), `baseline` (the DNN's output at the baseline),
        and `error` (the sum of the row's values, minus its output, plus the baseline's).
    """
    output = model.eval().network_output

    # (F, K) and (D,)
    reference = network_fields_of(model, train).mean(0), torch.from_numpy(train.dense).mean(0)
    fields, dense = network_fields_of(model, table), torch.from_numpy(table.dense)
    size = max(1, POINTS // steps)
    parts = [
        torch.cat([of_fields.sum(2), of_dense], 1).double()  # (rows of the block, F + D)
        for part in zip(torch.split(fields, size), torch.split(dense, size), strict=True)
        for of_fields, of_dense in [integrated_gradients(output, part, reference, steps)]
    ]
    values = torch.cat(parts).numpy()
    with torch.no_grad():
        start = float(output(reference[0].unsqueeze(0), reference[1].unsqueeze(0)))
        ends = output(fields, dense).double().numpy()
    names = (*table.layout.names, *table.layout.dense)
    return pd.DataFrame(
        {
            "row": np.repeat(rows, len(names)),
            "field": repeated(names, len(rows)),
            "value": values.ravel().astype(np.float32),
            "baseline": np.float32(start),
            "error": np.repeat(values.sum(1) - (ends - start), len(names)).astype(np.float32),
        }
    )


def integrated_gradients(
    output: Callable[..., Tensor], inputs: tuple[Tensor, ...], reference: tuple[Tensor, ...], steps: int
) -> list[Tensor]:
    """Give the attribution of every number that rows have, by Gauss-Legendre quadrature: as `inputs`.

    Args:
        output: takes inputs of M rows and gives one number a row, which depends on that row alone: (M,).
        inputs: each (N, ...).
        reference: the baseline of each, (...).
        steps: points of the integral, which is exact for polynomials of twice as many terms.
    """
    nodes, shares = np.polynomial.legendre.leggauss(steps)
    places = torch.from_numpy((nodes + 1) / 2).to(inputs[0])
    weights = torch.from_numpy(shares / 2).to(inputs[0])
    away = [end - start for end, start in zip(inputs, reference, strict=True)]
    points = [
        torch.tensordot(places, part.unsqueeze(0), 0).flatten(0, 2).add_(start).requires_grad_()
        for part, start in zip(away, reference, strict=True)
    ]
    slopes = torch.autograd.grad(output(*points).sum(), points)  # rows are independent: each has its own
    return [
        part * torch.tensordot(weights, slope.reshape(steps, *part.shape), 1)
        for part, slope in zip(away, slopes, strict=True)
    ]
