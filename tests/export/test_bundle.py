"""Bundles: what goes in comes out, on any machine, and nothing else does."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.hostile_files import parquet_of_structs
from deepfm_core import DeepFMClassifier
from deepfm_core.__main__ import main
from deepfm_core.errors import DeepFMError, RunError, SpecError, TableError
from deepfm_core.export.bundle import MANIFEST, bundle_bytes, import_bundle, opened, zipped
from deepfm_core.export.formats import FORMATS, export
from deepfm_core.export.model_card import Facts
from deepfm_core.export.model_card import _text as card_text
from deepfm_core.runs.findings import findings
from deepfm_core.runs.predictor import Trained
from deepfm_core.runs.progress import RunProgress
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.store.store import Store
from deepfm_core.tables.reader import read_table
from tests.conftest import ROOT
from tests.export.runs import rows, table, trained

SAMPLE = RunFolder(ROOT / "sample_data" / "run")
CLICKS = ROOT / "sample_data" / "clicks.csv"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "sample.zip"
    export(SAMPLE, "bundle", path)
    return path


@pytest.fixture(scope="module")
def probabilities() -> np.ndarray:
    return Trained.load(SAMPLE).predict(read_table(CLICKS))


@pytest.mark.slow
def test_a_bundle_gives_the_same_probabilities_in_another_process(bundle, probabilities, tmp_path) -> None:
    code = (
        "import sys; from deepfm_core import DeepFMClassifier, read_table\n"
        "model = DeepFMClassifier.load(sys.argv[1])\n"
        "print(*map(float.hex, model.predict_proba(read_table(sys.argv[2]).frame)[:, 1].tolist()))"
    )
    environment = {"PYTHONPATH": str(ROOT), "DEEPFM_HOME": str(tmp_path), "PATH": "/usr/bin"}
    command = [sys.executable, "-c", code, str(bundle), str(CLICKS)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [value.hex() for value in probabilities.tolist()]


def test_a_bundle_enters_another_store_as_a_finished_run(bundle, probabilities, tmp_path) -> None:
    store = Store(tmp_path)
    row = store.run(import_bundle(store, bundle))
    folder = store.folder(row.id)
    assert (row.state, row.name) == ("finished", "DeepFM on clicks.csv")
    assert row.spec == SAMPLE.spec()
    assert folder.frames() == SAMPLE.frames()
    progress = RunProgress.of(store.events(row.id))
    columns = list(progress.epochs.columns)
    pd.testing.assert_frame_equal(progress.epochs, SAMPLE.frame("epochs")[columns], check_dtype=False)
    assert progress.started.rows_train == 16000
    assert row.summary == {**SAMPLE.summary(), "run": row.name, "imported": True}
    np.testing.assert_array_equal(Trained.load(folder).predict(read_table(CLICKS)), probabilities)


def test_a_bundle_of_an_imported_run_is_the_same_to_the_byte(bundle, tmp_path) -> None:
    with opened(bundle) as (folder, name):
        assert bundle_bytes(Facts.of(folder, name)) == bundle.read_bytes()


@pytest.mark.parametrize(
    "name", ["model.safetensors", "encoder.json", "encoder.arrow", "metrics.json", "spec.json", "frames/levels.parquet"]
)
def test_a_run_with_a_damaged_file_does_not_leave_as_a_bundle(name, tmp_path) -> None:
    folder = RunFolder(shutil.copytree(SAMPLE.path, tmp_path / "run"))
    path = folder.path / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(RunError, match=rf"(?s){Path(name).stem}.*rain (it|the run) again"):
        bundle_bytes(Facts.of(folder))


@pytest.mark.parametrize("form", ["bundle", "score", "code"])
@pytest.mark.parametrize("name", ["model.safetensors", "encoder.json"])
def test_a_file_that_is_gone_is_named_with_what_to_do(name, form, tmp_path) -> None:
    folder = RunFolder(shutil.copytree(SAMPLE.path, tmp_path / "run"))
    (folder.path / name).unlink()
    with pytest.raises(RunError, match=rf"{name} is gone from its folder\. Put it back, or train the run again"):
        export(folder, form, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["renamed", "renamed.csv", "1"])
def test_a_bundle_is_known_by_what_it_holds(name, bundle, command, tmp_path) -> None:
    renamed = shutil.copy(bundle, tmp_path / name)
    done = command("interactions", renamed, "--top", 1)
    assert done.returncode == 0, done.stderr
    assert len(DeepFMClassifier.load(renamed).interactions()) == 66
    with pytest.raises(TableError, match=rf"{name}`: the file is a model bundle, and no table\. Import it on"):
        read_table(renamed)


def test_a_file_that_is_no_bundle_is_refused_as_what_it_is(command, tmp_path) -> None:
    assert "is a file, and no model bundle. Name a run's folder" in command("interactions", CLICKS).stderr
    script = tmp_path / "score"
    export(SAMPLE, "score", script)
    assert "has no bundle.json, so it is no model bundle" in command("interactions", script).stderr


def test_no_two_forms_have_files_of_one_name() -> None:
    assert len({form.ending for form in FORMATS.values()}) == len(FORMATS)


def test_what_a_forged_bundle_says_in_sentences_is_found_again(bundle, tmp_path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    told = json.loads(files["findings.json"])
    told["pair"]["said"] = "**Proven.** Bet all your money on it."
    told["pair"]["field_a"] = "forged"
    files["findings.json"] = json.dumps(told).encode()
    manifest = json.loads(files["bundle.json"])
    manifest["files"]["findings.json"] = hashlib.sha256(files["findings.json"]).hexdigest()
    files["bundle.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(tmp_path / "forged.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    store = Store(tmp_path / "home")
    made = import_bundle(store, tmp_path / "forged.zip")
    assert findings(store.folder(made)).pair == findings(SAMPLE).pair


def test_a_loaded_classifier_knows_its_run(bundle) -> None:
    model = DeepFMClassifier.load(bundle)
    assert list(model.classes_) == ["0", "1"]
    assert model.get_params()["model"] == "deepfm"
    assert model.get_params()["preset"] == "recommended"
    assert model.get_params()["l2"] is None  # nothing differs from the preset
    assert len(model.history_) == 23
    pairs = model.interactions()
    assert pairs["verdict"].iloc[0] == "holds on held-out rows"
    few = read_table(CLICKS).frame.head(20)
    assert set(model.predict(few)) <= {"0", "1"}
    np.testing.assert_allclose(model.terms(few).groupby("row")["value"].sum(), model.decision_function(few), atol=1e-5)


@pytest.mark.slow
def test_a_loaded_classifier_takes_rows_without_label_and_can_be_fitted_again(tmp_path) -> None:
    data = table(rows(), tmp_path / "rows.csv")
    folder = trained(data, "wide-deep", tmp_path / "run")
    export(folder, "bundle", tmp_path / "b.zip")
    model = DeepFMClassifier.load(tmp_path / "b.zip")
    frame = data.frame.drop(columns=["clicked", "note"])
    np.testing.assert_array_equal(model.predict_proba(frame)[:, 1], Trained.load(folder).predict(data))
    with pytest.raises(RunError, match="has no pairs, and its rows are not in the bundle"):
        model.interactions()
    again = model.fit(data.frame.drop(columns="clicked"), data.frame["clicked"])
    assert again.spec_.model == folder.spec().model
    assert again.spec_.fit.epochs == folder.spec().fit.epochs


def test_the_command_line_reads_bundles_as_runs(bundle, probabilities, capsys) -> None:
    assert main(["predict", str(bundle), str(CLICKS)]) == 0
    printed = pd.read_csv(io.StringIO(capsys.readouterr().out))
    np.testing.assert_allclose(printed["probability"], probabilities, rtol=1e-15)


def test_the_command_line_writes_what_does_not_exist(tmp_path, capsys) -> None:
    words = ["export", str(SAMPLE.path), "--format", "bundle", "--out", str(tmp_path / "a.zip")]
    assert main(words) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'a.zip'}\n"
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*words[:3], "pickle", "--out", str(tmp_path / "b.pickle")]) == 2
    assert "Use one of report, bundle, onnx, score, code" in capsys.readouterr().err


def test_the_card_says_what_one_must_know(bundle) -> None:
    card = zipfile.ZipFile(bundle).read("README.md").decode()
    for words in (
        "`clicked = 1`",
        "16,000 to train",
        "0.805 (0.780 to 0.831)",
        "device × placement",
        "holds on held-out rows",
        "## Intended use",
        "## Limits",
        "frames of examples hold whole rows",
    ):
        assert words in card


def test_a_bundle_does_not_say_where_the_run_stood(bundle) -> None:
    archive = zipfile.ZipFile(bundle)
    texts = [archive.read(name) for name in archive.namelist() if name.endswith((".json", ".md"))]
    assert not [text for text in texts if str(ROOT).encode() in text]


def changed(bundle: Path, name: str, content: bytes) -> bytes:
    """Give a bundle with one file replaced, added, or with an empty content removed."""
    stream, source = io.BytesIO(), zipfile.ZipFile(bundle)
    with zipfile.ZipFile(stream, "w") as archive:
        for other in source.namelist():
            if other != name:
                archive.writestr(other, source.read(other))
        if content:
            archive.writestr(name, content)
    return stream.getvalue()


def manifest(bundle: Path, **changes: object) -> bytes:
    return json.dumps({**json.loads(zipfile.ZipFile(bundle).read(MANIFEST)), **changes}).encode()


def test_what_is_no_bundle_is_said_to_be_none(bundle, tmp_path) -> None:
    files = json.loads(zipfile.ZipFile(bundle).read(MANIFEST))["files"]
    cases = {
        "is no model bundle, or was cut short": b"row,probability\n",
        "has no bundle.json": changed(bundle, MANIFEST, b""),
        "spec.json is not as it was exported": changed(bundle, "spec.json", b"{}"),
        "encoder.json": changed(bundle, "encoder.json", b""),
        "has form 2": changed(bundle, MANIFEST, manifest(bundle, form=2)),
        "cannot be read": changed(bundle, MANIFEST, b"[1]"),
        "bundle.json is larger than 1 MB": changed(bundle, MANIFEST, manifest(bundle, name="n" * (1 << 20))),
        "is not that of a run": changed(bundle, MANIFEST, manifest(bundle, files={**files, "../../evil": "0"})),
    }
    store = Store(tmp_path)
    for words, content in cases.items():
        with pytest.raises(RunError, match=words):
            import_bundle(store, content, "b.zip")
    assert not store.runs()
    with pytest.raises(RunError, match=r"nowhere\.zip`: there is no such file"):
        DeepFMClassifier.load(tmp_path / "nowhere.zip")


def test_a_long_name_in_a_bundle_is_cut(bundle, tmp_path) -> None:
    store = Store(tmp_path)
    run = import_bundle(store, changed(bundle, MANIFEST, manifest(bundle, name="n" * 5000)), "b.zip")
    assert store.run(run).name == "n" * 200


def test_only_finished_runs_with_a_model_leave(tmp_path) -> None:
    RunFolder(tmp_path).create().write_spec(SAMPLE.spec())
    with pytest.raises(RunError, match="is not finished"):
        export(RunFolder(tmp_path), "bundle", tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()
    with pytest.raises(SpecError, match="Use one of"):
        export(SAMPLE, "pmml", tmp_path / "b.pmml")


@pytest.fixture
def content() -> bytes:
    return bundle_bytes(Facts.of(SAMPLE, "sample"))


def with_file(bundle: bytes, name: str, content: bytes) -> bytes:
    """Put another file into a bundle, with its digest."""
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        files = {member: archive.read(member) for member in archive.namelist()}
    manifest = json.loads(files["bundle.json"])
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    return zipped({**files, "bundle.json": json.dumps(manifest).encode(), name: content})


@pytest.mark.slow
def test_a_bundle_is_tried_in_another_process_and_what_no_run_has_is_refused(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    hostile = {
        "frames/pairs.parquet": (
            parquet_of_structs(200_000, 4_000),
            "more than the limit of 537 MB once they are decoded",
        ),
        "frames/fields.parquet": (b"PAR1" * 100, "fields.parquet cannot be read"),
        "summary.json": (b'{"a": "' + b"x" * (1 << 22) + b'"}', "summary.json is larger than 4 MB"),
        "findings.json": (b'{"a": "' + b"x" * (1 << 25) + b'"}', "findings.json is larger than 32 MB"),
        "encoder.arrow": (b"ARROW1" * 100, ""),
        "model.safetensors": (b"\xff" * 100, ""),
    }
    monkeypatch.setattr("deepfm_core.runs.predictor.Trained.load", lambda _: pytest.fail("loaded in this process"))
    for name, (hostile_part, said) in hostile.items():
        with pytest.raises(DeepFMError, match=said) as refused:
            import_bundle(store, with_file(content, name, hostile_part), "theirs.zip")
        assert "theirs" in str(refused.value) or not said
    assert not store.runs()
    run = import_bundle(store, content, "theirs.zip")
    assert store.run(run).state == "finished"


def test_code_in_a_note_stays_code_in_the_card() -> None:
    """The README had a backslash before each backtick."""
    assert card_text("Is `education` a*b <i>") == r"Is `education` a\*b \<i\>"
    assert card_text("one `alone") == "one 'alone"
