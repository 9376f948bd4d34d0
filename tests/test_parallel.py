"""Work done by several threads comes back in order, and its errors as from one."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deepfm_core import _parallel as module
from deepfm_core._parallel import WORTH_ROWS, in_parallel

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def two_processors(monkeypatch):
    monkeypatch.setattr(module, "processors", lambda: 2)


@pytest.mark.parametrize("rows", [0, WORTH_ROWS])
def test_results_come_in_the_order_of_the_values(rows):
    assert in_parallel(lambda value: value * 2, [3, 1, 2], rows, size=lambda value: value) == [6, 2, 4]
    assert in_parallel(str, [], rows) == []


def test_the_largest_is_begun_first():
    begun, meeting = [], threading.Barrier(2, timeout=10)

    def work(value):
        begun.append(value)
        if len(begun) <= 2:
            meeting.wait()

    in_parallel(work, [1, 9, 5, 2], WORTH_ROWS, size=lambda value: value)
    assert set(begun[:2]) == {9, 5}


@pytest.mark.parametrize("rows", [0, WORTH_ROWS])
def test_an_error_is_raised_where_the_work_was_asked_for(rows):
    with pytest.raises(ZeroDivisionError):
        in_parallel(lambda value: 1 // value, [1, 0], rows)


def test_few_rows_need_no_thread():
    (thread,) = in_parallel(lambda _: threading.current_thread(), [0], WORTH_ROWS - 1)
    assert thread is threading.current_thread()


@pytest.mark.parametrize(
    ("work", "left_alone"),
    [
        ("import deepfm_core.classifier, deepfm_core.encoding.encoder, deepfm_core.tables.csv_parser", True),
        ("from deepfm_core.runs import engine; from deepfm_core.workers import worker", True),
        ("from deepfm_core.__main__ import main; main(['runs'])", False),
        (
            "from deepfm_core.workers.worker import main;"
            "main('--idle 0 --engine tests.small_engine:execute'.split(), 'deepfm')",
            False,
        ),
    ],
)
def test_arrows_memory_is_changed_in_our_own_processes_alone(work, left_alone, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPFM_HOME", str(tmp_path))
    monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", "mimalloc")
    name = "pa.default_memory_pool().backend_name"
    program = f"import pyarrow as pa; before = {name}; {work}; print(before, {name})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split()[-2:] == ["mimalloc", "mimalloc" if left_alone else "system"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads memory as Linux tells it")
def test_freed_memory_goes_back_to_the_system():
    """A last array in use, above all others, keeps glibc from giving back what was freed below it."""
    program = (
        "import numpy as np, psutil\n"
        "from deepfm_core._parallel import release_memory\n"
        "rss = lambda: psutil.Process().memory_info().rss\n"
        "held = [np.ones(2_000) for _ in range(20_000)]\n"
        "del held[:-1]\n"
        "before = rss(); release_memory(); print(before - rss())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 200_000_000
