"""Which model of a comparison to use, and why: one rule, and its words.

The rule: of the models whose logloss is no more than noise above the best one's, use the simplest. A model without a
DNN is simpler than one with a DNN; else the one with fewer parameters is. A model that is not clearly better than
guessing, or whose AUC is clearly below the best one's, is not used; where all are, the rows cannot tell. Each model was
tested on the same rows, so differences have narrow, paired intervals.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from deepfm_core._words import signed
from deepfm_core.encoding.splits import part_notes_of
from deepfm_core.experiments.comparison import (
    COMPARED,
    GUESS,
    compared_as,
    differences,
    judging_labels,
    model_table,
)
from deepfm_core.metrics.bootstrap import Difference
from deepfm_core.spec.models import MODELS as SWITCHES
from deepfm_core.spec.presets import MODEL_TITLES
from deepfm_core.spec.run import BASELINE
from deepfm_core.store.records import RunRow
from deepfm_core.store.store import Store

PARTS = {"test": "test", "valid": "validation"}


@dataclass(frozen=True)
class Advice:
    """What to use, and what it was weighed against. Models are named as in `COMPARED`."""

    use: str
    """The best one where no model is `clear`."""
    best: str
    """The model with the lowest logloss, which may be `use` itself."""
    tied: tuple[str, ...]
    """Models other than `use` and `best` whose logloss is no more than noise above the best one's."""
    rows: int
    part: str
    """`test` or `valid`: the rows that judge."""
    behind: Difference | None = None
    """Logloss of `use` minus that of `best`; None if they are the same."""
    simpler: str | None = None
    """Of the models simpler than `use`, all of which are worse than the best one, that of the lowest logloss."""
    auc: Difference | None = None
    """AUC of `use` minus that of `simpler`."""
    logloss: Difference | None = None
    """Logloss of `use` minus that of `simpler`."""
    against_baseline: Difference | None = None
    """Logloss of the baseline minus that of `use`; None without a baseline."""
    parameters: tuple[int, int] | None = None
    """Of `use` and of the model it is set against: the best, or else the simpler one."""
    seconds: tuple[float, float] | None = None
    """Training times of the same two."""
    left_out: tuple[str, ...] = ()
    """Models of the comparison that have no result, since their runs failed or were cancelled."""
    clear: bool = True
    """Whether some model is clearly better than guessing; without one, none is to be used."""
    guess: Difference | None = None
    """Logloss of the best one minus that of guessing: the share of positives as the probability of every row."""
    guessing: tuple[str, ...] = ()
    """Models other than the best one that come as close, but are not clearly better than guessing; or the baseline."""
    behind_by_auc: tuple[str, ...] = ()
    """Models that come as close by logloss, but whose AUC is clearly below the best one's."""
    positives: int = 0
    """How many of the rows that judge are positive."""
    notes: tuple[str, ...] = ()
    """Why these rows say little, where they do."""


