"""Work done by several threads comes back in order, and its errors as from one."""

import threading

import pytest

from deepfm_core.data import side_by_side as module
from deepfm_core.data.side_by_side import WORTH_ROWS, side_by_side


@pytest.fixture(autouse=True)
def two_processors(monkeypatch):
    monkeypatch.setattr(module, "processors", lambda: 2)


@pytest.mark.parametrize("rows", [0, WORTH_ROWS])
def test_results_come_in_the_order_of_the_values(rows):
    assert side_by_side(lambda value: value * 2, [3, 1, 2], rows, size=lambda value: value) == [6, 2, 4]
    assert side_by_side(str, [], rows) == []


def test_the_largest_is_begun_first():
    begun, meeting = [], threading.Barrier(2, timeout=10)

    def work(value):
        begun.append(value)
        if len(begun) <= 2:
            meeting.wait()

    side_by_side(work, [1, 9, 5, 2], WORTH_ROWS, size=lambda value: value)
    assert set(begun[:2]) == {9, 5}


@pytest.mark.parametrize("rows", [0, WORTH_ROWS])
def test_an_error_is_raised_where_the_work_was_asked_for(rows):
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda value: 1 // value, [1, 0], rows)


def test_few_rows_need_no_thread():
    (thread,) = side_by_side(lambda _: threading.current_thread(), [0], WORTH_ROWS - 1)
    assert thread is threading.current_thread()
