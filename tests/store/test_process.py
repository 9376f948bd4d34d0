"""A process named in the store is told from one that ended and from a later one with its number."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deepfm_core.store import process as module
from deepfm_core.store.process import Process


@pytest.fixture(params=["as here", "without /proc"])
def system(request, monkeypatch):
    """Ask this system as it is, and as one is asked that has no /proc."""
    if request.param == "without /proc":
        monkeypatch.setattr(module, "_state_and_birth", module._state_and_birth_elsewhere)


@pytest.mark.usefixtures("system")
def test_this_process_is_alive_under_its_name_and_no_other():
    me = Process.current()
    assert me.born
    assert Process.parse(str(me)) == me
    assert me.alive()
    assert replace(me, born=0).alive()
    assert not replace(me, born=me.born + 1).alive()  # a later process with the same number


@pytest.mark.usefixtures("system")
def test_a_process_that_ended_is_not_alive_though_nobody_has_collected_it():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        named = Process.of(child.pid)
        assert named.alive()
        child.stdin.close()
        child.stdout.read()  # ends with the process
        while named.alive():
            pass
        assert child.returncode is None
    assert not named.alive()


def test_a_system_without_proc_is_asked_through_psutil(monkeypatch):
    monkeypatch.setattr(module, "Path", lambda path: Path("/none") / path.strip("/"))
    assert Process.current().born == module._state_and_birth_elsewhere(Process.current().pid)[1] > 1e12