def advise(store: Store, runs: Sequence[RunRow], table: pd.DataFrame | None = None) -> Advice | None:
    """Weigh the models of a comparison.

    Args:
        store: the store that holds the runs.
        runs: all runs of the comparison.
        table: what `model_table` gives of them, where it is known; with many rows it takes seconds.

    Returns:
        None while runs are under way, and where fewer than two models have finished.
    """
    if any(run.state in ("queued", "running") for run in runs):
        return None
    table = model_table(store, runs) if table is None else table
    if table.empty:
        return None
    models = table[~table["baseline"].astype(bool)].dropna(subset=["logloss"])
    if len(models) < 2:
        return None
    best = _best(models)
    near = [str(name) for name in models.loc[_near(models), "model"]]
    known = table.set_index("model")
    guessing, behind, guess = _unfit(store, runs, best, near, [BASELINE] if BASELINE in known.index else [])
    clear = not set(near) <= set(guessing)
    use, _, simpler = choose(models, {*guessing, *behind}) if clear else (best, best, None)
    other = best if best != use else simpler
    rivals = dict.fromkeys(name for name in (best, simpler, BASELINE) if name in known.index and name != use)
    versus = differences(store, runs, use, [str(name) for name in rivals]) if rivals else {}
    over = versus.get(BASELINE, {}).get("logloss")
    sizes = _both(known["parameters"], use, other)
    planned, labels = dict.fromkeys(compared_as([run.spec for run in runs])), judging_labels(store, runs)
    part = str(models["part"].iloc[0])
    return Advice(
        use,
        best,
        tuple(name for name in COMPARED if name in {*near} - {use, best, *guessing, *behind}),
        rows=int(models["rows"].iloc[0]),
        part=part,
        behind=versus[best]["logloss"] if best != use else None,
        simpler=simpler,
        auc=versus[simpler].get("auc") if simpler else None,
        logloss=versus[simpler]["logloss"] if simpler else None,
        against_baseline=None if over is None else -over,
        parameters=None if sizes is None else (int(sizes[0]), int(sizes[1])),
        seconds=_both(known["train_seconds"], use, other),
        left_out=tuple(name for name in COMPARED if name in planned and name not in set(models["model"])),
        clear=clear,
        guess=guess,
        guessing=tuple(name for name in (*COMPARED, BASELINE) if name in guessing and name != best),
        behind_by_auc=tuple(name for name in COMPARED if name in {*behind} - {*guessing}),
        positives=int(labels.sum()),
        notes=tuple(part_notes_of(PARTS[part], labels.astype(np.float32))),
    )


def _unfit(
    store: Store, runs: Sequence[RunRow], best: str, near: Sequence[str], baseline: Sequence[str]
) -> tuple[list[str], list[str], Difference]:
    """Say which of the models do not clearly beat guessing, which are clearly behind by AUC, and how the best one does.

    AUC rules no model out where that would leave none: the best one itself may not clearly beat guessing.

    Args:
        store: the store that holds the runs.
        runs: all runs of the comparison.
        best: the model with the lowest logloss.
        near: the models whose logloss is no more than noise above its, and itself.
        baseline: the baseline's name, if it has finished; it is set against guessing alone.
    """
    over = differences(store, runs, GUESS, [*near, *baseline])
    guessing = [name for name in (*near, *baseline) if over[name]["logloss"].low <= 0]
    ahead = differences(store, runs, best, [name for name in near if name != best])
    behind = [name for name, gaps in ahead.items() if "auc" in gaps and gaps["auc"].low > 0]
    behind = [] if set(near) <= {*guessing, *behind} else behind
    return guessing, behind, -over[best]["logloss"]


def choose(models: pd.DataFrame, unfit: Collection[str] = ()) -> tuple[str, str, str | None]:
    """Give the model to use, the best one by logloss, and the best of those simpler than the first, if there are any.

    Args:
        models: rows of `model_table` without the baseline, each with a logloss.
        unfit: models that are not to be used, whatever their logloss; not all of those near the best one.
    """
    by_size = models.assign(
        deep=models["model"].map(_has_dnn),
        size=models["parameters"].fillna(float("inf")).astype(float),
        place=models["model"].map(COMPARED.index),
    ).sort_values(["deep", "size", "place"])
    fit = _near(by_size) & ~by_size["model"].isin(list(unfit))
    simpler = by_size.iloc[: int(fit.to_numpy().argmax())]
    rival = None if simpler.empty else str(simpler.sort_values("logloss", kind="stable")["model"].iloc[0])
    return str(by_size[fit].iloc[0]["model"]), _best(models), rival


def _best(models: pd.DataFrame) -> str:
    return str(models.loc[models["logloss_difference"].isna(), "model"].iloc[0])


def _has_dnn(model: str) -> bool:
    return model not in SWITCHES or SWITCHES[model].deep


def _near(models: pd.DataFrame) -> pd.Series[bool]:
    """Say of each model whether it is the best one, or its logloss is no more than noise above that one's."""
    return models["logloss_difference"].isna() | (models["logloss_low"].astype(float) <= 0)


