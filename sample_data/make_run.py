"""Make the finished run that comes with the app: `python sample_data/make_run.py`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Train on the sample table with nothing else said, and keep the run's folder."""
    out = HERE / "run"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "deepfm_core", "train", "clicks.csv", "--label", "clicked", "--out", "run"]
    environment = {"PYTHONPATH": str(HERE.parent)}
    subprocess.run(command, cwd=HERE, env=environment, check=True)
    (out / "worker.log").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
