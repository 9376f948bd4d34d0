"""How OpenMP's threads wait for each other, which must be said before torch is loaded."""

from __future__ import annotations

import os

POLICY = "OMP_WAIT_POLICY"


def wait_passively() -> None:
    """Let OpenMP's threads sleep while they wait, unless the environment says otherwise.

    By default they spin. Beside other work they then take the cores from each other: a step on two threads is several
    times slower. OpenMP reads this as it is loaded, with torch; processes started from here inherit it. Call it only in
    processes of this program.
    """
    os.environ.setdefault(POLICY, "PASSIVE")
