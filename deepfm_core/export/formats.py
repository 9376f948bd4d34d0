"""The one door by which a run leaves: a form for each thing that can be taken away. Start with `FORMATS`.

What a form needs is imported when it is written, so that a page or `--help` can list them at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from deepfm_core._files import write_bytes
from deepfm_core.errors import RunError, SpecError

if TYPE_CHECKING:
    from deepfm_core.store.run_folder import RunFolder


@dataclass(frozen=True)
class Format:
    """A form in which a run can be taken away.

    Attributes:
        title: in a menu.
        help: what it is and what it is for, as a sentence.
        ending: of its file; no two have the same.
        mime: its type, for a browser.
        content: makes the file of a run, from its folder and its name.
        needs: packages it needs beyond those of the library.
    """

    title: str
    help: str
    ending: str
    mime: str
    content: Callable[[RunFolder, str], bytes]
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> str:
        """Why it cannot be written here, as a sentence; empty where it can."""
        absent = [name for name in self.needs if find_spec(name) is None]
        return f"Install {' and '.join(absent)} first: `pip install {' '.join(absent)}`." if absent else ""


def _bundle(folder: RunFolder, name: str) -> bytes:
    from deepfm_core.export.bundle import bundle_bytes
    from deepfm_core.export.model_card import Facts

    return bundle_bytes(Facts.of(folder, name))


def _score(folder: RunFolder, name: str) -> bytes:
    from deepfm_core.export.model_card import Facts
    from deepfm_core.export.scoring import score_bytes

    return score_bytes(Facts.of(folder, name))


def _code(folder: RunFolder, name: str) -> bytes:
    from deepfm_core.export.model_card import Facts
    from deepfm_core.export.run_code import code_text

    return code_text(Facts.of(folder, name)).encode()


def _report(folder: RunFolder, name: str) -> bytes:
    from deepfm_core.export.model_card import Facts
    from deepfm_core.export.report.page import report_html

    return report_html(Facts.of(folder, name)).encode()


def _onnx(folder: RunFolder, name: str) -> bytes:
    from deepfm_core.export.model_card import Facts
    from deepfm_core.export.scoring import onnx_bytes

    return onnx_bytes(Facts.of(folder, name))


FORMATS = {
    "report": Format(
        "Report",
        "A page to send or print: verdict, scores, pairs, four rows of the table, and how to repeat it.",
        ".html",
        "text/html",
        _report,
    ),
    "bundle": Format(
        "Model bundle",
        "The whole run with a model card, for app and classifier on any machine. It holds example rows of the table.",
        ".zip",
        "application/zip",
        _bundle,
    ),
    "onnx": Format(
        "ONNX graph",
        "The model for other runtimes: ids and x in, logit, FM logit and DNN logit out. It takes a few seconds.",
        ".onnx",
        "application/octet-stream",
        _onnx,
        ("onnx", "onnxscript"),
    ),
    "score": Format(
        "Scoring script",
        "A score.py beside weights and vocabulary. It scores a CSV file and needs nothing but Python and numpy.",
        "-score.zip",
        "application/zip",
        _score,
    ),
    "code": Format(
        "Code",
        "The command line, the classifier and this very model in plain PyTorch, to copy.",
        ".md",
        "text/markdown",
        _code,
    ),
}
"""Every form, by the name that `--format` takes."""


def content(folder: RunFolder, form: str, name: str = "") -> bytes:
    """Make the file that holds a finished run in one of the `FORMATS`.

    Args:
        folder: the run's.
        form: a name of `FORMATS`.
        name: what the run is called; by default its model and table.

    Raises:
        SpecError: there is no such form, or it needs what is not installed.
        RunError: the run is not finished, or has no model of ours.
    """
    if form not in FORMATS:
        raise SpecError(f"Format is {form!r}. Use one of {', '.join(FORMATS)}.")
    if missing := FORMATS[form].missing:
        raise SpecError(f"Format `{form}` cannot be written here. {missing}")
    return FORMATS[form].content(folder, name)


def export(folder: RunFolder, form: str, out: Path, name: str = "") -> None:
    """Write a finished run to the file `out`, which must not exist; it is there whole or not at all.

    Raises:
        DeepFMError: as `content`; or the file is there already.
    """
    if out.exists():
        raise RunError(f"Output file `{out}` exists already. Name a new one, or delete it first.")
    write_bytes(out, content(folder, form, name))
