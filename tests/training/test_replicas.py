"""One fit by several workers: the steps, the rows and the scores of a fit by one, whatever their number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from deepfm_core.encoding.encoded_table import EncodedTable, Layout
from deepfm_core.encoding.sharding import Shards, ShardWriter, open_shards
from deepfm_core.models.batch import Batch, Share
from deepfm_core.models.network import DropoutMasks
from deepfm_core.schema.kinds import Kind
from deepfm_core.spec.events import EpochDone
from deepfm_core.spec.run import MODEL_NAMES, FitSpec, ModelSpec
from deepfm_core.training import embedding_table as table_module
from deepfm_core.training import step as step_module
from deepfm_core.training.fit import fit
from deepfm_core.training.replicas.exchange import Replicas
from deepfm_core.training.replicas.rows import SharedRows, stretch
from deepfm_core.training.replicas.team import Team, follow, step_with
from deepfm_core.training.rows import TrainingRows
from deepfm_core.training.state import FitState
from deepfm_core.training.step import Step
from tests.training.test_step import FIT, LARGE, MODELS, SHAPES, batch_of, model_of
from tests.training.threads_as_workers import together
from tests.worlds import MIXED, crossed, encoded, layout

pytestmark = pytest.mark.slow


def own_share(batch: Batch, replicas: Replicas) -> Batch:
    """Give the share of a batch that a worker has."""
    rows = len(batch)
    first, stop = stretch(rows, replicas.rank, replicas.size) if rows >= replicas.size else (0, rows)
    copies = 1 if rows >= replicas.size else replicas.size
    return replace(batch.slice(first, stop), share=Share(first, rows, copies))


def masks_of(spec: ModelSpec, batch: Batch, seed: int) -> list[torch.Tensor]:
    source = DropoutMasks(spec.layers if spec.deep else (), spec.dropout, torch.device("cpu"))
    source.seed(seed)
    share = batch.share or Share(0, len(batch))
    drawn = source.draw(share.rows, slice(share.first, share.first + len(batch)))
    return [mask.to(batch.dense.dtype) for mask in drawn]


def steps(
    shape: Layout, spec: ModelSpec, fitting: FitSpec, rows: list[int], replicas: Replicas | None
) -> tuple[Step, dict[str, torch.Tensor], list[float]]:
    """Take a step on each of some batches, in float64; give the step, the weights after them, and the mean losses."""
    model, losses = model_of(shape, spec).double(), []
    step = Step(model, fitting, replicas)
    step.begin_epoch()
    for number, count in enumerate(rows):
        batch = batch_of(shape, count, number).double()
        part = batch if replicas is None else own_share(batch, replicas)
        logit = step(part, masks_of(spec, part, number))
        alone = torch.nn.functional.binary_cross_entropy_with_logits(logit, part.labels, reduction="sum")
        losses.append(float(alone if step.loss is None else step.loss) / count)
        if number % 3 == 2:
            step.average(number // 3 + 1)
    step.end_epoch()
    return step, model.state_dict(), losses


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: float((one[name].double() - other[name].double()).abs().max()) for name in one if one[name].numel()}


@pytest.fixture(scope="module", autouse=True)
def models_made_one_at_a_time() -> Iterator[None]:
    """Threads share torch's random state: a model is made by one at a time."""
    import threading

    made, lock = globals()["model_of"], threading.Lock()

    def one_at_a_time(shape: Layout, spec: ModelSpec) -> Any:
        with lock:
            return made(shape, spec)

    globals()["model_of"] = one_at_a_time
    yield
    globals()["model_of"] = made


