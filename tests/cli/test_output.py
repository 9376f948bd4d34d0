"""What the command line shows people, as against what it writes for programs."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pandas as pd
import pytest

from deepfm_core.cli.interactions import short
from deepfm_core.cli.output import Progressed, aligned
from deepfm_core.spec.events import EpochDone, Fitted
from tests.cli.test_command_line import csv
from tests.conftest import ROOT, Command

pytestmark = pytest.mark.slow

RUN = ROOT / "sample_data" / "run"


def on_a_terminal(*words: str, columns: int) -> list[str]:
    """Give the lines that a command writes to a terminal so many letters wide."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns)}
    command = [sys.executable, "-m", "deepfm_core", *words]
    done = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    text = b""
    while True:
        try:
            text += os.read(ours, 65536)
        except OSError:  # the other end is closed: all is read
            break
    os.close(ours)
    assert done.wait(60) == 0, done.stderr
    return text.decode().replace("\r", "").splitlines()


def test_a_terminal_gets_a_short_aligned_table_and_the_way_to_the_rest() -> None:
    head, first, *others = on_a_terminal("interactions", str(RUN), "--top", "6", columns=140)
    assert head.split() == ["rank", "pair", "strength", "90%", "interval", "probability", "clear", "verdict"]
    assert first.split("  ")[-1] == "holds on held-out rows"
    assert first.lstrip().startswith("1  device × placement")
    assert first.endswith("yes    holds on held-out rows")
    assert first.index("yes") == head.index("clear")
    assert others[-1] == "60 more: --top 66 shows all. With every column, as CSV: add `> FILE.csv`."
    said = " ".join(others)
    for column in ("Strength:", "Interval:", "Probability:", "Clear:", "Verdict:"):
        assert column in said
    head, *lines = on_a_terminal("interactions", str(RUN), "--top", "6", "--all", columns=140)
    assert head.startswith("field_a,field_b,strength,")
    assert len(lines) == 6


@pytest.mark.parametrize(("columns", "kept"), [(80, ["clear"]), (76, [])])
def test_a_narrow_terminal_keeps_pair_strength_and_verdict(columns: int, kept: list[str]) -> None:
    lines = on_a_terminal("interactions", str(RUN), columns=columns)
    assert lines[0].split() == ["pair", "strength", "90%", "interval", *kept, "verdict"]
    assert max(map(len, lines)) <= columns


def test_elsewhere_all_pairs_are_written_with_every_digit_and_their_verdict(command: Command) -> None:
    pairs = csv(command("interactions", RUN).stdout)
    assert len(pairs) == 66
    assert list(pairs.columns)[-1] == "verdict"
    assert (pairs["solid"] == pairs["significant"]).all()
    assert (pairs["significant"] == pairs["verdict"].isin({"holds on held-out rows"})).all()
    assert len(csv(command("interactions", RUN, "--top", 3).stdout)) == 3


def test_a_table_alone_gets_no_verdict_on_a_model(command: Command) -> None:
    done = command("interactions", ROOT / "sample_data" / "clicks.csv", "--observed-only", "--label", "clicked")
    pairs = csv(done.stdout)
    assert (pairs["significant"] == (pairs["verdict"] == "clear above noise")).all()
    assert pairs["verdict"][0] == "clear above noise"


def test_the_rows_of_explain_are_shown_in_four_digits() -> None:
    rows = str(ROOT / "sample_data" / "clicks.csv")
    lines = on_a_terminal("explain", str(RUN), rows, "--top", "2", columns=100)
    assert lines[0].split()[:3] == ["row", "probability", "logit"]
    assert all(len(cell.partition(".")[2]) == 4 for cell in lines[1].split()[1:])
    assert lines[-1].startswith("19,998 more")


@pytest.mark.parametrize("width", [30, 60, 200])
def test_the_last_column_is_wrapped_below_itself(width: int) -> None:
    table = pd.DataFrame({"pair": ["a × b"], "clear": ["no"], "verdict": ["learned, but does not hold at all"]})
    lines = aligned(table, width).splitlines()
    assert [line.strip() for line in lines[1:]][-1].endswith("at all")
    assert all(line.index("learned") == lines[0].index("verdict") for line in lines[1:2])
    assert len(lines) == (2 if width > 52 else 3)


def test_an_epoch_is_the_best_so_far_until_what_is_kept_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progressed(quiet=False)
    for event in (EpochDone(2, 0.5, 0.4, 0.7, 1.0, best=True), Fitted(14, 0, 1.0, 9.0, stopped_early=True)):
        shown.show(event)
    epoch, kept = capsys.readouterr().err.splitlines()
    assert epoch.endswith("best so far")
    assert kept.startswith("kept: the guide alone, since no epoch of 14 was clearly better")
    shown.show(Fitted(14, 2, 1.0, 9.0, stopped_early=True))
    assert capsys.readouterr().err.startswith("kept: epoch 2 of 14;")


def test_what_was_not_computed_is_a_dash() -> None:
    pair = {"field_a": "a", "field_b": "b", "strength": 0.1, "strength_low": None, "strength_high": None}
    frame = pd.DataFrame([{**pair, "probability": None, "significant": None, "verdict": ""}])
    row = short(frame.astype({"significant": object}))
    assert row.iloc[0].to_list() == ["1", "a × b", "0.10", "–", "–", "–", ""]
