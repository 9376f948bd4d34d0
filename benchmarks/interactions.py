"""Which method finds the planted pairs? Prints the table of docs/interactions.md.

    python -m venv .venv-bench && .venv-bench/bin/pip install -r benchmarks/interactions_requirements.txt
    python benchmarks/interactions.py --peers .venv-bench/bin/python --worlds 5 --rows 5000 20000 100000
    python benchmarks/interactions.py --kinds categorical other --methods observed --worlds 16 --first-seed 100
    python benchmarks/interactions.py --kinds categorical other --methods observed known --rows 20000 --worlds 10

`known` scores each pair beside the true effects of all other pairs and of the three-way part: no way to explain these
can rank better by the same likelihood.

Worlds have 12 fields with 6 of 66 pairs planted (deepfm_core/synthetic/worlds.py); those of kind `other` are drawn by
another generator (benchmarks/other_worlds.py). Every method sees the same rows; seconds are of processor time, on one
thread.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.other_worlds import other_world
from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.evidence.cross_fit import out_of_fold_evidence
from deepfm_core.evidence.designs import FieldDesign, field_designs
from deepfm_core.evidence.joint import Related, likelihoods
from deepfm_core.evidence.main_effects import fit_main_effects
from deepfm_core.evidence.posterior import over_rows, posterior
from deepfm_core.evidence.ranking import MOST_DRAWS, labels_of, observed_interactions
from deepfm_core.evidence.score_test import Residuals, null_residuals, score_pair
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import FieldRole, LabelRole, Schema
from deepfm_core.synthetic.worlds import CATEGORICAL, MIXED, MULTI_VALUED, World, make_world

SPECS = {"categorical": CATEGORICAL, "mixed numeric": MIXED, "multi-valued": MULTI_VALUED}
OTHER, NONE, OTHER_NONE = "other", "no interaction", "other, no interaction"
RESULTS = ["rows", "kind", "seed", "method", "roc_auc", "precision", "seconds", "clear_planted", "clear_false"]
Scores = dict[tuple[str, str], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", help="python of the environment the peers are installed in")
    parser.add_argument("--rows", type=int, nargs="+", default=[5_000, 20_000])
    parser.add_argument("--worlds", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", default=list(SPECS), choices=[*SPECS, OTHER], metavar="KIND")
    parser.add_argument("--first-seed", type=int, default=900)
    parser.add_argument("--methods", nargs="+", default=["observed", "cells", "model", "naive", "fast", "shap"])
    parser.add_argument("--results", type=Path, help="CSV file that results are added to, one row a method and world")
    options = parser.parse_args()
    results = []
    for result in all_results(options):
        results.append(result)
        print(json.dumps(result), file=sys.stderr, flush=True)
        if options.results:
            frame = pd.DataFrame([result], columns=RESULTS)
            frame.to_csv(options.results, mode="a", index=False, header=not options.results.exists())
    print(markdown(pd.DataFrame(results, columns=RESULTS)))


def all_results(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    controls = [NONE] * (set(options.kinds) != {OTHER}) + [OTHER_NONE] * (OTHER in options.kinds)
    for rows in options.rows:
        for kind in [*options.kinds, *controls]:
            for seed in range(options.first_seed, options.first_seed + options.worlds):
                for result in methods_on(made(kind, rows, seed), options, kind in controls):
                    yield {"rows": rows, "kind": kind, "seed": seed} | result


def made(kind: str, rows: int, seed: int) -> World:
    """Draw a world of a kind."""
    if kind in (OTHER, OTHER_NONE):
        return other_world(rows, seed, interactions=kind == OTHER)
    none = list(SPECS.values())[seed % len(SPECS)].without_interactions()
    return make_world(rows, seed, none if kind == NONE else SPECS[kind])


def methods_on(world: World, options: argparse.Namespace, control: bool) -> Iterator[dict[str, Any]]:
    table = encode(world)
    if "observed" in options.methods:
        began = time.process_time()
        frame = observed_interactions(table)
        seconds = time.process_time() - began
        clear = significant_pairs(frame, world)
        if control:
            yield {"method": "observed: strength", "seconds": seconds} | clear
            return
        yield evaluated("observed: strength", column(frame, "strength"), world, seconds) | clear
        yield evaluated("observed: most likely strength", column(frame, "observed"), world, seconds)
        yield evaluated("observed: z", column(frame, "observed_z"), world, seconds)
    if control:
        return
    if "known" in options.methods:
        began = time.process_time()
        scores = all_else_known(table, world)
        yield evaluated("observed: strength, all else known", scores, world, time.process_time() - began)
    if "cells" in options.methods:
        began = time.process_time()
        frame = out_of_fold_evidence(table)
        yield evaluated("out of fold: cell effects", column(frame, "held_out_z"), world, time.process_time() - began)
    if "model" in options.methods:
        learned, held_out, both = recommended_model(table)
        yield evaluated("one recommended DeepFM: purified whole logit", learned, world, both[0])
        yield evaluated("out of fold: recommended DeepFM", held_out, world, both[1])
    if "naive" in options.methods:
        scores, seconds = naive_heat_map(table)
        yield evaluated("naive heat map of a DeepFM", scores, world, seconds)
    peers = [method for method in ("fast", "shap") if method in options.methods]
    if options.peers and peers:
        names = {"fast": "FAST (interpret-core)", "shap": "SHAP interaction values (XGBoost)"}
        for method, found in run_peers(options.peers, world, peers).items():
            pairs = combinations(list(world.kinds), 2)
            yield evaluated(names[method], dict(zip(pairs, found["scores"], strict=True)), world, found["seconds"])


def encode(world: World) -> EncodedTable:
    """Encode a world with the kinds it was made with."""
    kinds = {name: Kind.PIECEWISE if kind is Kind.NUMERIC else kind for name, kind in world.kinds.items()}
    roles = tuple(FieldRole(n, k, "|" if k is Kind.MULTI_VALUED else None) for n, k in kinds.items())
    frame = world.frame.astype(str).astype("category")
    schema = Schema(LabelRole("click", "1", "0"), roles)
    return Encoder.fit(frame, schema).encode_with_labels(frame, subject="world")


def column(frame: pd.DataFrame, name: str) -> Scores:
    return {(a, b): float(score) for a, b, score in frame[["field_a", "field_b", name]].itertuples(index=False)}


def all_else_known(table: EncodedTable, world: World) -> Scores:
    """Rank pairs by strength, each beside the true effects of all others and of the three-way part."""
    truth, names = world.truth, table.layout.names
    designs, labels = field_designs(table), labels_of(table)
    pairs = list(combinations(range(len(names)), 2))
    planted = dict(zip(truth.pair_parts, truth.pair_parts.to_numpy().T, strict=True))
    others = np.sum([truth.parts["three_way"].to_numpy(), *planted.values()], axis=0)
    with threadpool_limits(1, user_api="blas"):
        beside_all = _beside(designs, labels, others)
        scores = []
        for a, b in pairs:
            own = planted.get(f"{names[a]} × {names[b]}", planted.get(f"{names[b]} × {names[a]}"))
            scores.append(score_pair(beside_all if own is None else _beside(designs, labels, others - own), a, b))
    evidence = likelihoods(scores)
    strengths = over_rows(evidence, posterior(evidence), np.stack([score.row_sds for score in scores]))[0]
    strengths *= ~Related.of(designs, pairs).determined
    return {(names[a], names[b]): float(s) for (a, b), s in zip(pairs, strengths, strict=True)}


def _beside(designs: Sequence[FieldDesign], labels: np.ndarray, others: np.ndarray) -> Residuals:
    fit = fit_main_effects(designs, labels, offset=others)
    p = fit.probability
    return Residuals(
        designs, labels - p, p * (1 - p), null_residuals(designs, fit, MOST_DRAWS, np.random.default_rng(1))
    )


def recommended_model(table: EncodedTable) -> tuple[Scores, Scores, tuple[float, float]]:
    """Train the recommended DeepFM as a run does: what it learned, and whether that holds out of fold; with seconds."""
    import torch

    from deepfm_core.explain.frames import sample_rows
    from deepfm_core.explain.learned import learned_pairs
    from deepfm_core.runs.cross_fit_stage import ModelLearner
    from deepfm_core.runs.explain_stage import SAMPLE_ROWS, network_sample
    from deepfm_core.spec.presets import preset
    from deepfm_core.training.fit import fit
    from deepfm_core.training.state import FitState

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    began = time.process_time()
    order = np.random.default_rng(0).permutation(len(table))
    cut = len(order) // 10
    model, settings = preset("recommended", "deepfm", len(order) - cut)
    state = FitState.new(table.layout, model, settings, seed=0)
    for _ in fit(settings, table.take(order[cut:]), table.take(order[:cut]), state):
        pass
    sample = sample_rows(table.take(order[cut:]), 0, SAMPLE_ROWS)
    rows, background = network_sample(state.model, sample)
    learned = learned_pairs(state.model, sample, network_rows=rows, background=background).whole
    fitted = time.process_time()
    learner = ModelLearner(table, model, settings, state.best_epochs, 0, len(table))
    frame = out_of_fold_evidence(table, learner=learner)
    names = combinations(table.layout.names, 2)
    seconds = fitted - began, time.process_time() - fitted
    return dict(zip(names, map(float, learned), strict=True)), column(frame, "held_out_z"), seconds


def naive_heat_map(table: EncodedTable) -> tuple[Scores, float]:
    """Mean |⟨e_f, e_g⟩| over rows of a DeepFM as in the paper: what most tools would draw."""
    import torch

    from deepfm_core.spec.run import FitSpec, ModelSpec
    from deepfm_core.training.fit import fit
    from deepfm_core.training.state import FitState

    torch.set_num_threads(1)
    began = time.process_time()
    order = np.random.default_rng(0).permutation(len(table))
    cut = len(order) // 10
    state = FitState.new(table.layout, ModelSpec(), FitSpec(), seed=0)
    for _ in fit(FitSpec(), table.take(order[cut:]), table.take(order[:cut]), state):
        pass
    e = state.model.embeddings_of(table.take(order[:20_000])).numpy()
    pairs = combinations(range(e.shape[1]), 2)
    names = table.layout.names
    scores = {(names[a], names[b]): float(np.abs((e[:, a] * e[:, b]).sum(1)).mean()) for a, b in pairs}
    return scores, time.process_time() - began


def run_peers(python: str, world: World, methods: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.npz"
        np.savez(path, allow_pickle=False, **columns_for_peers(world))
        script = Path(__file__).with_name("interactions_peers.py")
        done = subprocess.run([python, str(script), str(path), *methods], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def columns_for_peers(world: World) -> dict[str, np.ndarray]:
    """Give numbers as they are, categories as codes, and a multi-valued field as one 0/1 column per value."""
    values, nominal, field = [], [], []
    for number, (name, kind) in enumerate(world.kinds.items()):
        cells = world.frame[name]
        if kind is Kind.MULTI_VALUED:
            columns = cells.str.get_dummies("|").to_numpy(np.float64).T
        elif kind is Kind.NUMERIC:
            columns = cells.to_numpy(np.float64)[None]
        else:
            columns = pd.factorize(cells)[0].astype(np.float64)[None]
        values.append(columns)
        nominal += [kind is Kind.CATEGORICAL] * len(columns)
        field += [number] * len(columns)
    return {
        "values": np.concatenate(values).T,
        "nominal": np.array(nominal),
        "field": np.array(field),
        "labels": world.frame["click"].to_numpy(),
    }


def evaluated(method: str, scores: Scores, world: World, seconds: float) -> dict[str, Any]:
    """Compare a ranking with the truth: ROC-AUC of planted pairs, and the precision among as many as were planted."""
    truth = world.truth.pairs
    planted = (truth["strength"] > 0).to_numpy()
    values = np.array([scores[a, b] for a, b in truth[["field_a", "field_b"]].itertuples(index=False)])
    first = np.argsort(-values, kind="stable")[: planted.sum()]
    return {
        "method": method,
        "roc_auc": float(roc_auc_score(planted, values)),
        "precision": float(planted[first].mean()),
        "seconds": seconds,
    }


def significant_pairs(frame: pd.DataFrame, world: World) -> dict[str, int]:
    """Count the pairs that are clear above noise, planted or not."""
    truth = world.truth.pairs.set_index(["field_a", "field_b"])["strength"]
    clear = frame[frame["significant"]]
    planted = sum(int(truth[a, b] > 0) for a, b in clear[["field_a", "field_b"]].itertuples(index=False))
    return {"clear_planted": planted, "clear_false": len(clear) - planted}


def markdown(results: pd.DataFrame) -> str:
    """Lay the means out as the tables of the documentation."""
    lines = []
    ranked = results[~results["kind"].isin([NONE, OTHER_NONE])]
    sizes = sorted(ranked["rows"].unique())
    for kind in ranked["kind"].unique():
        here = ranked[ranked["kind"] == kind]
        head = " | ".join(f"{rows:,} rows" for rows in sizes)
        lines += [f"**{kind}** ({here['seed'].nunique()} worlds each)", "", f"| score | {head} | CPU seconds |"]
        lines += ["|---" * (len(sizes) + 2) + "|"]
        for method in here["method"].unique():
            one = here[here["method"] == method].groupby("rows")[["roc_auc", "precision", "seconds"]].mean()
            cells = [f"{one.roc_auc[r]:.3f} / {one.precision[r]:.2f}" if r in one.index else "" for r in sizes]
            seconds = " · ".join(f"{one.seconds[r]:.1f}" if r in one.index else "" for r in sizes)
            lines.append(f"| {method} | {' | '.join(cells)} | {seconds} |")
        lines.append("")
    calls = results.dropna(subset=["clear_false"]).groupby(["kind", "rows"], sort=False)
    lines += ["| worlds | rows | clear, planted (of 6) | clear, not planted | worlds |", "|---|---|---|---|---|"]
    for (kind, rows), one in calls:
        planted = "" if kind in (NONE, OTHER_NONE) else f"{one['clear_planted'].mean():.1f} a world"
        lines.append(f"| {kind} | {rows:,} | {planted} | {int(one['clear_false'].sum())} in all | {len(one)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
