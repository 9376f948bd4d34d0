"""One row in full: the formula with its numbers, the exact ledger, and the nearest row with the other outcome.

`spread_section` scores the row with runs of other seeds: how much the split of its logit depends on the seed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app.charts.ledger import attribution, ledger, ledger_rows
from app.shared import guide, predictions
from app.state import links, saved_runs, visitor
from app.state.saved_runs import OpenRun
from app.state.store import store
from app.views.examples import selection, what_if
from app.widgets.columns import ROWS
from app.widgets.figure import figure
from app.widgets.layout import list_and_detail
from app.widgets.text import code, plain
from deepfm_core._words import percent, signed
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.errors import DeepFMError
from deepfm_core.explain.example_rows import by_weight, derived_values, differing, distances
from deepfm_core.spec.models import addend_kinds
from deepfm_core.spec.run import ModelSpec, RunSpec
from deepfm_core.store.query import OTHER_SPLIT, Question

AS_TRAINED, PURIFIED = "as trained", "purified"
MOST_FIELDS = 12
"""Of more fields, those that weigh most come first: in the list of rows, and in the table of the nearest one."""
_SUMS = (
    "Each bar starts where the last one ended, in log-odds; together they give exactly the logit. The upper axis shows "
    "the probability of a logit."
)
READING = {
    AS_TRAINED: f"From the bias to the logit, term by term. {_SUMS}",
    PURIFIED: "From the mean logit of the training rows to the logit of this row: main effects, pairs, and what three "
    f"or more fields do together. {_SUMS}",
}
"""How to read the ledger, by the split of the logit."""
SPLIT_HELP = (
    "**As trained**: the terms that the model computes. Constants and main effects can sit in any part, so another "
    "seed splits the logit differently.  \n**Purified**: the same logit, split so that a pair holds nothing that one "
    "field does alone. There is only one such split."
)


def row_section(
    run: OpenRun, other: OpenRun | None, examples: pd.DataFrame, terms: pd.DataFrame, cells: pd.DataFrame, position: int
) -> None:
    """Draw a row: what if its fields were others, beside it its formula and ledger, as trained or purified.

    Args:
        run: the run whose model is explained.
        other: a run to compare with.
        examples: the sampled rows.
        terms: their `example_terms`.
        cells: the same rows, with texts as in the table.
        position: of the row in both.
    """
    example = examples.iloc[position]
    terms = terms[terms["row"] == example["row"]]
    st.header(f"Row {int(example['row']):,}", anchor=False, divider="gray")
    own = {str(name): str(value) for name, value in cells.iloc[position].items()}
    workbench(run, other, examples, terms, cells, position, own)
    if saved_runs.frame(run, "purified_terms") is not None:
        spread_section(run, other, example)
    attribution_section(run, example, {**own, **_derived(run, own)})


@st.fragment
def workbench(
    run: OpenRun,
    other: OpenRun | None,
    examples: pd.DataFrame,
    terms: pd.DataFrame,
    cells: pd.DataFrame,
    position: int,
    own: dict[str, str],
) -> None:
    """Draw what if and the ledger side by side: a change on the left is at once in the ledger on the right."""
    example = examples.iloc[position]
    chooser, detail, more = list_and_detail()
    with chooser:
        changed = what_if.choose(run, cells, own)
    with detail:
        show_ledger(run, other, example, terms, own, changed)
    with more:
        if changed is not None:
            what_if.show(run, changed, own)
        nearest_section(run, examples, cells, terms, position)


def show_ledger(
    run: OpenRun,
    other: OpenRun | None,
    example: pd.Series,
    terms: pd.DataFrame,
    own: dict[str, str],
    changed: what_if.Changed | None,
) -> None:
    """Draw the formula with the row's numbers, and the ledger below it; of the changed row, if it is changed."""
    purified = saved_runs.frame(run, "purified_terms")
    form = choose_form(disabled=changed is not None) if purified is not None else AS_TRAINED
    if changed is not None:
        form, terms, values = AS_TRAINED, changed.terms, {**own, **changed.changes}
        shown = changed.example
        before = (
            f"**{percent(shown['probability'], 1)}** with your changes, {percent(example['probability'], 1)} without"
        )
    else:
        if purified is not None and form == PURIFIED:
            terms = purified[purified["row"] == example["row"]]
        values, shown, before = own, example, f"**{percent(example['probability'], 1)}**; {_was(run, example)}"
    values = {**values, **_derived(run, values)}
    st.markdown(f"The model gives it {before}. {_lead(terms, values, form)}")
    if changed is None:
        _compare(run, other, example)
    second_order = guide.second_order(run)
    st.latex(formula(shown, run.spec.model, second_order) if form == AS_TRAINED else purified_formula(shown, terms))
    if form == AS_TRAINED and (legend := guide.LEGENDS.get(second_order)):
        st.caption(legend)
    figure(
        f"Ledger of its logit, {form}",
        lambda: ledger(terms, top=14, cells=values),
        terms.drop(columns="row"),
        READING[form],
        key="ledger",
        titles=ROWS,
        file=f"row-{int(example['row'])}-ledger",
    )


