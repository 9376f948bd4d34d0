"""This machine's processor: what it is and can, and who waits for it. Nothing here loads torch."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from functools import cache
from pathlib import Path

# How OpenMP's threads wait for each other, which must be said before torch is loaded.


POLICY = "OMP_WAIT_POLICY"


def wait_passively() -> None:
    """Let OpenMP's threads sleep while they wait, unless the environment says otherwise.

    By default they spin. Beside other work they then take the cores from each other: a step on two threads is several
    times slower. OpenMP reads this as it is loaded, with torch; processes started from here inherit it. Call it only in
    processes of this program.
    """
    os.environ.setdefault(POLICY, "PASSIVE")


# Which processes come first.


NICE = 5
"""The niceness of processes that work beside pages and fits."""


def step_back() -> None:
    """Let pages and fits have the processor before this process, where the system allows it."""
    with suppress(OSError):
        os.nice(NICE)


# What this machine's processor is and says that it can; read from the system, so that pages need no torch.


CPUINFO = Path("/proc/cpuinfo")
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}


@cache
def announces_bfloat16() -> bool:
    """Say whether the processor announces products of bfloat16 (avx512_bf16 or AMX); no where the system is silent."""
    return bool(BFLOAT16_FLAGS & set(_described("flags").split()))


def processor_name() -> str:
    """Name the processor's model, as far as the system tells it."""
    told = (_described(name) for name in ("model name", "cpu family", "model", "stepping"))
    return " ".join([platform.machine(), *filter(None, told)])


def _described(name: str) -> str:
    """Give what the system says of its first processor under `name`; nothing where it says nothing."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((value.strip() for key, _, value in (line.partition(":") for line in lines) if key.strip() == name), "")
