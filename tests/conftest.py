"""What tests share: one trained run, and the command line as users call it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

from deepfm_core.__main__ import main
from deepfm_core._processor import wait_passively

if TYPE_CHECKING:
    from streamlit.testing.v1 import AppTest

    from deepfm_core.store.query import Question, Standing
    from deepfm_core.store.store import Store

# As in the processes of this program: workers of pytest share the cores, and threads that spin take them from others.
wait_passively()

# How long an example takes says more of the machine than of the code. The same inputs are drawn each time, so that a
# change is judged by itself; `--hypothesis-profile=anew` looks for others.
settings.register_profile("here", deadline=None, derandomize=True)
settings.register_profile("anew", deadline=None)
settings.load_profile("here")

ROOT = Path(__file__).resolve().parents[1]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def clicks(rows: int = 1500, seed: int = 0) -> pd.DataFrame:
    """Draw a small click table with every kind of column and a strong device × placement pair."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "device": rng.choice(["phone", "tablet", "desktop"], rows),
            "placement": rng.choice(["feed", "story", "sidebar", "search"], rows),
            "site": rng.choice([f"site {i}" for i in range(30)], rows),
            "interests": ["|".join(rng.choice(list("abcdef"), rng.integers(1, 4), replace=False)) for _ in range(rows)],
            "price": np.round(rng.lognormal(2, 1, rows), 2),
        }
    )
    logit = (
        -1.2 + 1.5 * ((frame["device"] == "phone") == (frame["placement"] == "story")) - 0.1 * np.log(frame["price"])
    )
    frame["clicked"] = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(int)
    return frame


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of its own for the test session."""
    return tmp_path_factory.mktemp("deepfm-home")


@pytest.fixture(scope="session")
def command(home: Path) -> Command:
    """Run `python -m deepfm_core …` in this process: what it prints and its exit status are those of the command."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        given, out, err = list(map(str, arguments)), _Printed(), _Printed()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(ROOT)
            patch.setenv("DEEPFM_HOME", str(home))
            patch.setattr(sys, "argv", [str(ROOT / "deepfm_core" / "__main__.py"), *given])
            try:
                status = main()
            except SystemExit as ended:
                status = int(ended.code or 0)
        return subprocess.CompletedProcess(given, status, out.text, err.text)

    return run


class _Printed(io.TextIOWrapper):
    """What is printed, as text and as bytes."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    @property
    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode()  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def process(home: Path) -> Command:
    """Run `python -m deepfm_core …` in a process of its own."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deepfm_core", *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "DEEPFM_HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small click table as CSV."""
    path = tmp_path_factory.mktemp("tables") / "clicks.csv"
    clicks().to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def trained(command: Command, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a DeepFM trained on `table`."""
    out = tmp_path_factory.mktemp("runs") / "deepfm"
    done = command("train", table, "--label", "clicked", "--out", out, "--epochs", 4, "--batch-size", 128)
    assert done.returncode == 0, done.stderr
    return out


def answer_next(store: Store) -> Path:
    """Answer in this process the question that has waited longest, and give the file of its answer."""
    from deepfm_core.store.process import Process
    from deepfm_core.workers.query_worker import answer

    me = Process.current()
    question = next(filter(None, (store.questions.next(me, lane) for lane in ("labels", "models"))))
    answer(store, question, me)
    return store.questions.path(question.key)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store of its own for the pages; processes are started by the browser's journeys, not here."""
    import streamlit as st

    from deepfm_core.store.process import Process
    from deepfm_core.store.query import Question
    from deepfm_core.store.store import Store

    store, look = Store(tmp_path), Question.look

    def look_and_answer_a_run(question: Question) -> Standing:
        """Answer in this process what a run asks; what a page asks waits until a test answers it."""
        standing = look(question)
        if threading.current_thread().name == "observation" and not standing.ended:
            answer_next(store)
        return standing

    monkeypatch.setenv("DEEPFM_HOME", str(tmp_path))
    monkeypatch.setattr(
        "deepfm_core.store.run_queue._start",
        lambda _home, lane: Process.current() if lane == "runs" else Process.of(os.getppid()),
    )
    monkeypatch.setattr(Question, "look", look_and_answer_a_run)
    monkeypatch.setattr("deepfm_core.store.limits.PATIENCE", 600.0)  # nobody looks while `answer_next` works
    st.cache_resource.clear()
    st.cache_data.clear()
    yield store
    st.cache_resource.clear()
    st.cache_data.clear()


@pytest.fixture
def opened(store: Store) -> Callable[..., AppTest]:
    """Open a page, with choices as its URL has them."""
    from streamlit.testing.v1 import AppTest

    def open_page(view: str = "start", **choices: str) -> AppTest:
        app = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=60)
        if view != "start":
            app.switch_page(f"views/{view}/{view}.py")
        for name, value in choices.items():
            app.query_params[name] = value
        return app.run()

    return open_page
