"""What the evidence of pairs costs: seconds and memory, stage by stage. Prints the table of docs/interactions.md.

    python benchmarks/evidence.py --sizes 12x20000 39x1000000

Tables are drawn as encoded rows, so that nothing but the stages is measured: a third of the fields are numbers, the
others have Zipf-like vocabularies of 3 to 100,000 values, and six pairs interact. The model is the recommended DeepFM
after one epoch. Every stage runs in a process of its own; memory is by how much its peak exceeds what is held when the
stage begins, which is the table and the model. Needs Linux, which says how much memory a process held at most.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deepfm_core.encoding.encoded_table import EncodedField, EncodedTable, Layout
from deepfm_core.schema.kinds import Kind

KNOTS = 16
LARGEST = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["12x20000", "39x1000000"], help="FIELDSxROWS")
    parser.add_argument("--stages", nargs="+", default=list(STAGES))
    options = parser.parse_args()
    print("| fields x rows | stage | seconds | memory beyond table and model (MB) | table and model (MB) |")
    print("|---|---|---|---|---|")
    context = multiprocessing.get_context("fork")
    for size in options.sizes:
        fields, rows = map(int, size.split("x"))
        for stage in options.stages:
            ours, theirs = context.Pipe()
            process = context.Process(target=measured, args=(fields, rows, stage, theirs))
            process.start()
            theirs.close()
            found = ours.recv()
            process.join()
            cells = [f"{fields} x {rows:,}", stage, f"{found['seconds']:.1f}"]
            print(
                f"| {' | '.join([*cells, *(format(found[name], ',.0f') for name in ('peak', 'held'))])} |", flush=True
            )
            print(json.dumps({"size": size, "stage": stage} | found), file=sys.stderr, flush=True)


def measured(fields: int, rows: int, stage: str, answer: object) -> None:
    """Prepare a table and a model, run one stage, and send its cost."""
    import torch

    torch.set_num_threads(1)
    table = drawn_table(fields, rows)
    work = STAGES[stage](table)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    held = memory("VmRSS")
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    answer.send({"seconds": seconds, "peak": memory("VmHWM") - held, "held": held})  # type: ignore[attr-defined]


def memory(name: str) -> float:
    """Give what this process holds (`VmRSS`) or held at most (`VmHWM`), in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def drawn_table(fields: int, rows: int, seed: int = 0) -> EncodedTable:
    """Draw an encoded table with labels, a column at a time."""
    rng = np.random.default_rng(seed)
    layout = drawn_layout(fields, rng)
    ids = np.empty((rows, layout.slots), np.int32)
    weights = np.ones((rows, layout.slots), np.float32)
    code = np.empty((fields, rows), np.int8)
    for number, field in enumerate(layout.fields):
        if field.kind is Kind.PIECEWISE:
            place = rng.random(rows, dtype=np.float32) * (KNOTS - 1)
            ids[:, field.first_slot] = field.offset + place.astype(np.int32)
            ids[:, field.first_slot + 1] = ids[:, field.first_slot] + 1
            weights[:, field.first_slot + 1] = place % 1
            weights[:, field.first_slot] = 1 - place % 1
        else:
            draw = np.floor(field.size ** rng.random(rows, dtype=np.float32)).astype(np.int32) - 1  # Zipf, exponent 1
            ids[:, field.first_slot] = field.offset + np.minimum(draw, field.size - 1)
        code[number] = (ids[:, field.first_slot] - field.offset) % 7
    logit = np.full(rows, -1.6, np.float32)
    for number in range(fields):
        logit += rng.normal(0, 1.2 / np.sqrt(fields), 7).astype(np.float32)[code[number]]
    for a in range(0, min(12, fields - 1), 2):
        logit += rng.normal(0, 0.3, (7, 7)).astype(np.float32)[code[a], code[a + 1]]
    labels = (rng.random(rows, dtype=np.float32) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    return EncodedTable(layout, ids, weights, np.zeros((rows, 0), np.float32), labels)


def drawn_layout(fields: int, rng: np.random.Generator) -> Layout:
    found, slot, offset = [], 0, 0
    for number in range(fields):
        number_like = number % 3 == 2
        size = KNOTS if number_like else int(3 * (LARGEST / 3) ** rng.random())
        kind, slots = (Kind.PIECEWISE, 2) if number_like else (Kind.CATEGORICAL, 1)
        names = tuple(map(str, range(size)))
        found.append(EncodedField(f"f{number}", f"f{number}", kind, slot, slots, offset, size, names, None))
        slot, offset = slot + slots, offset + size
    return Layout(tuple(found))


def observed(table: EncodedTable) -> Callable[[], object]:
    from deepfm_core.evidence.ranking import observed_interactions

    return lambda: observed_interactions(table)


def explain_stage(table: EncodedTable) -> Callable[[], object]:
    """Everything of the stage that grows with rows or pairs: strengths, purified terms, levels, level pairs."""
    from deepfm_core.evidence.designs import field_levels
    from deepfm_core.explain import frames, row_terms
    from deepfm_core.explain.frames import sample_rows
    from deepfm_core.explain.learned import learned_pairs
    from deepfm_core.explain.row_terms import purified_terms
    from deepfm_core.metrics.scores import sigmoid
    from deepfm_core.runs.explain_stage import SAMPLE_ROWS, network_background, network_sample
    from deepfm_core.training.fit import predict_logits

    model = trained(table)

    def work() -> None:
        sample = sample_rows(table, 0, SAMPLE_ROWS)
        rows, background = network_sample(model, sample)
        learned = learned_pairs(model, sample, network_rows=rows, background=background)
        examples = table.take(row_terms.example_rows(model, table, 0))
        purified_terms(model, sample, learned, examples, background=network_background(model, examples))
        frames.levels_frame(model, table, sample, field_levels(sample))
        frames.level_pairs_frame(model, table, sigmoid(predict_logits(model, table)), background, 0)

    return work


def held_out(table: EncodedTable) -> Callable[[], object]:
    """Five folds, with an epoch of training each; more epochs cost what training costs."""
    from deepfm_core.evidence.cross_fit import MOST_VALUES, fold_evidence, held_out_frame
    from deepfm_core.runs.cross_fit_stage import ModelLearner
    from deepfm_core.spec.presets import preset

    model, fit = preset("recommended", "deepfm", len(table))
    trained(table.take(np.arange(1000)))  # loads what is loaded once
    pairs = len(table.layout.fields) * (len(table.layout.fields) - 1) // 2
    learner = ModelLearner(table, model, fit, [1], 0, MOST_VALUES // pairs)
    return lambda: held_out_frame(list(fold_evidence(table, learner=learner)), table)


def trained(table: EncodedTable):
    from deepfm_core.spec.presets import preset
    from deepfm_core.training.fit import train_epochs
    from deepfm_core.training.state import FitState

    model, fit = preset("recommended", "deepfm", len(table))
    state = FitState.new(table.layout, model, fit, seed=0)
    for _ in train_epochs(fit, table, state, [1]):
        pass
    return state.model


STAGES = {"observed": observed, "learned": explain_stage, "out of fold": held_out}


if __name__ == "__main__":
    main()
