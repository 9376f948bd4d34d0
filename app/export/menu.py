"""The menu *Export* of a finished run: what can be taken away, and a bundle brought back in."""

from __future__ import annotations

from functools import partial

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from app.shared.uploads import take_once
from app.state import links, visitor
from app.state.saved_runs import OpenRun
from app.state.store import store
from app.widgets.figure import download_file
from app.widgets.text import errors_shown, plain, show_error
from deepfm_core.errors import DeepFMError
from deepfm_core.export.formats import FORMATS, content
from deepfm_core.export.tracking import configured, missing, send
from deepfm_core.spec.run import BASELINE
from deepfm_core.tables.datasets.dataset import without_secrets
from deepfm_core.tables.export import file_name

_IMPORT = "bundle to import"


def can_export(run: OpenRun) -> bool:
    """Say whether there is anything to take away: a finished run with a model of ours."""
    return run.finished and run.spec.model.name != BASELINE


def show_menu(run: OpenRun) -> None:
    """Draw the menu; nothing for a run that cannot be exported."""
    if not can_export(run):
        return
    with st.popover("Export", icon=":material/ios_share:", key=f"export {run.id}"):
        for name, form in FORMATS.items():
            make = partial(content, run.folder, name, run.name)
            file = file_name(run.name, ending=form.ending)
            with st.container(gap="xsmall"):
                download_file(form.title, make, file, form.mime, f"export {name} {run.id}", form.missing)
                st.caption(form.help)
        if uri := configured():
            _show_mlflow(run, uri)
    # Beside the menu, not in it: an open menu would lie over the dialog.
    if st.button("Code", icon=":material/code:", key=f"code of {run.id}"):
        _show_code(run)


def _show_mlflow(run: OpenRun, uri: str) -> None:
    """Draw the button that sends a run to MLflow, and where the run is once it is there."""
    sent = f"sent {run.id}"
    with st.container(gap="xsmall"):
        absent = missing()
        wanted = st.button(
            "Send to MLflow",
            key=f"mlflow {run.id}",
            icon=":material/cloud_upload:",
            help=absent or None,
            disabled=bool(absent),
            width="stretch",
        )
        st.caption(f"Settings, metrics by epoch, bundle and report, at {plain(without_secrets(uri))}.")
    if wanted:
        with st.spinner("Sending the run to MLflow …"):
            st.session_state[sent] = _sent(run, uri)
    outcome = st.session_state.get(sent)  # kept, since a page that draws itself every second would lose it
    if isinstance(outcome, DeepFMError):
        show_error(outcome)
    elif outcome is not None:
        st.success(f"Sent. [Open it in MLflow]({outcome})")


def _sent(run: OpenRun, uri: str) -> str | DeepFMError:
    """Send a run to MLflow; give its address there, or what was wrong."""
    try:
        return send(run.folder, uri, run.name)
    except DeepFMError as error:
        return error.with_traceback(None)


@st.dialog("Code for this run", width="large")
def _show_code(run: OpenRun) -> None:
    """Draw the code of a run, ready to copy."""
    from deepfm_core.export.model_card import Facts
    from deepfm_core.export.run_code import classifier_snippet, command_line, unsaid
    from deepfm_core.export.torch_code import plain_torch
    from deepfm_core.runs.predictor import Trained

    with errors_shown():
        facts = Facts.of(run.folder, run.name)
        command, classifier, torch_code = st.tabs(["Command line", "Classifier", "Plain PyTorch"])
        command.code(command_line(facts), language="bash")
        command.caption(f"Trains the run again, in the folder of {plain(run.spec.table_name)}. {plain(unsaid(facts))}")
        classifier.code(classifier_snippet(facts), language="python")
        classifier.caption("Keeps no test rows, so it trains on more rows than the run.")
        torch_code.code(plain_torch(Trained.load(run.folder).model, run.name), language="python")
        torch_code.caption("Reads `model.safetensors`, which is in the model bundle.")


def show_import() -> None:
    """Draw the upload of a bundle; the run that comes in is opened."""
    with st.popover("Import a bundle", icon=":material/upload_file:", type="tertiary"):
        st.caption("A bundle is what *Export* made of a finished run, here or on another machine.")
        file = st.file_uploader("Model bundle, whatever it is called", key=_IMPORT)
        if file is None:
            return
        take_once(_IMPORT, file.file_id, partial(_imported, file), _open, "Opening the bundle …")
        if problem := st.session_state.get(f"problem of {_IMPORT}"):
            show_error(problem)


def _open(run_id: str) -> None:
    links.leave("interactions", run=run_id)


def _imported(file: UploadedFile) -> str | None:
    """Enter a bundle's run into the store and give its id; keep what is wrong if it is none."""
    from deepfm_core.export.bundle import import_bundle

    try:
        return import_bundle(store(), file.getvalue(), file.name, visitor.owner())
    except DeepFMError as error:
        st.session_state[f"problem of {_IMPORT}"] = error
        return None
