"""The component ladder: how good a model's logit is as its parts are added, one after the other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepfm_core.metrics.bootstrap import logloss_difference
from deepfm_core.metrics.scores import evaluate

FIRST, SECOND, DEEP = "bias + first-order", "+ second-order", "+ deep"
METRICS = ("auc", "auc_low", "auc_high", "logloss", "logloss_low", "logloss_high")
COLUMNS = ("rung", "model", *METRICS, "step", "step_low", "step_high")


def ladder(sums: pd.DataFrame, alone: Mapping[str, NDArray[np.floating]]) -> pd.DataFrame:
    """Evaluate each partial sum of the logit, and beside it the model of these parts alone.

    Args:
        sums: a part of the frame `partial_sums`: `label`, `first_order`, `fm`, `logit`.
        alone: by name (`lr`, `fm`, `dnn`) the logits (N,) of models trained by themselves, on the same rows.

    Returns:
        One row per rung and model: `rung`; `model`, the name of a model trained alone, empty for a partial sum; AUC and
        logloss with their 95% intervals; `step`, the logloss minus that of the rung before, with the 95% interval of
        that difference on the same rows. A DNN alone is on the last rung.
    """
    pairs = bool(sums["fm"].notna().all())
    # A model of FM pairs alone has no third rung. In float32, its two sums agree to 1e-4 only.
    last = DEEP if not pairs or not np.allclose(sums["fm"], sums["logit"], atol=1e-4) else SECOND
    rungs = {FIRST: sums["first_order"], **({SECOND: sums["fm"]} if pairs else {}), last: sums["logit"]}
    places = {"lr": FIRST, "fm": SECOND, "dnn": DEEP}
    labels = sums["label"].to_numpy(np.float64)
    own = [logits.to_numpy(np.float64) for logits in rungs.values()]
    lines = [_line(rung, "", labels, logits) for rung, logits in zip(rungs, own, strict=True)]
    for line, logits, before in zip(lines[1:], own[1:], own, strict=False):
        step = logloss_difference(labels, logits, before)
        line |= {"step": step.value, "step_low": step.low, "step_high": step.high}
    lines += [_line(places[name], name, labels, logits) for name, logits in alone.items() if places[name] in rungs]
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _line(
    rung: str, model: str, labels: NDArray[np.float64], logits: NDArray[np.floating]
) -> dict[str, str | float | None]:
    metrics = evaluate(labels, logits, float(labels.mean()))
    return {"rung": rung, "model": model, **{name: getattr(metrics, name) for name in METRICS}}
