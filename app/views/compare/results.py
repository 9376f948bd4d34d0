"""Results of a comparison: sentences, two charts, the table of models, and the figures of the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app.charts.comparison import model_dots
from app.shared import groups
from app.state import links
from app.widgets.figure import download, show_chart
from app.widgets.layout import heading_for_readers, side_by_side, sideways_hint
from app.widgets.text import MODEL_TITLES, counted, plain, to_pairs
from deepfm_core._words import signed
from deepfm_core.experiments.comparison import COMPARED, compared_as
from deepfm_core.spec.run import BASELINE
from deepfm_core.store.records import RunRow

# The results in sentences.

MANY = 5
"""From this many models on, it is worth saying that one interval in twenty is wrong by chance."""

RULE = (
    "Of the models whose logloss is no more than noise above the lowest one, the simplest. A model without a DNN is "
    "simpler than one with a DNN; else the one with fewer parameters is. A model is not used if it is not clearly "
    "better than guessing, or if its AUC is clearly below the best one's."
)
"""How `experiments.advice` chooses."""

METRICS = {"logloss": ("the lowest logloss", "{:.4f} nats"), "auc": ("the highest AUC", "{:.4f}")}


def verdict(table: pd.DataFrame, metric: str = "logloss", *, so_far: str = "") -> str:
    """Say which model is best by a metric, which differ by no more than noise, and which are worse.

    Args:
        table: as `groups.model_table` gives it.
        metric: `logloss` or `auc`.
        so_far: how many runs have finished, where not all have ended: others may yet be better.
    """
    models = table[~table["baseline"].astype(bool)].dropna(subset=[metric])
    if models.empty:
        return ""
    best = models[models[f"{metric}_difference"].isna()].iloc[0]
    superlative, form = METRICS[metric]
    start = f"So far, with {so_far}, " if so_far else ""
    start += f"**{plain(best['title'])}** has {superlative}, {form.format(best[metric])}"
    others = models[models[f"{metric}_difference"].notna()]
    if others.empty:
        return f"{start}. No other model has finished."
    beyond = (others[f"{metric}_low"] > 0) | (others[f"{metric}_high"] < 0)
    near, worse = ([plain(title) for title in others.loc[which, "title"]] for which in (~beyond, beyond))
    if not worse:
        return f"{start}. But no difference between the models is more than noise on these {_rows(best)}."
    is_worse = "is" if len(worse) == 1 else "are"
    if not near:
        rest = f"{_listed(worse)} {is_worse}" if so_far else "Every other model is"
        return f"{start}. {rest} worse by more than noise."
    differ = "differs" if len(near) == 1 else "differ"
    return f"{start}. {_listed(near)} {differ} by no more than noise; {_listed(worse)} {is_worse} worse by more."


def baseline_sentence(table: pd.DataFrame) -> str:
    """Compare the baseline with the best model; empty if it has not finished."""
    rows = table[table["baseline"].astype(bool)]
    if rows.empty or pd.isna(rows.iloc[0]["logloss_difference"]):
        return ""
    row = rows.iloc[0]
    low, high = float(row["logloss_low"]), float(row["logloss_high"])
    how = "lower" if row["logloss_difference"] < 0 else "higher"
    noise = "no more than noise" if low <= 0 <= high else "more than noise"
    return (
        f"The baseline, {row['title'].lower()}, has a logloss {abs(row['logloss_difference']):.4f} {how} than the best "
        f"model, {noise}."
    )


def alike_sentence(learned: Mapping[str, Sequence[bool | None]]) -> str:
    """Say which models are the same one because each kept its guide alone; empty unless there are several.

    Args:
        learned: by title, what `learned_beyond` says of each run (docs/command-line.md); None of one without a guide.
    """
    alone = [plain(title) for title, beyond in learned.items() if not any(one is not False for one in beyond)]
    if len(alone) < 2:
        return ""
    return f"{_listed(alone)} are the same model here: training found nothing beyond the guide, so each kept it alone."


def caveat(table: pd.DataFrame) -> str:
    """Say what the intervals cover."""
    models = table[~table["baseline"].astype(bool)]
    rows = _rows(table.iloc[0])
    cover = f"Intervals cover the choice of {rows} and of seeds, drawn together for all models."
    if int(models["runs"].max()) < 2:
        cover = f"Intervals cover the choice of {rows}. With one seed each, they leave out chance in training."
    if len(models) < MANY:
        return cover
    return (
        f"{cover} By chance, one interval in twenty does not contain zero. The best model was picked on these rows, so "
        "it looks a little better than it is."
    )


def _rows(row: pd.Series) -> str:
    part = {"test": "test", "valid": "validation"}[str(row["part"])]
    return f"{int(row['rows']):,} {part} rows"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# What the DeepFM paper reports of its models, for comparison.

SOURCE = "Guo et al. 2017, *DeepFM: A Factorization-Machine based Neural Network for CTR Prediction*, Table 2"

_COLUMNS = ("model", "company_auc", "company_logloss", "criteo_auc", "criteo_logloss")

_ROWS = (
    ("lr", 0.8640, 0.02648, 0.7686, 0.47762),
    ("fm", 0.8678, 0.02633, 0.7892, 0.46077),
    ("fnn", 0.8683, 0.02629, 0.7963, 0.45738),
    ("ipnn", 0.8664, 0.02637, 0.7972, 0.45323),
    ("opnn", 0.8658, 0.02641, 0.7982, 0.45256),
    ("pnn", 0.8672, 0.02636, 0.7987, 0.45214),
    ("wide-deep", 0.8673, 0.02634, 0.7981, 0.46772),
    ("fm-dnn", 0.8661, 0.02640, 0.7850, 0.45382),
    ("deepfm", 0.8715, 0.02618, 0.8007, 0.45083),
)


def paper_table() -> pd.DataFrame:
    """Give AUC and logloss on Company* and Criteo by model; the paper has no row for the DNN alone, nor for DCN."""
    return pd.DataFrame(list(_ROWS), columns=list(_COLUMNS))


# Charts and tables.

TIME, PARAMETERS = "Time", "Parameters"

ORDERS = {"result": "by result", "paper": "as in the paper"}

READINGS = {
    "logloss": "Further left is better.",
    "auc": "Further right is better.",
}


def show_results(runs: Sequence[RunRow]) -> None:
    """Draw the results of the finished runs of a comparison."""
    table, by_run = groups.model_table(runs), groups.run_table(runs)
    if table.empty:
        st.info("The table appears here as soon as the first run has finished.", icon=":material/hourglass_top:")
        return
    heading_for_readers("Results")
    _which_to_use(table, runs)
    kept = links.mirror("order", list(ORDERS), "result")
    order = st.segmented_control(
        "Order", list(ORDERS), format_func=ORDERS.__getitem__, required=True, label_visibility="collapsed", **kept
    )
    version = (order, *(run.id for run in runs if run.ended_well))
    left, right = side_by_side(2, least=400, gap="large")
    for cell, metric in ((left, "logloss"), (right, "auc")):
        if table[metric].notna().any():
            with cell:
                _dots(_ordered(table, order, metric), by_run, metric, version)
    st.caption(caveat(table))
    _table(_ordered(table, order, "logloss"), runs)


def _which_to_use(table: pd.DataFrame, runs: Sequence[RunRow]) -> None:
    """Say which model to use and why, once all runs have ended; until then, which is best so far."""
    advice, alike = groups.advice(runs), alike_sentence(_learned(runs))
    if advice is None:
        said = (verdict(table, so_far=_so_far(runs)), alike, baseline_sentence(table))
        st.markdown(" ".join(part for part in said if part))
        return
    use, more = advice
    with st.container(border=True):
        st.markdown("**Which model should I use?**", help=RULE)
        st.markdown(use)
        st.caption(" ".join(part for part in (more, alike) if part))


def _so_far(runs: Sequence[RunRow]) -> str:
    """Say how many runs have finished; empty where none is left to wait for."""
    if not any(run.state in ("queued", "running") for run in runs):
        return ""
    return f"{sum(run.ended_well for run in runs)} of {counted(len(runs), 'run')} finished"


def _learned(runs: Sequence[RunRow]) -> dict[str, list[bool | None]]:
    """Say by title of each finished run whether it learned anything beyond its guide; None if it has none."""
    found: dict[str, list[bool | None]] = {}
    for run, model in zip(runs, compared_as([run.spec for run in runs]), strict=True):
        if run.ended_well:
            found.setdefault(MODEL_TITLES[model], []).append(run.summary.get("guide", {}).get("learned_beyond"))
    return found


def _ordered(table: pd.DataFrame, order: str, metric: str) -> pd.DataFrame:
    """Sort the models by result or in the order of the paper; the baseline stays last."""
    if order == "paper":
        place = table["model"].map({name: place for place, name in enumerate(COMPARED)})
    else:
        place = table[metric] * (-1 if metric == "auc" else 1)
    return table.assign(place=place).sort_values(["baseline", "place"], ignore_index=True).drop(columns="place")


def _dots(table: pd.DataFrame, by_run: pd.DataFrame, metric: str, version: tuple[object, ...]) -> None:
    part = str(table["part"].iloc[0])
    reading = (
        f"{READINGS[metric]} Bar: 95% interval of the difference to the best model. If it crosses the dashed line, the "
        "difference is no more than noise, and the mark is hollow."
    )
    if int(table["runs"].max()) > 1:
        reading += " Ticks: single seeds."
    show_chart(lambda: model_dots(table, by_run, metric, part=part), version, reading, key=f"models by {metric}")


def _table(table: pd.DataFrame, runs: Sequence[RunRow]) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Table", anchor=False, width="content")
        download(table.drop(columns="title"), "models", "models csv")
    shown = _shown(table, runs)
    event = st.dataframe(
        shown,
        key=f"models {' '.join(shown['Model'])}",  # a new key per order, since a selection is kept by row number
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        column_config=_columns(shown, _widths(table)),
        height="content",
        alt="Models with their metrics on these rows",
    )
    sideways_hint("The table", wide=True)
    means = "Mean ± standard deviation over seeds" if _several(table) else "Metrics of each model"
    time = " Time is training time: 2.0 × is twice LR's." if TIME in shown else ""
    st.caption(
        f"{means}, and the difference to the best model with its 95% interval.{time} The CSV has more columns, such as "
        f"normalised entropy{'' if PARAMETERS in shown else ' and parameters'}."
    )
    _open(shown, runs, event["selection"]["rows"])
    _paper(table)


def _widths(table: pd.DataFrame) -> dict[str, int]:
    """Give widths, in pixels, with which the columns of `_shown` fit a page of 1,280 pixels."""
    means = dict.fromkeys(("logloss", "AUC"), 118 if _several(table) else 70)
    differences = dict.fromkeys(("from the best", "from the best "), 182)
    return {"Model": 128, **means, **differences, TIME: 58, PARAMETERS: 84, "Runs": 60}


def _columns(shown: pd.DataFrame, widths: Mapping[str, int]) -> dict[str, Any]:
    """Align figures to the right, and keep the name of the model in sight."""
    return {
        name: st.column_config.TextColumn(
            width=widths.get(name), pinned=name == "Model", alignment="left" if name == "Model" else "right"
        )
        for name in map(str, shown.columns)
    }


def _paper(table: pd.DataFrame) -> None:
    """Draw the figures of the paper, with its models in the order of the table above."""
    own = paper_table()
    place = {name: place for place, name in enumerate(table["model"])}
    ordered = own.sort_values("model", key=lambda names: names.map(place).fillna(len(place)), kind="stable")
    shown = pd.DataFrame({"Model": ordered["model"].map(MODEL_TITLES)})
    for column, (title, digits) in _PAPER.items():
        shown[title] = [f"{value:.{digits}f}" for value in ordered[column]]
    with st.expander("The same models in the paper", icon=":material/article:", expanded=True):
        columns = _columns(shown, {"Model": 140})
        st.dataframe(shown, hide_index=True, column_config=columns, height="content", alt="Figures of the paper")
        sideways_hint("The table")
        st.caption(
            f"{SOURCE}: test AUC and logloss on two click logs. The data differ, so take them as a rough reference."
        )


def _open(shown: pd.DataFrame, runs: Sequence[RunRow], places: Sequence[int]) -> None:
    """Offer to open the first finished run of a chosen model, or to compare those of two."""
    titles = [shown["Model"].iloc[place] for place in places if place < len(shown)]
    named = list(zip(runs, compared_as([run.spec for run in runs]), strict=True))
    first = {MODEL_TITLES[model]: run for run, model in reversed(named) if run.ended_well}
    chosen = [first[title] for title in titles if title in first]
    if not chosen:
        st.caption("Choose a model in the first column to open its run, or two models to compare them.")
        return
    with st.container(horizontal=True):
        one, leave = chosen[0], links.leave
        to_both, to_one = {"run": one.id, "compare": chosen[-1].id}, {"run": one.id}
        scores, pairs = ("performance",), ("interactions",)
        if len(chosen) == 2:
            icon = ":material/compare_arrows:"
            st.button("Compare the two", type="primary", icon=icon, on_click=leave, args=scores, kwargs=to_both)
        if len(chosen) == 1:
            icon = ":material/monitoring:"
            st.button("How good is it", type="primary", icon=icon, on_click=leave, args=scores, kwargs=to_one)
        if len(chosen) == 1 and one.spec.model.name != BASELINE:
            st.button(to_pairs(one.spec), icon=":material/grid_on:", on_click=leave, args=pairs, kwargs=to_one)


def _shown(table: pd.DataFrame, runs: Sequence[RunRow]) -> pd.DataFrame:
    """Write the table as texts, with a row also for models that have no finished run yet.

    To fit a page of 1,280 pixels, it leaves out the least useful columns: `Parameters` while runs are missing, else
    `Runs`; and another one with several seeds, whose spread takes room. The CSV has them all.
    """
    planned = compared_as([run.spec for run in runs])
    lines = [_line(row, planned.count(str(row["model"]))) for _, row in table.iterrows()]
    complete = all(line["Runs"].isdecimal() for line in lines)
    waiting = [name for name in dict.fromkeys(planned) if name not in set(table["model"])]
    lines += [{"Model": MODEL_TITLES[name], "Runs": f"0 of {planned.count(name)}"} for name in waiting]
    shown = pd.DataFrame(lines).fillna("")
    under_way = bool(waiting) or not complete
    left_out = [PARAMETERS if under_way else "Runs"]
    left_out += [TIME if under_way else PARAMETERS] if _several(table) else []
    return shown.drop(columns=left_out, errors="ignore")


def _several(table: pd.DataFrame) -> bool:
    return bool(table["logloss_sd"].notna().any())


_PAPER = {
    "criteo_auc": ("Criteo AUC", 4),
    "criteo_logloss": ("Criteo logloss", 5),
    "company_auc": ("Company* AUC", 4),
    "company_logloss": ("Company* logloss", 5),
}


def _line(row: pd.Series, planned: int) -> dict[str, str]:
    return {
        "Model": row["title"],
        "logloss": _mean(row, "logloss"),
        "from the best": _difference(row, "logloss"),
        "AUC": _mean(row, "auc"),
        "from the best ": _difference(row, "auc"),
        TIME: _times(row["relative_seconds"]),
        PARAMETERS: "–" if pd.isna(row["parameters"]) else f"{row['parameters']:,.0f}",
        "Runs": str(row["runs"]) if row["runs"] == planned else f"{row['runs']} of {planned}",
    }


def _times(ratio: float) -> str:
    """Write a multiple of LR's training time; a small one is not 0."""
    if pd.isna(ratio):
        return "–"
    return f"{ratio:.1f} ×" if ratio >= 0.1 else "< 0.1 ×"


def _mean(row: pd.Series, name: str) -> str:
    if pd.isna(row[name]):
        return "–"
    return f"{row[name]:.4f}" + ("" if pd.isna(row[f"{name}_sd"]) else f" ± {row[f'{name}_sd']:.4f}")


def _difference(row: pd.Series, name: str) -> str:
    if pd.isna(row[f"{name}_difference"]):
        return "best" if not row["baseline"] and not pd.isna(row[name]) else "–"
    low, high = signed(row[f"{name}_low"], 4), signed(row[f"{name}_high"], 4)
    return f"{signed(row[f'{name}_difference'], 4)} ({low} to {high})"