def _derived(run: OpenRun, values: dict[str, str]) -> dict[str, str]:
    """Give the values of fields that are made from a column, such as the hour of a timestamp."""
    if not any(role.kind.entry.fields > 1 for role in run.spec.schema.used):
        return {}
    try:
        return derived_values(_encoder(run.id, run), values)
    except DeepFMError:
        return {}  # said beside it, where the value was changed


@st.cache_resource(max_entries=4, show_spinner=False)
def _encoder(run_id: str, _run: OpenRun) -> Encoder:
    return Encoder.load(_run.folder.encoder)


def _was(run: OpenRun, example: pd.Series) -> str:
    """Say what the label of the row is."""
    label = run.spec.schema.label
    return f"{code(label.column)} is **{plain(label.positive if example['label'] > 0.5 else label.negative)}**"


def attribution_section(run: OpenRun, example: pd.Series, cells: dict[str, str]) -> None:
    """Draw which fields the DNN logit of a row comes from, if the run has attributions."""
    frame = saved_runs.frame(run, "dnn_attribution")
    values = None if frame is None else frame[frame["row"] == example["row"]]
    if values is None or values.empty or not example["dnn_logit"]:
        return
    start, error = float(values["baseline"].iloc[0]), float(values["error"].iloc[0])
    figure(
        "DNN logit by field",
        lambda: attribution(values, cells=cells),
        values.drop(columns="row"),
        f"Integrated gradients, in log-odds: from {signed(start)} for the mean training row to "
        f"{signed(float(example['dnn_logit']))} for this row{_with_cross(run.spec.model)}. Joint effects are shared "
        f"among their fields. The bars sum to the difference, except for a completeness error of {_error(error)}.",
        key="attribution",
        titles=ROWS,
        file=f"row-{int(example['row'])}-dnn",
    )


def _with_cross(model: ModelSpec) -> str:
    return ", the cross network included" if model.switches.cross else ""


def _error(error: float) -> str:
    return "less than 0.001" if abs(error) < 0.001 else signed(error, 3)


def choose_form(*, disabled: bool) -> str:
    """Let the visitor choose how the logit is split; the choice is kept in the URL. A changed row is as trained."""
    kept = links.mirror("split", list(READING), AS_TRAINED)
    chosen: str = st.segmented_control(
        "Split of the logit", list(READING), required=True, disabled=disabled, help=SPLIT_HELP, **kept
    )
    return chosen


def _compare(run: OpenRun, other: OpenRun | None, example: pd.Series) -> None:
    """Say the probability that the compared run gives this row, if both were tested on the same rows."""
    part = str(example["part"])
    theirs = predictions.predictions(other, part) if other and predictions.same_rows(run, other, part) else None
    if other is None or theirs is None:
        return
    probability = float(theirs.loc[theirs["row"] == example["row"], "probability"].iloc[0])
    st.caption(f"**{plain(other.name)}** gives the same row {percent(probability, 1)}.")