def _both(known: pd.Series[float], use: str, other: str | None) -> tuple[float, float] | None:
    if other is None or known[[use, other]].isna().any():
        return None
    return float(known[use]), float(known[other])


# The advice in words.


def advice_sentences(advice: Advice) -> tuple[str, str]:
    """Say which model to use and why in one sentence, and what else counts: ties, costs, and the baseline.

    Both are Markdown; `without_markup` writes them for a terminal.
    """
    last = [_against_baseline(advice), _not_weighed(advice), *advice.notes]
    if not advice.clear:
        return _cannot_tell(advice), " ".join(part for part in (_guess(advice), *last) if part)
    more = [_by_order(advice), _ties(advice), _unused(advice), _costs(advice), *last]
    return f"**Use {_title(advice.use)}:** {_why(advice)}", " ".join(part for part in more if part)


def without_markup(text: str) -> str:
    """Write a sentence of the advice as a terminal shows it."""
    return re.sub(r"\*\*|\\(?=\*)", "", text)


def _title(model: str) -> str:
    """Give a model's title in Markdown: PNN* has a sign of it in its name."""
    return MODEL_TITLES[model].replace("*", r"\*")


def _rows(advice: Advice) -> str:
    return f"{advice.rows:,} {PARTS[advice.part]} rows"


def _cannot_tell(advice: Advice) -> str:
    return (
        f"**These rows cannot tell which model to use:** on {_rows(advice)}, {advice.positives:,} of them positive, no "
        "model is clearly better than guessing, which gives every row the share of positives."
    )


def _guess(advice: Advice) -> str:
    """Say how the best model does beside guessing, and what to do unless a note says it."""
    gap = advice.guess
    if gap is None:
        return ""
    how, remedy = "lower" if gap.value < 0 else "higher", "" if advice.notes else " Use a larger share, or more rows."
    return (
        f"{_title(advice.best)} has the lowest logloss, {abs(gap.value):.4f} nats {how} than guessing (95% interval of "
        f"the difference: {signed(gap.low, 4)} to {signed(gap.high, 4)}).{remedy}"
    )


def _unused(advice: Advice) -> str:
    """Name the models that come as close as those that may be used, and why they may not."""
    said = []
    guessing = [name for name in advice.guessing if name != BASELINE]
    if guessing:
        are = "is" if len(guessing) == 1 else "are"
        said.append(
            f"{_listed(guessing)} {are} not clearly better than guessing, which gives every row the share of positives."
        )
    if advice.behind_by_auc:
        come, their = ("comes", "its AUC is") if len(advice.behind_by_auc) == 1 else ("come", "their AUCs are")
        said.append(
            f"{_listed(advice.behind_by_auc)} {come} as close by logloss, but {their} lower than that of "
            f"{_title(advice.best)} by more than noise."
        )
    return " ".join(said)


def _why(advice: Advice) -> str:
    rows, ahead, best = _rows(advice), _ahead(advice), _title(advice.best)
    start = f"it is the simplest model that does as well, within noise, as the best one, {best}, on these {rows}"
    if advice.behind is None:
        start = f"it has the lowest logloss on these {rows}"
    if ahead:
        return f"{start}, and it is {ahead}."
    if advice.simpler is None:
        return f"{start}, and it is the simplest model, too." if advice.behind is None else f"{start}."
    return f"{start}. {_title(advice.simpler)}, which is simpler, {_why_not(advice, advice.simpler)}."


def _why_not(advice: Advice, simpler: str) -> str:
    if simpler in advice.guessing:
        return "is not clearly better than guessing"
    if simpler in advice.behind_by_auc:
        return f"has a lower AUC than {_title(advice.best)} by more than noise"
    return f"is worse than {_title(advice.best)} by more than noise"