@pytest.mark.parametrize("settings", MODELS, ids=lambda settings: "-".join(map(str, settings.values())))
@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradients_of_workers_are_those_of_the_whole_batch(shape: str, settings: dict[str, Any]) -> None:
    spec = ModelSpec(embedding_size=3, layers=(5, 4), **settings)

    def gradients(replicas: Replicas | None) -> dict[str, torch.Tensor]:
        model = model_of(SHAPES[shape], spec).double()
        batch, step = batch_of(SHAPES[shape], 25, 2).double(), Step(model, FIT, replicas)
        part = batch if replicas is None else own_share(batch, replicas)
        step.differentiate(part, masks_of(spec, part, 5))
        return {**step.gradients, **{name: one for name, one in model.named_buffers() if "running" in name}}

    alone, found = gradients(None), together(3, gradients)
    assert max(apart(alone, found[0]).values()) < 1e-10, apart(alone, found[0])
    assert all(torch.equal(found[0][name], other[name]) for other in found[1:] for name in alone)


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("rows_alone", [False, True])
@pytest.mark.parametrize("name", ["lr", "deepfm", "wide-deep", "fm-dnn", "pnn", "dcn"])
def test_steps_of_workers_end_with_the_weights_of_one(
    name: str, rows_alone: bool, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "ALWAYS_WHOLE", 0)
    for module in (step_module, table_module):
        monkeypatch.setattr(module, "worth_rows", lambda *_: rows_alone)
    spec = ModelSpec(name, 4, (6,), activation="tanh", dropout=0.3, centred=True)
    fitting = FitSpec(learning_rate=0.01, l2=1e-3, embedding_l2=1e-2, first_order_rate=3.0, averaging=True)
    rows = [*[20] * 30, 7, 2, 1]  # the last ones are shorter, two of them than there may be workers
    _, alone, losses = steps(LARGE, spec, fitting, rows, None)
    found = together(workers, lambda replicas: steps(LARGE, spec, fitting, rows, replicas))
    assert max(apart(alone, found[0][1]).values()) < 1e-9, apart(alone, found[0][1])
    np.testing.assert_allclose(found[0][2], losses, atol=1e-10)
    for _, weights, _ in found[1:]:
        assert all(torch.equal(weights[key], found[0][1][key]) for key in weights)  # to the last bit


def test_a_worker_is_sent_the_touched_rows_of_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_module, "worth_rows", lambda *_: True)
    shape = Layout(LARGE.fields)
    spec, batch = ModelSpec("fm", 4), batch_of(shape, 20, 0)

    def received(replicas: Replicas) -> dict[str, float]:
        step = Step(model_of(shape, spec), FIT, replicas)
        step(own_share(batch, replicas))
        return replicas.received

    parts = [batch.slice(*stretch(20, rank, 2)).ids.unique().numel() for rank in range(2)]
    assert max(parts) < 60 < shape.vocabulary
    for counted in together(2, received):
        assert counted["gradients"] == max(parts) * 5 * 4
        assert counted["ids"] == 8 + max(parts) * 4
        assert counted["network"] == 4 * 2  # bias and loss


def on_the_disk(folder: Path, table: EncodedTable, window: int) -> Shards:
    """Put rows on the disk, of which `window` may be in memory."""
    with ShardWriter(folder) as writer:
        for part in ("train", "valid", "test"):
            writer.write(part, table)
        writer.finish({})
    shards = open_shards(folder, table.layout, 1)[0]["train"]
    return replace(shards, window=window)


def kept(batch: Batch) -> list[np.ndarray]:
    parts = (batch.ids, batch.weights, batch.dense, batch.labels, batch.offset)
    return [part.clone().numpy() for part in parts if part is not None]


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("window", [600, 1_000, 5_000])
def test_workers_have_the_batches_of_one_between_them(tmp_path: Path, workers: int, window: int) -> None:
    table = encoded(MIXED, 2_503, 0)
    shards, cpu = on_the_disk(tmp_path, table, window), torch.device("cpu")

    def offset(batch: Batch) -> torch.Tensor:
        return batch.ids.float().sum(1)

    def batches(replicas: Replicas) -> list[tuple[Share | None, list[np.ndarray]]]:
        rows = SharedRows(shards, cpu, replicas, offset)
        return [(batch.share, kept(batch)) for batch in rows.batches(3, 100)]

    expected = [kept(batch) for batch in TrainingRows(shards, cpu, offset).batches(3, 100)]
    found = together(workers, batches)
    assert [len(one) for one in found] == [len(expected)] * workers
    for number, whole in enumerate(expected):
        if len(whole[0]) < workers:
            parts = [found[0][number][1]]
            assert all(one[number][0].copies == workers for one in found)
        else:
            parts = [one[number][1] for one in found]
            firsts = np.cumsum([0, *(len(part[0]) for part in parts)])[:-1]
            assert [one[number][0].first for one in found] == list(firsts)
        for place, array in enumerate(whole):
            np.testing.assert_array_equal(np.concatenate([part[place] for part in parts]), array)


def test_a_worker_reads_its_own_stretch_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = on_the_disk(tmp_path, encoded(MIXED, 2_000, 0), 600)
    seen: list[tuple[int, int]] = []
    read = Shards.read
    monkeypatch.setattr(Shards, "read", lambda self, ranges: (seen.extend(ranges), read(self, ranges))[1])

    def batches(replicas: Replicas) -> None:
        for _ in SharedRows(shards, torch.device("cpu"), replicas).batches(0, 100):
            pass

    together(4, batches)
    cuts = [stretch(2_000, rank, 4) for rank in range(4)]
    assert all(any(first <= start and end <= stop for first, stop in cuts) for start, end in seen)
    assert sum(end - start for start, end in seen) == 2_000