def formula(example: pd.Series, model: ModelSpec, second_order: str) -> str:
    """Write the model's equation with the row's numbers under its terms (Guo et al. 2017, eq. 1 and 2).

    Args:
        example: the row of `examples`.
        model: the model's spec.
        second_order: the second-order part as this run has it, such as `guide.second_order` gives.
    """
    parts: dict[str, tuple[str, float, str]] = {}
    for name, kind in addend_kinds(model.switches).items():
        own = second_order if name == "second-order" else kind.symbol
        symbol, _, title = parts.get(kind.column, ("", 0.0, ""))  # kinds that share a column share a brace
        symbols, titles = ([part for part in both if part] for both in ((symbol, own), (title, kind.title)))
        parts[kind.column] = " + ".join(symbols), float(example[kind.column]), " + ".join(titles)
    return _equation(list(parts.values()), example)


def purified_formula(example: pd.Series, terms: pd.DataFrame) -> str:
    """Write the functional ANOVA of the logit with the numbers of the row under its terms."""
    sums = terms.groupby("term", observed=True)["value"].sum()
    symbols = (
        ("base", r"\mathrm{E}[y]", "mean logit"),
        ("main", r"\sum_f y_f", "main effects"),
        ("pair", r"\sum_{f<g} y_{fg}", "pairs"),
        ("higher-order", r"y_{\mathrm{higher}}", "higher order"),
        ("other-pairs", r"y_{\mathrm{rest}}", "all other pairs"),
        ("rest", r"y_{\mathrm{rest}}", "other pairs, higher order"),
    )
    return _equation([(symbol, sums[term], name) for term, symbol, name in symbols if term in sums], example)


def _equation(parts: list[tuple[str, float, str]], example: pd.Series) -> str:
    """Write the sum over two lines if it has more than three parts, and its value on a line of its own."""
    addends = [rf"\underbrace{{{symbol}}}_{{\text{{{name}}}\;{value:+.2f}}}" for symbol, value, name in parts]
    half = (len(addends) + 1) // 2 if len(addends) > 3 else len(addends)
    lines = [" + ".join(addends[:half]), " + ".join(addends[half:])]
    total = r" \\ &\qquad + ".join(line for line in lines if line)
    written = rf"{example['probability']:.1%}".replace("%", r"\%")
    value = rf"\sigma({example['logit']:+.2f}) = {written}"
    return rf"\begin{{aligned}}\hat y &= \sigma\Big({total}\Big) \\ &= {value}\end{{aligned}}"


def nearest_section(
    run: OpenRun, examples: pd.DataFrame, cells: pd.DataFrame, terms: pd.DataFrame, position: int
) -> None:
    """Draw the most similar of the sampled rows with the other outcome; of many fields, those that weigh most first."""
    st.subheader("Nearest row with the other outcome", anchor=False)
    others = np.flatnonzero((examples["label"] > 0.5).to_numpy() != (examples["label"].iloc[position] > 0.5))
    if not len(others):
        st.caption("All sampled rows have the same outcome.")
        return
    distance = distances(cells, position, run.spec.schema)
    other = int(others[distance[others].argmin()])
    example = examples.iloc[other]
    fields = differing(cells, position, other, run.spec.schema)
    mine, theirs = int(examples["row"].iloc[position]), int(example["row"])
    alike = "It has the same values in all fields, so that no model can tell the two apart."
    differs = f"It differs in {len(fields)} of {len(run.spec.schema.used)} fields."
    st.markdown(
        f"Row **{theirs:,}**: {_was(run, example)}; the model gives it **{percent(example['probability'], 1)}**. "
        f"{differs if fields else alike}"
    )
    if fields:
        beside = {f"row {mine:,}": cells.iloc[position], f"row {theirs:,}": cells.iloc[other]}
        _differences(fields, beside, terms)
    st.caption(
        f"Gower distance {distance[other]:.2f} (0 identical, 1 opposite), among the sampled rows.",
        help="Mean over fields. Texts count 0 or 1, numbers their difference ÷ range, sets the share that differs.",
    )
    if st.button(f"Open row {theirs:,}", icon=":material/arrow_forward:"):
        selection.keep(theirs)
        st.rerun()


