"""Frames as docs/store.md specifies them, made from a small planted world, to draw and test charts with."""

from __future__ import annotations

import numpy as np
import pandas as pd

from deepfm_core.evidence.cell_effects import observed_effects

FIELDS = (
    "ad_category",
    "placement",
    "device_type",
    "hour_of_day",
    "user_segment",
    "interests",
    "price",
    "publisher_domain",
    "region",
    "browser",
    "connection_type",
    "campaign_objective_of_the_advertiser",
)
LEVELS = {
    "device_type": ("mobile", "desktop", "tablet", "tv"),
    "ad_category": ("travel", "fashion", "games", "finance", "food", "auto", "health", "other (7 levels)"),
    "hour_of_day": ("0–6", "6–9", "9–12", "12–15", "15–18", "18–21", "21–24", "missing"),
}


def epochs(count: int = 12, best: int = 8, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    e = np.arange(1, count + 1)
    train = 0.30 + 0.16 * np.exp(-e / 3) - 0.002 * e + rng.normal(0, 0.001, count)
    valid = (
        0.327
        + 0.12 * np.exp(-e / 2.2)
        + 0.0007 * np.maximum(e - best, 0) ** 1.6
        + rng.normal(0, 0.0008, count)
        + (0.004 * rng.normal() if seed else 0)
    )
    lowest = np.minimum.accumulate(valid)
    return pd.DataFrame(
        {
            "epoch": e,
            "train_logloss": train,
            "valid_logloss": valid,
            "valid_auc": 0.81 - 0.2 * np.exp(-e / 2) - 0.0006 * np.maximum(e - best, 0),
            "best": valid == lowest,
        }
    )


def progress(epoch: int = 1, steps: int = 16, done: int = 9) -> pd.DataFrame:
    step = np.arange(1, done + 1)
    loss = 0.47 + 0.22 * np.exp(-(step + (epoch - 1) * steps) / 5)
    return pd.DataFrame({"epoch": epoch, "step": step, "steps": steps, "loss": loss})


def pairs(count: int = 12, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    names = [FIELDS[i] if i < len(FIELDS) else f"field_{i:02d}" for i in range(count)]
    rows = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    noise = np.abs(rng.normal(0.035, 0.02, len(rows)))
    for position, strength in ((3, 0.42), (17, 0.31), (20, 0.24), (31, 0.2), (40, 0.16), (55, 0.12)):
        noise[position % len(rows)] = strength
    frame = pd.DataFrame(rows, columns=["field_a", "field_b"])
    fm = noise * rng.uniform(0.4, 0.9, len(rows))
    return frame.assign(
        strength=noise,
        learned_fm=fm,
        learned_dnn=noise * rng.uniform(0.2, 0.6, len(rows)),
        learned=noise,
        observed=np.clip(noise * rng.normal(1.1, 0.2, len(rows)), 0, None),
        strength_low=np.clip(noise - 0.05, 0, None),
        strength_high=noise + 0.05,
        significant=noise > 0.09,
        support=rng.integers(20, 900, len(rows)),
    )


def fields(count: int = 12, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    names = [FIELDS[i] if i < len(FIELDS) else f"field_{i:02d}" for i in range(count)]
    within = [0.18 if name == "interests" else np.nan for name in names]
    effect = rng.gamma(2, 0.2, count)
    return pd.DataFrame(
        {"field": names, "kind": "categorical", "features": rng.integers(3, 200, count), "main_effect": effect}
    ).assign(within=within, order=np.arange(count))


def pairs_by_epoch(last: int = 10) -> pd.DataFrame:
    frame = pairs()
    parts = [frame.assign(epoch=e, learned_fm=frame["learned_fm"] * (1 - np.exp(-e / 3))) for e in range(1, last + 1)]
    return pd.concat(parts)[["epoch", "field_a", "field_b", "learned_fm"]]


def levels(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    parts = []
    for field, names in LEVELS.items():
        kept = [n for n in names if not n.startswith("other")]
        rows = (9000 / np.arange(1, len(kept) + 1) ** 1.2).astype(int)
        frame = pd.DataFrame({"field": field, "level": kept, "rows": rows, "order": range(len(kept))})
        parts.append(frame.assign(clicks=rng.binomial(rows, 0.18), effect=rng.normal(0, 0.5, len(kept))))
    return pd.concat(parts, ignore_index=True)


def level_pairs(field_a: str = "ad_category", field_b: str = "hour_of_day", seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    a, b = LEVELS[field_a], LEVELS[field_b]
    share_a, share_b = (1 / np.arange(1, n + 1) ** 1.2 for n in (len(a), len(b)))
    weight = np.outer(share_a / share_a.sum(), share_b / share_b.sum())
    rows = rng.poisson(2500 * weight)
    effect = rng.normal(0, 0.35, rows.shape)
    main = rng.normal(-1.6, 0.3, (len(a), 1)) + rng.normal(0, 0.3, (1, len(b)))
    learned = 0.7 * effect
    frame = pd.DataFrame([(i, j) for i in range(len(a)) for j in range(len(b))], columns=["i", "j"])
    i, j = frame["i"].to_numpy(), frame["j"].to_numpy()
    count = rows[i, j]
    frame = pd.DataFrame(
        {
            "field_a": field_a,
            "field_b": field_b,
            "level_a": [a[k] for k in i],
            "level_b": [b[k] for k in j],
            "rows": count,
            "clicks": rng.binomial(count, 1 / (1 + np.exp(-(main + effect)[i, j]))),
            "expected": count / (1 + np.exp(-(main + learned)[i, j])),
            "learned_fm": 0.6 * learned[i, j],
            "learned": learned[i, j],
        }
    )
    frame = frame[frame["rows"] > 0].reset_index(drop=True)
    return frame.assign(observed=observed_effects(frame, sd=0.5))


def predictions(count: int = 2000, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    logit = rng.normal(-1.9, 1.1, count)
    probability = 1 / (1 + np.exp(-logit))
    label = rng.random(count) < 1 / (1 + np.exp(-(0.85 * logit - 0.2)))
    frame = pd.DataFrame({"part": "test", "row": np.arange(count), "label": label.astype(float)})
    return frame.assign(logit=logit, probability=probability)


def examples(count: int = 2000, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = predictions(count, seed)
    share = np.clip(rng.normal(0.6, 0.08, count), 0.2, 1)
    fm = frame["logit"] * share + rng.normal(0, 0.25, count)
    return frame.assign(
        bias=-1.2, first_order=fm + 1.2 - 0.1, second_order=0.1, fm_logit=fm, dnn_logit=frame["logit"] - fm
    )


def example_terms(seed: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, str | None, str | None, float]] = [("bias", None, None, -1.43), ("dnn", None, None, 0.62)]
    rows += [("first-order", f, None, float(rng.normal(0, 0.35))) for f in FIELDS]
    rows += [("second-order", "interests", "interests", 0.07)]
    rows += [
        ("second-order", r["field_a"], r["field_b"], float(rng.normal(0, r["learned_fm"])))
        for r in pairs().to_dict("records")
    ]
    return pd.DataFrame(rows, columns=["term", "field_a", "field_b", "value"]).assign(row=17)


def purified_terms() -> pd.DataFrame:
    kinds = {"bias": "base", "dnn": "higher-order", "first-order": "main", "second-order": "pair"}
    frame = example_terms()
    return frame.assign(term=frame["term"].map(kinds), value=0.9 * frame["value"])


def dnn_attribution(seed: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    value = rng.normal(0, 0.2, len(FIELDS))
    return pd.DataFrame({"row": 17, "field": FIELDS, "value": value, "baseline": -0.2, "error": 0.001})


def example_cells() -> dict[str, str]:
    values = ("travel", "top banner", "mobile", "21", "new", "sports|cars|food", "12.5", "news.example.org")
    return dict(zip(FIELDS, (*values, "north", "firefox", "wifi", "awareness"), strict=True))


def slice_metrics() -> pd.DataFrame:
    value = np.array([0.842, 0.806, 0.771, 0.733])
    half = np.array([0.012, 0.016, 0.035, 0.081])
    frame = pd.DataFrame({"level": LEVELS["device_type"], "rows": [12040, 6210, 1320, 240], "auc": value})
    return frame.assign(low=value - half, high=value + half)


def models() -> pd.DataFrame:
    """The table of a comparison: the best model, one no more than noise away, one worse, and the baseline."""
    rows = []
    for title, logloss, difference in (("DeepFM", 0.36, None), ("FM", 0.362, 0.002), ("LR", 0.38, 0.02)):
        rows.append({"title": title, "baseline": False, **_metric("logloss", logloss, difference)})
        rows[-1] |= _metric("auc", 1 - logloss, None if difference is None else -difference)
    apart = _metric("logloss", 0.37, 0.01) | _metric("auc", 0.63, -0.01)
    return pd.DataFrame([*rows, {"title": "Gradient boosting", "baseline": True, **apart}])


def _metric(name: str, value: float, difference: float | None) -> dict[str, float | None]:
    low, high = (None, None) if difference is None else (difference - 0.005, difference + 0.005)
    found = {name: value, f"{name}_sd": 0.001, f"{name}_difference": difference}
    return {**found, f"{name}_low": low, f"{name}_high": high}


def model_runs() -> pd.DataFrame:
    """Two seeds of two models."""
    runs = [{"title": title, "seed": seed} for title in ("DeepFM", "FM") for seed in (0, 1)]
    return pd.DataFrame(runs).assign(logloss=[0.359, 0.361, 0.361, 0.363], auc=[0.64, 0.641, 0.638, 0.639])


def rungs() -> pd.DataFrame:
    """Three partial sums, and a model trained apart."""
    names = ["bias + first order", "+ FM pairs", "+ DNN", "bias + first order"]
    frame = pd.DataFrame({"rung": names, "title": ["", "", "", "LR"], "logloss": [0.38, 0.37, 0.36, 0.377]})
    return frame.assign(auc=1 - frame["logloss"]).assign(
        **{
            f"{m}_{end}": frame["logloss"] + d
            for m in ("auc", "logloss")
            for end, d in (("low", -0.02), ("high", 0.02))
        }
    )