def _ahead(advice: Advice) -> str:
    """Say how far the model is ahead of the best simpler one by logloss, which the rule goes by.

    Empty where there is none, and where the two are told apart by their distance from the best model alone.
    """
    if advice.simpler is None or advice.logloss is None:
        return ""
    of = _title(advice.simpler)
    near = advice.simpler in (*advice.guessing, *advice.behind_by_auc)
    if (near or advice.behind is not None) and advice.logloss.high >= 0:
        return ""
    better = -advice.logloss
    interval = f"{signed(better.low, 4)} to {signed(better.high, 4)}"
    return f"ahead of {of} by {better.value:.4f} nats of logloss (95%: {interval})"


def _by_order(advice: Advice) -> str:
    """Say whether AUC tells the model and the best simpler one apart, too, and which way."""
    if advice.auc is None or advice.simpler is None:
        return ""
    low, high = signed(advice.auc.low, 4), signed(advice.auc.high, 4)
    gap = f"{signed(advice.auc.value, 4)} (95%: {low} to {high})"
    ahead = "ahead, too" if _ahead(advice) else "ahead"
    by = "By AUC, which looks at the order of rows alone, the difference"
    if advice.auc.low <= 0 <= advice.auc.high:
        return f"{by} from {_title(advice.simpler)}, {gap}, is no more than noise."
    return f"{by} from {_title(advice.simpler)} is {gap}: {ahead if advice.auc.low > 0 else 'behind'}."


def _ties(advice: Advice) -> str:
    """Name the models that do no worse than by noise, and what the best one may be worth."""
    said = ""
    if advice.behind is not None:
        low, high = signed(advice.behind.low, 4), signed(advice.behind.high, 4)
        said = (
            f"{_title(advice.best)} has a logloss {abs(advice.behind.value):.4f} nats lower (95% interval of the "
            f"difference: {low} to {high}); more rows or seeds may tell them apart."
        )
    if not advice.tied:
        return said
    do, are, come = ("does", "is", "comes") if len(advice.tied) == 1 else ("do", "are", "come")
    if said:
        return f"{said} {_listed(advice.tied)} {come} as close, and {are} less simple."
    return f"{_listed(advice.tied)} {do} as well within noise, and {are} less simple."


def _listed(models: Sequence[str]) -> str:
    names = [_title(name) for name in models]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _not_weighed(advice: Advice) -> str:
    """Name the models that were to be compared and have no result."""
    if not advice.left_out:
        return ""
    are = "is" if len(advice.left_out) == 1 else "are"
    return f"{_listed(advice.left_out)} did not finish, and {are} not weighed."


def _costs(advice: Advice) -> str:
    """Say what the model costs beside the one that it is set against: size and training time."""
    other = advice.best if advice.best != advice.use else advice.simpler
    if other is None or advice.parameters is None:
        return ""
    own, theirs = advice.parameters
    said = f"{_title(advice.use)} has {own:,} parameters, {_title(other)} {theirs:,}"
    if advice.seconds is None:
        return f"{said}."
    return f"{said}; training took {_seconds(advice.seconds[0])} and {_seconds(advice.seconds[1])}."


def _seconds(seconds: float) -> str:
    if seconds < 0.1:
        return "under 0.1 s"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:,.0f} s"


def _against_baseline(advice: Advice) -> str:
    """Say how the baseline does beside the model, where it is more than noise."""
    gap = advice.against_baseline
    if gap is None:
        return ""
    name, use = MODEL_TITLES[BASELINE], _title(advice.use)
    interval = f"(95%: {signed(gap.low, 4)} to {signed(gap.high, 4)})"
    if gap.high < 0 and BASELINE in advice.guessing:
        return f"{name}, the baseline, has a lower logloss, but is not clearly better than guessing either."
    if gap.high < 0:
        return (
            f"**{name}, the baseline, predicts better:** its logloss is {-gap.value:.4f} nats lower {interval}. If you "
            "need predictions alone, use that."
        )
    if gap.low > 0:
        return f"{use} is ahead of {name.lower()}, the baseline, by {gap.value:.4f} nats {interval}."
    return f"{name}, the baseline, does as well as {use} within noise."
