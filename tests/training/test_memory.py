"""How this program takes memory from the system."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

THREADS = 8
TAKE = f"""
import ctypes, threading
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
all_there = threading.Barrier({THREADS})

def take():
    libc.malloc(100_000)
    all_there.wait()

threads = [threading.Thread(target=take) for _ in range({THREADS})]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""
USE = "from deepfm_core._parallel import use_system_memory"


def places(before: str) -> int:
    """Count the places from which threads took memory."""
    done = subprocess.run(
        [sys.executable, "-c", f"{USE}\n{before}\n{TAKE}"], capture_output=True, text=True, check=True
    )
    return done.stdout.count("<heap nr=")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="the memory is not glibc's")
def test_threads_of_the_program_do_not_keep_memory_each_in_a_place_of_its_own() -> None:
    assert places("use_system_memory()") < THREADS <= places("")