def _differences(fields: list[str], rows: dict[str, pd.Series], terms: pd.DataFrame) -> None:
    """Draw the cells in which two rows differ; of many, those that weigh most, and the others on request."""
    table = pd.DataFrame(
        {
            "field": [plain(field) for field in fields],
            **{name: [plain(str(row[field])) for field in fields] for name, row in rows.items()},
        },
        index=fields,
    )
    few = len(fields) <= MOST_FIELDS + 2
    order = fields if few else by_weight(fields, terms)
    shown = len(fields) if few else MOST_FIELDS
    alt = "Fields in which the two rows differ"
    st.table(table.loc[order[:shown]], border="horizontal", hide_index=True, alt=alt)
    if not few:
        with st.expander(f"{len(fields) - shown} more fields, which weigh less in this row"):
            st.table(table.loc[order[shown:]], border="horizontal", hide_index=True, alt=f"{alt}, continued")


def _lead(terms: pd.DataFrame, cells: dict[str, str], form: str) -> str:
    """Say which term moves the logit most, and in which split of the logit that number stands."""
    lines = ledger_rows(terms, top=500, cells=cells)
    moves = lines[~lines["kind"].isin(["bias", "base", "logit"])]
    if moves.empty:
        return ""
    first = moves.iloc[0]
    verb = "raises" if first["value"] > 0 else "lowers"
    name = plain(str(first["label"]))
    return f"Its largest term is **{name}**, which {verb} the logit by {abs(first['value']):.2f} log-odds, {form}."


PARTS = {
    "logit": "logit",
    "fm_logit": "FM logit",
    "dnn_logit": "DNN logit",
    "main": "main effects",
    "pair": "pairs",
    "higher": "higher order",
}
"""The parts of the logit to compare, by column."""
MOST_OTHERS = 4
LOOK_SECONDS = 1.0
HELP = (
    "The model of each run scores this row. Another seed starts from other weights and divides the rows differently. "
    "As trained, constants and main effects can sit in any part; purified, they cannot."
)


def others_of(run: OpenRun, compared: OpenRun | None) -> list[OpenRun]:
    """List finished runs of the same spec with other seeds, newest first, and the compared run if it fits.

    A model without FM pairs or without a DNN has nothing to split.
    """
    if not _splits(run.spec):
        return []
    same = [row.id for row in saved_runs.runs() if row.ended_well and _but_seed(row.spec) == _but_seed(run.spec)]
    seeds = {run.spec.seed}
    found = []
    for other in map(saved_runs.open_run, [*same, saved_runs.BUNDLED_ID]):
        if other.spec.seed not in seeds and _but_seed(other.spec) == _but_seed(run.spec):
            seeds.add(other.spec.seed)
            found.append(other)
    chosen = found[:MOST_OTHERS]
    if compared and compared.id not in {other.id for other in chosen} and _comparable(run.spec, compared.spec):
        chosen.append(compared)
    return chosen


def spread_section(run: OpenRun, compared: OpenRun | None, example: pd.Series) -> None:
    """Say how much FM logit, DNN logit and logit of a row differ between runs of different seeds.

    A separate process scores all sampled rows with the other models at once; the page polls for its answer.

    Args:
        run: the run shown, which has purified terms.
        compared: a run to compare with.
        example: the row of `examples`.
    """
    others = others_of(run, compared)
    if others:
        try:
            for each in (run, *others):
                predictions.require_table(each)
        except DeepFMError as error:
            st.info(plain(str(error)))
            return
        questions = [_question(run, other) for other in others]
        waiting = not all(question.standing().ended for question in questions)
        st.fragment(_spread, run_every=LOOK_SECONDS if waiting else None)(run, others, example, waiting)


def _spread(run: OpenRun, others: list[OpenRun], example: pd.Series, waiting: bool) -> None:
    questions = [_question(run, other) for other in others]
    open_ones = [question for question in questions if not question.standing().ended]
    if open_ones:
        open_ones[0].look()  # one after the other, since each uses all processors
        done = len(questions) - len(open_ones)
        st.progress(done / len(questions), f"Scoring this row with {_named(run, others)} …")
        return
    if waiting:
        st.rerun()  # all answers are there: stop polling
    answers = [_answer(str(question.path)) for question in questions if question.path.exists()]
    if answers:
        splits = [_own(run), *answers]
        named = _named(run, others, own=True)
        st.markdown(sentence(named, [split[split["row"] == example["row"]] for split in splits]), help=HELP)
        st.caption(over_all_rows(splits))


