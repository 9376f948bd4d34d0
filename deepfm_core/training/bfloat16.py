"""Whether this processor multiplies matrices of bfloat16, and how much faster than those of float32."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch

from deepfm_core._processor import announces_bfloat16, processor_name
from deepfm_core.errors import SpecError

_TRIAL = """
import time, torch
torch.set_num_threads(1)
def seconds(x):
    x @ x
    times = []
    for _ in range(7):
        began = time.perf_counter()
        x @ x
        times.append(time.perf_counter() - began)
    return min(times)
x = torch.randn(512, 512)
print(seconds(x) / seconds(x.bfloat16()))
"""


def require_precision(precision: str) -> None:
    """Check that a precision can be used here and is worth it.

    Raises:
        SpecError: it is bfloat16, and its products fail on this processor or are slower than those of float32.
    """
    if precision != "bfloat16":
        return
    gain = bfloat16_gain()
    if gain is None:
        raise SpecError("Precision is 'bfloat16'. This processor does not multiply matrices of it. Use float32.")
    if gain < 1.0:
        times = f"{1 / gain:.1f} times as long as those of float32"
        raise SpecError(f"Precision is 'bfloat16'. On this processor its products take {times}. Use float32.")


@cache
def bfloat16_gain() -> float | None:
    """Time a product of each precision and give float32's time over bfloat16's; None where bfloat16 does not work.

    A process of its own tries, for a few seconds: some processors announce instructions that their system does not let
    them execute, which ends the process that tries. That bfloat16 gains is remembered for this processor and version
    of torch, in the user's cache folder; any other answer is asked for again by the next process.
    """
    if not announces_bfloat16():
        return None
    key = f"{processor_name()}, torch {torch.__version__}"
    known = _remembered().get(key)
    if isinstance(known, float):
        return known
    trial = subprocess.run([sys.executable, "-c", _TRIAL], capture_output=True, text=True, timeout=120, check=False)
    gain = float(trial.stdout) if trial.returncode == 0 else None
    if gain is not None and gain >= 1.0:
        _remember(key, gain)
    return gain


def _cache_file() -> Path:
    """Say where answers are remembered."""
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "deepfm-explorer" / "bfloat16.json"


def _remembered() -> dict[str, Any]:
    try:
        answers = json.loads(_cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # no file, not JSON or too deep, no home
        return {}
    return answers if isinstance(answers, dict) else {}


def _remember(key: str, gain: float) -> None:
    """Write an answer beside the others; where that cannot be, the next process tries again."""
    answers = {**_remembered(), key: gain}
    with suppress(OSError, RuntimeError):
        path = _cache_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(answers, indent=1), encoding="utf-8")
        temporary.replace(path)
