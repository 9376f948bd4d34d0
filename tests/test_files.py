"""Files that are written whole."""

from __future__ import annotations

import json
import math
from pathlib import Path

from deepfm_core._files import write_json


def test_json_knows_no_number_that_is_none(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"auc": math.nan, "parts": [1.5, math.inf, {"z": -math.inf}], "name": "NaN"})
    written = json.loads((tmp_path / "a.json").read_text(), parse_constant=lambda word: f"not JSON: {word}")
    assert written == {"auc": None, "parts": [1.5, None, {"z": None}], "name": "NaN"}