@examples(max_examples=25)
@given(st.integers(1, 400), st.integers(1, 60), st.integers(1, 9), st.integers(0, 5))
def test_each_row_is_in_one_share_whatever_the_sizes(rows: int, size: int, workers: int, seed: int) -> None:
    table = encoded(layout([(Kind.CATEGORICAL, 1, 3)]), rows, 0)
    numbered = replace(table, dense=np.arange(rows, dtype=np.float32)[:, None])

    def seen(replicas: Replicas) -> list[np.ndarray]:
        shared = SharedRows(numbered, torch.device("cpu"), replicas)
        return [b.dense[:, 0].numpy() / b.share.copies for b in shared.batches(seed, size) if b.share is not None]

    weights = np.concatenate([np.concatenate(one) for one in together(workers, seen)])
    assert weights.sum() == pytest.approx(rows * (rows - 1) / 2)


def losses_of(events: Iterator[Any]) -> list[tuple[float, float]]:
    return [(one.train_logloss, one.valid_logloss) for one in events if isinstance(one, EpochDone)]


def fitted(spec: ModelSpec, fitting: FitSpec, rows: EncodedTable, valid: EncodedTable, workers: int) -> Any:
    """Fit with so many workers, 0 for a fit by itself; give the losses of each epoch, and the weights."""
    if not workers:
        state = FitState.new(rows.layout, spec, fitting, 1)
        return losses_of(fit(fitting, rows, valid, state)), state.model.state_dict()
    states = {rank: FitState.new(rows.layout, spec, fitting, 1) for rank in range(workers)}
    for rank in range(1, workers):  # a follower's own weights do not matter
        for value in states[rank].model.state_dict().values():
            value.zero_()

    def work(replicas: Replicas) -> Any:
        state = states[replicas.rank]
        state.step_by(step_with(replicas), fitting)
        if replicas.rank:
            return follow(fitting, rows, valid, state, replicas)
        team = Team(replicas, rows, valid)
        losses = losses_of(fit(fitting, rows, valid, state, team))
        team.end()
        return losses, state.model.state_dict()

    return together(workers, work)[0]


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_fit_by_workers_has_the_loss_curve_of_a_fit_by_one(name: str, workers: int) -> None:
    shape = crossed(MIXED, 12, 7)
    spec = ModelSpec(name, 4, (6,), activation="tanh", dropout=0.3, centred=True)
    fitting = FitSpec(epochs=5, batch_size=64, averaging=True, l2=1e-3, reduce_on_plateau="logloss", patience=1)
    rows, valid = encoded(shape, 500, 0), encoded(shape, 101, 1)
    losses, weights = fitted(spec, fitting, rows, valid, 0)
    found, replica = fitted(spec, fitting, rows, valid, workers)
    np.testing.assert_allclose(found, losses, atol=1e-5)
    assert max(apart(weights, replica).values()) < 1e-4


@pytest.mark.parametrize("name", ["fm", "deepfm"])
def test_a_guided_fit_by_workers_has_the_loss_curve_of_a_fit_by_one(name: str) -> None:
    kinds = [(Kind.CATEGORICAL, 1, 6), (Kind.CATEGORICAL, 1, 5), (Kind.NUMERIC, 1, 2), (Kind.CATEGORICAL, 1, 30)]
    shape = layout(kinds)
    rows, valid = planted(encoded(shape, 2_000, 0)), planted(encoded(shape, 301, 1))
    spec = ModelSpec(name, 4, (6,), activation="tanh", centred=True, guided=True, embedding_sd=0.2)
    fitting = FitSpec(epochs=3, batch_size=128, averaging=True, l2=1e-3)
    losses, weights = fitted(spec, fitting, rows, valid, 0)
    found, replica = fitted(spec, fitting, rows, valid, 3)
    assert len(weights["cell_keys"])
    np.testing.assert_allclose(found, losses, atol=1e-5)
    assert max(apart(weights, replica).values()) < 1e-4


def planted(table: EncodedTable) -> EncodedTable:
    """Give a table's first two fields a strong pair."""
    agree = (table.ids[:, 0] + table.ids[:, 1]) % 2 == 0
    labels = np.random.default_rng(2).random(len(table)) < np.where(agree, 0.8, 0.2)
    return replace(table, labels=labels.astype(np.float32))
