"""What may be said of the pairs: the strongest, how far to trust the order, and each pair's verdict."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import home, links
from app.charts.pairs import pair_label
from app.inputs import plain
from deepfm_core.explain.verdicts import HOLDS, LEARNED, has_evidence

WHERE = {
    "learned": " in its whole logit",
    "learned_fm": " in its FM part",
    "learned_dnn": " in its DNN part",
    "strength": " in the data",
    "observed": " in the data, looked at alone",
    "held_out_strength": " on unseen rows",
}
FIGURES = (
    ("strength", "data", ".2f"),
    ("learned", "model", ".2f"),
    ("held_out_strength", "on unseen rows", ".2f"),
    ("held_out_z", "held-out z", ".1f"),
)


def finding(run: home.OpenRun, pairs: pd.DataFrame, measure: str) -> None:
    """Say which pair is strongest, and what that is worth."""
    best = pairs.sort_values(measure, ascending=False, kind="stable").iloc[0]
    name = plain(pair_label(best["field_a"], best["field_b"]))
    if has_evidence(pairs):
        _finding_with_evidence(pairs, name, float(best[measure]), measure)
        return
    st.markdown(f"This model makes most of **{name}**: {best[measure]:.2f} log-odds{WHERE.get(measure, '')}.")
    rows = run.summary.get("rows", {}).get("train")
    size = f" of {rows:,} training rows" if rows else ""
    st.caption(
        f"Take the order as a hint. It is what this one model{size} learned; on tables with planted pairs, one model's "
        "ranking at such sizes finds them little better than chance. Check a pair against the data below before you "
        "believe it."
    )


def _finding_with_evidence(pairs: pd.DataFrame, name: str, strength: float, measure: str) -> None:
    solid = pairs[pairs["solid"].fillna(False).astype(bool)]
    if solid.empty:
        st.markdown(f"**Nothing was told apart from noise:** none of {len(pairs)} pairs stands out in these data.")
        return
    text = (
        f"**{len(solid)} of {len(pairs)}** pairs {'is' if len(solid) == 1 else 'are'} told apart from noise in the data"
    )
    learned = solid["verdict"].isin([LEARNED, HOLDS]).sum()
    text += f"; the model learned {'all' if learned == len(solid) else learned or 'none'} of them."
    st.markdown(f"{text} The strongest is **{name}** with {strength:.2f} log-odds{WHERE.get(measure, '')}.")


def evidence(row: pd.Series) -> str:
    """Write a pair's verdict with the figures behind it; empty where the frame holds no evidence."""
    judged = str(row["verdict"])
    if not judged:
        return ""
    figures = [f"{title} {row[name]:{form}}" for name, title, form in FIGURES if name in row and pd.notna(row[name])]
    figures += [_knock_out(row)] if pd.notna(row.get("knock_out_low")) else []
    figures += [_false_discovery(row["q_value"])] if pd.notna(row.get("q_value")) else []
    return f"**{judged[0].upper()}{judged[1:]}**" + (f" ({', '.join(figures)})." if figures else ".")


def _knock_out(row: pd.Series) -> str:
    rise, low, high = (1000 * float(row[f"knock_out_{name}"]) for name in ("logloss", "low", "high"))
    return f"without it, logloss on unseen rows {'rises' if rise >= 0 else 'falls'} by {abs(rise):.2f} thousandths " + (
        f"({low:.2f} to {high:.2f})"
    )


def _false_discovery(rate: float) -> str:
    return "false discovery rate " + ("under 0.1%" if rate < 0.001 else f"{rate:.1%}")


def no_pairs(run: home.OpenRun) -> None:
    """Say that a model without pairs has none, and what to do."""
    st.info(
        f"Run `{run.name}` is a logistic regression: its logit is a sum over single fields, so no two fields interact. "
        "Train FM, DNN or DeepFM on the same table to see pairs; what each field does alone stands below.",
        icon=":material/functions:",
    )
    if st.button("Train another model", icon=":material/model_training:"):
        links.go("train")
