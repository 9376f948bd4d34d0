"""Where the logits of single rows come from: their addends, purified or not, and the fields behind the networks' part.

`terms_frame` has one line per row, `example_terms_frame` one line per addend; docs/store.md lists the columns. The
component ladder (`metrics.bootstrap`) is made from `partial_sums_frame`. `ask` is for cells that change.
`purified_terms` gives the unique ledger of a row, `dnn_attribution_frame` the share of each field in the DNN logit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfm_core.encoding.encoded_table import EncodedTable, together
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.evidence.designs import field_levels
from deepfm_core.explain.frames import FEWEST_EXAMPLES, MOST_EXAMPLES, repeated
from deepfm_core.explain.learned import (
    LearnedPairs,
    distinct_fields,
    fm_contributions,
    probed_contributions,
    weight_contributions,
)
from deepfm_core.explain.probe import NetworkProbe, network_fields_of, network_probe
from deepfm_core.explain.purify import additive_parts
from deepfm_core.metrics.scores import sigmoid
from deepfm_core.models.batch import Batch, Reading
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.models.term import Pairs
from deepfm_core.models.terms import WithinPairs, gives_pairs
from deepfm_core.spec.models import ADDENDS
from deepfm_core.training.fit import predict_logits

TERM_CELLS = 200_000
"""Addends stored for the example rows, which bounds the size of the file."""

OTHER_PAIRS, REST = "other-pairs", "rest"
"""Addends of a row where not every pair has its own: the other pairs; and these with the effects of higher order."""


def example_rows(model: DeepFM, part: EncodedTable, seed: int, pairs: int | None = None) -> NDArray[np.int64]:
    """Choose the example rows of a part, in ascending order; a model with many terms gets fewer.

    Args:
        model: of the run.
        part: its rows.
        seed: of the choice.
        pairs: how many pairs have an addend; None for all of the model.
    """
    pairs = len(model.pairs) if pairs is None else pairs
    terms = pairs + len(part.layout.fields) + len(part.layout.dense) + 2
    count = min(len(part), max(FEWEST_EXAMPLES, min(MOST_EXAMPLES, TERM_CELLS // terms)))
    return np.sort(np.random.default_rng(seed).choice(len(part), count, replace=False)).astype(np.int64)


def terms_frame(model: DeepFM, table: EncodedTable) -> pd.DataFrame:
    """Split each row's logit into its parts; one line per row of the table.

    Columns: `row`, `probability`, `logit` (as `predict` has it), `bias`, `first_order`, `second_order`, `fm_logit` (the
    sum of these three) and `dnn_logit`. `fm_logit + dnn_logit` equals `logit` up to the rounding of float32. A part
    that the model lacks is 0.
    """
    model.eval()
    parts = [_sums(model, batch) for batch in Batch.held(table).split(8192)]
    sums = {name: np.concatenate([part[name] for part in parts] or [np.zeros(0)]) for name in _SUMS}
    logit = predict_logits(model, table)
    return pd.DataFrame(
        {
            "row": np.arange(len(logit)),
            "probability": sigmoid(logit),
            "logit": logit,
            "bias": sums["bias"],
            "first_order": sums["first_order"],
            "second_order": sums["second_order"],
            "fm_logit": sums["bias"] + sums["first_order"] + sums["second_order"],
            "dnn_logit": sums["dnn_logit"],
        }
    )


_SUMS = ("bias", "first_order", "second_order", "dnn_logit")


@torch.no_grad()
def _sums(model: DeepFM, batch: Batch) -> dict[str, NDArray[np.float64]]:
    """Sum the addends of B rows into the columns that their kinds name; what the model lacks is 0."""
    terms, sums = model.terms(batch), {name: np.zeros(len(batch)) for name in _SUMS}
    for kind in terms.kinds:
        sums[ADDENDS[kind].column] += terms.of(kind).double().sum(1).numpy()
    return sums


@torch.no_grad()
def example_terms_frame(
    model: DeepFM, table: EncodedTable, rows: NDArray[np.int64], pairs: Pairs | None = None
) -> pd.DataFrame:
    """Make the `example_terms` frame: one line per addend of each row's logit.

    If `pairs` are given, other pairs of different fields share one line, `other-pairs`.
    """
    terms = model.eval().terms(Batch.from_table(table))
    kinds = [(kind, a, b) for kind in terms.kinds for a, b in terms.fields_of(kind)]
    values = np.concatenate([terms.of(kind).double().numpy() for kind in terms.kinds], 1)
    if pairs is not None:
        names = table.layout.names
        named = {(names[a], names[b]) for a, b in pairs}
        alone = np.array([b is None or a == b or (a, b) in named for _, a, b in kinds])
        if not alone.all():
            kinds = [kind for kind, own in zip(kinds, alone, strict=True) if own] + [(OTHER_PAIRS, None, None)]
            values = np.concatenate([values[:, alone], values[:, ~alone].sum(1, keepdims=True)], 1)
    return pd.DataFrame(
        {
            "row": np.repeat(rows, len(kinds)),
            "term": repeated([term for term, _, _ in kinds], len(rows)),
            "field_a": repeated([a for _, a, _ in kinds], len(rows)),
            "field_b": repeated([b for _, _, b in kinds], len(rows)),
            "value": values.ravel(),
        }
    )


# Partial sums of the logit: what the component ladder is made from.


def partial_sums_frame(
    model: DeepFM, table: EncodedTable, part: str, rows: NDArray[np.int64], labels: NDArray[np.float32]
) -> pd.DataFrame | None:
    """Make the `partial_sums` frame of N evaluated rows; return None if the logit has only one part.

    Args:
        model: in its final state.
        table: the N rows, encoded.
        part: the name of the part they belong to: `valid` or `test`.
        rows: (N,) their numbers in the table they come from.
        labels: (N,) of 0 and 1.

    Returns:
        `part`, `row`, `label`; `first_order` (bias + first-order terms), `fm` (`first_order` + FM pairs; null if the
        model has none) and `logit` (everything).
    """
    spec = model.spec
    if not spec.first_order or not (spec.second_order or spec.deep):
        return None
    terms = terms_frame(model, table)
    return pd.DataFrame(
        {
            "part": pd.Categorical([part] * len(rows)),
            "row": rows,
            "label": labels.astype(np.int8),
            "first_order": terms["bias"] + terms["first_order"],
            "fm": terms["fm_logit"] if spec.second_order else np.nan,
            "logit": terms["logit"],
        }
    )


# What a model predicts for a row if some of its cells change.


@dataclass(frozen=True)
class Answers:
    """The model's predictions for A variants of a row.

    Attributes:
        logits: (A,) log-odds.
        probabilities: (A,).
        terms: the addends of each logit, as in the `example_terms` frame; `row` is the number of the variant.
    """

    logits: list[float]
    probabilities: list[float]
    terms: pd.DataFrame


def ask(encoder: Encoder, model: DeepFM, cells: Mapping[str, str], variants: Sequence[Mapping[str, str]]) -> Answers:
    """Score variants of a row.

    Args:
        encoder: the encoder the model was trained with.
        model: trained.
        cells: the row's cells as text, by column.
        variants: for each variant the cells that differ, by column; an empty one is the row itself.

    Raises:
        SchemaError: a value cannot be used, such as a text in a field of numbers.
    """
    frame = pd.DataFrame([{**cells, **changes} for changes in variants]).astype("category")
    encoded = encoder.encode(frame, subject="What if")
    logits = predict_logits(model, encoded)
    terms = example_terms_frame(model, encoded, np.arange(len(frame), dtype=np.int64))
    return Answers(logits.tolist(), sigmoid(logits).tolist(), terms)


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