def sentence(named: str, splits: list[pd.DataFrame]) -> str:
    """Say how much the parts of a row's logit differ between runs; `splits` hold the row as each run splits it."""
    spread = {name: float(values[0]) for name, values in _spread_of(splits).items()}
    verb, plural, sign = ("differs", "differ", "") if len(splits) == 2 else ("varies", "vary", "±")
    text = {name: f"**{sign}{value:.2f}**" for name, value in spread.items()}
    only = " only" if spread["logit"] < 0.5 * max(spread["fm_logit"], spread["dnn_logit"]) else ""
    return (
        f"Between {named}, this row's FM logit {verb} by {text['fm_logit']} log-odds and its DNN logit by "
        f"{text['dnn_logit']}. Its logit {verb} by{only} {text['logit']}. Purified, main effects {plural} by "
        f"{text['main']}, pairs by {text['pair']} and higher order by {text['higher']}."
    )


def over_all_rows(splits: list[pd.DataFrame]) -> str:
    """Say the same for all sampled rows together, as a root mean square."""
    spread = {name: (values**2).mean() ** 0.5 for name, values in _spread_of(splits).items()}
    figures = ", ".join(f"{title} {spread[name]:.2f}" for name, title in PARTS.items())
    kind = "Difference" if len(splits) == 2 else "Standard deviation"
    return f"{kind} over all {len(splits[0]):,} sampled rows, root mean square in log-odds: {figures}."


def _spread_of(splits: list[pd.DataFrame]) -> dict[str, Any]:
    """Give each part's difference between two runs, or its standard deviation over more: (N,) each, N rows."""
    import numpy as np

    values = {name: np.stack([split[name].to_numpy(dtype=float) for split in splits]) for name in PARTS}
    if len(splits) == 2:
        return {name: np.abs(one[0] - one[1]) for name, one in values.items()}
    return {name: one.std(axis=0, ddof=1) for name, one in values.items()}


def _named(run: OpenRun, others: list[OpenRun], own: bool = False) -> str:
    siblings = sum(_but_seed(other.spec) == _but_seed(run.spec) for other in others)
    if siblings == len(others):
        count = len(others) + own
        return f"{count} seeds" if count > 1 else f"another seed (run {plain(others[0].name)})"
    names = ", ".join(plain(other.name) for other in others)
    return f"this run and {names}" if own else names


def _own(run: OpenRun) -> pd.DataFrame:
    examples, terms = saved_runs.frame(run, "examples"), saved_runs.frame(run, "purified_terms")
    assert examples is not None
    assert terms is not None
    sums = terms.pivot_table(index="row", columns="term", values="value", aggfunc="sum", observed=True)
    sums = sums.rename(columns=dict.fromkeys(("higher-order", "rest", "other-pairs"), "higher")).reset_index()
    return examples[["row", "logit", "fm_logit", "dnn_logit"]].merge(sums, on="row", how="left", validate="one_to_one")


@st.cache_data(max_entries=16, show_spinner=False)
def _answer(path: str) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(path)


def _question(run: OpenRun, other: OpenRun) -> Question:
    asked = {name: str(each.folder.path) for name, each in (("run", run), ("other", other))}
    written = [each.folder.model.stat().st_mtime for each in (run, other)]  # since the sample run changes with the app
    return store().questions.of(OTHER_SPLIT, **asked, written=written, owner=visitor.owner())


def _splits(spec: RunSpec) -> bool:
    return spec.model.second_order and spec.model.deep


def _but_seed(spec: RunSpec) -> RunSpec:
    return replace(spec, seed=0, folds=None, table_name="", valid_table_name=None, test_table_name=None)


def _comparable(spec: RunSpec, other: RunSpec) -> bool:
    return _splits(other) and other.table == spec.table and other.schema.label == spec.schema.label
