"""What a run's events say at one moment."""

from __future__ import annotations

import pytest

from deepfm_core.runs.progress import RunProgress
from deepfm_core.spec.events import PLACE, EpochDone, Event, Fitted, Placed, Progress, Stage, Started
from deepfm_core.store.records import StoredEvent


def _started(epochs: int = 10) -> Started:
    return Started(16_000, 2_000, 9_000, epochs, 50, 0.44)


def _epoch(number: int, loss: float = 0.4, best: bool = True) -> EpochDone:
    return EpochDone(number, 0.5, loss, 0.7, float(number), best)


def _progress_of(*events: tuple[float, Event]) -> RunProgress:
    return RunProgress.of([StoredEvent(seq, time, event) for seq, (time, event) in enumerate(events, start=1)])


def test_before_the_first_event_nothing_is_done() -> None:
    progress = RunProgress.of([])
    assert (progress.stage, progress.fraction, progress.epochs_done, len(progress.epochs)) == (
        "",
        0.0,
        0.0,
        0,
    )
    assert progress.seconds_left(0.0) is None


def test_a_run_is_at_its_node_until_it_waits_for_another() -> None:
    first = (0, Stage(PLACE)), (1, Placed("192.0.2.1 (0a)"))
    assert _progress_of(*first).node == "192.0.2.1 (0a)"
    assert _progress_of(*first, (2, Stage("fit")), (3, Stage(PLACE))).node == ""


def test_batches_of_an_unfinished_epoch_count() -> None:
    progress = _progress_of((0, Stage("fit")), (0, _started()), (1, _epoch(1)), (1.5, Progress(2, 25, 50, 0.39, 1e4)))
    assert progress.epochs_done == 1.5
    assert list(progress.progress["loss"]) == [0.39]


def test_the_fraction_never_falls_from_event_to_event() -> None:
    stages = [Stage("read"), Stage("encode", 0.5), Stage("fit"), _started(2), Progress(1, 10, 50, 0.5, 1.0)]
    events = [*stages, _epoch(1), _epoch(2), Fitted(2, 2, 2.0, 1e4, False), Stage("evaluate"), Stage("explain", 1.0)]
    fractions = [
        _progress_of(*((float(i), event) for i, event in enumerate(events[: n + 1]))).fraction for n in range(10)
    ]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)


def test_the_time_left_is_that_of_all_epochs_asked_for() -> None:
    progress = _progress_of((100, _started(10)), (102, _epoch(1)), (104, _epoch(2)))
    assert progress.seconds_left(now=104) == 16.0
    assert progress.seconds_left(now=105) == 15.0
    assert progress.seconds_left(now=1000) == 0.0


def test_a_long_first_epoch_says_by_its_batches_how_long_all_take() -> None:
    batches = (104, Progress(1, 4, 50, 0.4, 1e4)), (110, Progress(1, 10, 50, 0.4, 1e4))
    assert _progress_of((100, _started(10)), batches[0]).seconds_left(now=104) is None
    assert _progress_of((100, _started(10)), *batches).seconds_left(now=112) == pytest.approx(9.8 * 50 - 2)
    resumed = (200, _started(10)), (210, Progress(4, 25, 50, 0.4, 1e4))
    assert _progress_of((100, _started(10)), *batches, *resumed).seconds_left(now=210) == pytest.approx(6.5 * 20)


def test_reading_onto_the_disk_says_how_long_it_takes() -> None:
    read = (100, Stage("read", 0.0)), (110, Stage("read", 0.25)), (120, Stage("read", 0.5))
    assert _progress_of(*read).seconds_left(now=121) == pytest.approx(19.0)


def test_after_training_no_time_is_left_to_tell() -> None:
    progress = _progress_of((0, _started()), (1, _epoch(1)), (2, Fitted(1, 1, 1.0, 1e4, True)))
    assert progress.seconds_left(2.0) is None


def test_a_resumed_run_repeats_an_epoch_and_the_later_event_counts() -> None:
    first = [(0, _started()), (1, _epoch(1, 0.5)), (2, _epoch(2, 0.4))]
    again = [(100, _started()), (103, _epoch(2, 0.39)), (106, _epoch(3, 0.38))]
    progress = _progress_of(*first, *again)
    assert list(progress.epochs["epoch"]) == [1, 2, 3]
    assert list(progress.epochs["valid_logloss"]) == [0.5, 0.39, 0.38]
    assert progress.seconds_left(now=106) == 21.0


def test_a_note_said_twice_is_told_once() -> None:
    note = Stage("read", 1.0, "The test part has no rows.")
    assert _progress_of((0, note), (1, note)).notes == ["The test part has no rows."]


def test_while_the_labels_are_asked_the_time_left_follows_their_pace_and_not_that_of_what_was_explained() -> None:
    trained = [(0, _started()), (1, _epoch(1)), (2, Fitted(1, 1, 1.0, 1e4, True))]
    explained = [(2, Stage("explain")), (2.1, Stage("explain", 0.1)), (3, Stage("explain", 0.5))]
    assert _progress_of(*trained, *explained).seconds_left(3) is None
    waiting = [(8, Stage("explain", 0.52)), (13, Stage("explain", 0.54))]
    assert _progress_of(*trained, *explained, *waiting).seconds_left(13) == pytest.approx(0.46 / 0.004)
    assert _progress_of(*trained, *explained, *waiting, (14, Stage("explain", 1.0))).seconds_left(14) is None
