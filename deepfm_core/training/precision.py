"""Whether this processor multiplies matrices of bfloat16, and how much faster than those of float32."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import torch

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

    A process of its own tries, for a few seconds, the first time it is asked: some processors announce instructions
    that their system does not let them execute, which ends the process that tries.
    """
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return None
    trial = subprocess.run([sys.executable, "-c", _TRIAL], capture_output=True, text=True, timeout=120, check=False)
    return float(trial.stdout) if trial.returncode == 0 else None
