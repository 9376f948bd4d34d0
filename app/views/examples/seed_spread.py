"""How much the split of a row's logit depends on the seed, by scoring the row with runs of other seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.shared import predictions
from app.state import saved_runs, visitor
from app.state.saved_runs import OpenRun
from app.state.store import store
from app.widgets.text import plain
from deepfm_core.errors import DeepFMError
from deepfm_core.spec.run import RunSpec
from deepfm_core.store.query import OTHER_SPLIT, Question

if TYPE_CHECKING:
    import pandas as pd

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
