"""The command line, as scripts use it."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepfm_core.__main__ import main
from deepfm_core.cli.output import as_json
from deepfm_core.cli.parser import parse, parser
from tests.conftest import ROOT, Command, clicks

pytestmark = pytest.mark.slow

SUMMARY = {"run", "model", "rows", "epochs", "valid", "test", "seconds", "rows_per_second"}


def csv(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text))


def test_train_prints_one_json_object(process: Command, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = process("train", table, "--label", "clicked", "--out", out, "--epochs", 2)
    summary = json.loads(done.stdout)
    assert set(summary) >= SUMMARY
    assert summary["run"] == str(out)
    assert summary["rows"] == {"train": 1200, "valid": 150, "test": 150}
    assert set(summary["valid"]) == set(summary["test"]) == {"auc", "logloss"}
    assert set(summary["seconds"]) == {"read", "encode", "fit", "evaluate", "explain"}
    assert "epoch   1" in done.stderr
    *_, judged, following = done.stderr.splitlines()
    assert re.match(rf"{re.escape(str(out))}: test AUC 0\.\d{{4}}; test logloss \d\.\d{{4}}, [\d.]+% ", judged)
    assert judged.endswith("of always predicting the share of positive rows")
    assert following == f"next: python -m deepfm_core interactions {out}"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_without_a_command_the_help_is_shown(process: Command) -> None:
    done = process()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: python -m deepfm_core")
    assert "RUN|TABLE" in process("interactions", "--help").stdout


@pytest.mark.parametrize("typed", ["python -m deepfm_core", "deepfm"])
def test_the_help_of_the_worker_names_what_was_typed(
    typed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = "/usr/bin/deepfm" if typed == "deepfm" else "/app/deepfm_core/__main__.py"
    monkeypatch.setattr(sys, "argv", [started, "worker", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out.startswith(f"usage: {typed} worker ")


def leaking(folder: Path, rows: int = 1500) -> Path:
    """Write a table whose column `paid` is the label but for a few rows, and `note` is all empty."""
    frame = clicks(rows)
    frame["paid"] = np.where(np.random.default_rng(1).random(rows) < 0.01, 1 - frame["clicked"], frame["clicked"])
    frame["note"] = ""
    path = folder / "leaking.csv"
    path.write_text(frame.to_csv(index=False) + "," * frame.shape[1] + "9\n")
    return path


def test_train_says_how_the_table_was_understood_and_keeps_it(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = command("train", leaking(tmp_path), "--label", "clicked", "--out", out, "--epochs", 1, "--folds", 0)
    assert "leaking.csv: 1,500 rows, label `clicked`" in done.stderr
    assert re.search(r"^  device +categorical +3 distinct values$", done.stderr, re.M)
    assert "warning: `paid`: alone it predicts the label with AUC 0.99" in done.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert summary["warnings"][0].startswith("`paid`: alone it predicts")
    assert f"warning: {summary['warnings'][-1]}" in done.stderr.splitlines()
    assert summary["warnings"][-1].startswith("leaking.csv: line 1502: 9 values where the header has 8")
    assert [role["field"] for role in summary["roles"]][-3:] == ["clicked", "paid", "note"]
    printed = json.loads(done.stdout)
    assert printed == {name: value for name, value in summary.items() if name != "roles"}
    assert printed["verdict"][0].startswith("1,500 rows, label `clicked`")


def test_settings_go_by_the_rows_that_are_trained_on(command: Command, tmp_path: Path) -> None:
    frame, fits = clicks(600), []
    unlabelled = frame.head(20).assign(clicked="", price=-1.0)
    for name, rows in {"once": [frame], "twice": [frame, frame], "more": [frame, unlabelled]}.items():
        pd.concat(rows).to_csv(tmp_path / f"{name}.csv", index=False)
        out = tmp_path / name
        command("train", tmp_path / f"{name}.csv", "--label", "clicked", "--out", out, "--epochs", 1, "--folds", 0)
        fits.append(json.loads((out / "spec.json").read_text())["fit"])
    assert fits[0] == fits[1] == fits[2]


def test_roles_prints_one_line_a_column_without_training(command: Command, tmp_path: Path) -> None:
    done = command("roles", leaking(tmp_path), "--label", "clicked", "--bucketised", "price")
    roles = csv(done.stdout)
    assert list(roles.columns) == ["field", "kind", "separator", "missing", "why", "warning"]
    by_field = roles.set_index("field")
    assert list(by_field.index) == [*clicks(2).columns, "paid", "note"]
    assert by_field.loc["clicked", "kind"] == "label"
    assert tuple(by_field.loc["interests", ["kind", "separator"]]) == ("multi-valued", "|")
    assert tuple(by_field.loc["price", ["kind", "why"]]) == ("bucketised", "chosen by you")
    assert tuple(by_field.loc["note", ["kind", "missing", "why"]]) == ("ignore", 1500, "empty in every row")
    assert "warning: `paid`: alone it predicts" in done.stderr


def test_roles_says_which_lines_were_left_out(command: Command, tmp_path: Path) -> None:
    lines = clicks(300).to_csv(index=False).splitlines()
    (tmp_path / "t.csv").write_text("\n".join([*lines[:20], "broken", *lines[20:]]) + "\n")
    done = command("roles", tmp_path / "t.csv", "--label", "clicked")
    assert "warning: t.csv: line 21: 1 value where the header has" in done.stderr


@pytest.mark.parametrize(("written", "mark"), [("^", "^"), (r"\x7e", "~"), (":", ":"), ("", ",")])
def test_a_separator_stands_behind_the_name(command: Command, tmp_path: Path, written: str, mark: str) -> None:
    frame = clicks()
    path = tmp_path / "t.csv"
    frame.assign(interests=frame["interests"].str.replace("|", mark)).to_csv(path, index=False)
    done = command("roles", path, "--label", "clicked", "--quiet", "--multi-valued", f"interests:{written}")
    assert tuple(csv(done.stdout).set_index("field").loc["interests", ["kind", "separator"]]) == ("multi-valued", mark)


def test_what_training_did_not_see_is_said_or_refused(
    command: Command, trained: Path, table: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.csv"
    pd.read_csv(table).assign(site="elsewhere", device="").to_csv(other, index=False)
    for verb in ("predict", "explain"):
        done = command(verb, trained, other)
        assert len(csv(done.stdout)) == 1500
        assert "warning: other.csv, field `site`: 100% of the cells (1,500 of 1,500) hold values" in done.stderr
        assert "warning: other.csv, field `device`: 100% of the cells (1,500 of 1,500) have no value" in done.stderr
        assert command(verb, trained, table).stderr == ""
        refused = command(verb, trained, other, "--strict")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "field `site`: 100% of the cells" in refused.stderr
    out = tmp_path / "tested"
    asked = ("--label", "clicked", "--test-table", other, "--out", out, "--epochs", 1, "--folds", 0)
    done = command("train", table, *asked)
    assert "note: other.csv, field `site`: 100% of the cells" in done.stderr
    assert any("field `device`" in note for note in json.loads(done.stdout)["notes"])


def test_quiet_says_nothing_on_stderr(command: Command, table: Path, tmp_path: Path) -> None:
    done = command("train", table, "--label", "clicked", "--out", tmp_path / "r", "--epochs", 1, "--quiet")
    assert done.stderr == ""


def test_explain_splits_every_logit_and_predict_is_its_sigmoid(command: Command, trained: Path, table: Path) -> None:
    terms = csv(command("explain", trained, table).stdout)
    header = "row,probability,logit,bias,first_order,second_order,fm_logit,dnn_logit"
    assert list(terms.columns) == header.split(",")
    parts = terms["bias"] + terms["first_order"] + terms["second_order"]
    np.testing.assert_allclose(parts + terms["dnn_logit"], terms["logit"], atol=1e-4)
    np.testing.assert_allclose(parts, terms["fm_logit"], atol=1e-6)
    predicted = csv(command("predict", trained, table).stdout)
    assert list(predicted["row"]) == list(range(1500))
    np.testing.assert_allclose(predicted["probability"], 1 / (1 + np.exp(-terms["logit"])), atol=1e-9)


def test_interactions_come_strongest_first_and_find_the_planted_pair(command: Command, trained: Path) -> None:
    pairs = csv(command("interactions", trained).stdout)
    assert list(pairs.columns[:3]) == ["field_a", "field_b", "strength"]
    assert pairs["strength"].is_monotonic_decreasing
    assert len(pairs) == 10


def test_the_evidence_of_a_run_names_the_planted_pair(command: Command, trained: Path) -> None:
    pairs = csv(command("interactions", trained).stdout)
    assert {pairs.loc[0, "field_a"], pairs.loc[0, "field_b"]} == {"device", "placement"}
    assert pairs["significant"].sum() == 1


def test_a_table_can_be_asked_without_a_run(command: Command, table: Path) -> None:
    done = command("interactions", table, "--label", "clicked", "--observed-only")
    assert "pairs is clear above noise in the data." in done.stderr
    pairs = csv(done.stdout)
    assert {pairs.loc[0, "field_a"], pairs.loc[0, "field_b"]} == {"device", "placement"}
    assert pairs["learned"].isna().all()
    assert command("interactions", table, "--observed-only").returncode == 2
    left_out = csv(command("interactions", table, "--label", "clicked", "--observed-only", "--ignore", "device").stdout)
    assert len(left_out) < len(pairs)
    assert "device" not in {*left_out["field_a"], *left_out["field_b"]}


def test_the_same_seed_gives_the_same_scores(command: Command, table: Path, tmp_path: Path) -> None:
    settings = ("train", table, "--label", "clicked", "--epochs", 2, "--dropout", 0.2, "--seed", 7)
    one = json.loads(command(*settings, "--out", tmp_path / "one").stdout)
    two = json.loads(command(*settings, "--out", tmp_path / "two").stdout)
    assert one["test"] == two["test"]


@pytest.mark.parametrize("model", ["lr", "fm", "dnn", "fnn", "pnn", "fm-dnn", "dcn"])
def test_models_without_some_part_train_and_explain(command: Command, table: Path, tmp_path: Path, model: str) -> None:
    out = tmp_path / model
    done = command("train", table, "--label", "clicked", "--model", model, "--out", out, "--epochs", 2, "--folds", 0)
    assert done.returncode == 0, done.stderr
    terms = csv(command("explain", out, table).stdout)
    total = terms["bias"] + terms["first_order"] + terms["second_order"] + terms["dnn_logit"]
    np.testing.assert_allclose(total, terms["logit"], atol=1e-4)
    assert command("interactions", out).returncode == 0


def test_several_seeds_train_several_runs(command: Command, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "seeds"
    done = command("train", table, "--label", "clicked", "--out", out, "--epochs", 1, "--seeds", 2, "--quiet")
    summary = json.loads(done.stdout)
    aucs = [run["test"]["auc"] for run in summary["runs"]]
    assert summary["test"]["auc"] == pytest.approx(np.mean(aucs))
    assert {path.name for path in out.iterdir()} == {"seed-0", "seed-1"}


def test_kinds_can_be_chosen(command: Command, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "kinds"
    kinds = ("--categorical", "price", "--multi-valued", "interests", "--ignore", "site,placement")
    done = command("train", table, "--label", "clicked", "--out", out, "--epochs", 1, *kinds)
    assert done.returncode == 0, done.stderr
    pairs = csv(command("interactions", out).stdout)
    assert set(pairs["field_a"]) | set(pairs["field_b"]) == {"device", "interests", "price"}


@pytest.mark.parametrize("kind", ["numeric", "piecewise", "bucketised", "dense"])
def test_every_numeric_kind_trains(command: Command, table: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / kind
    done = command("train", table, "--label", "clicked", "--out", out, "--epochs", 1, f"--{kind}", "price")
    assert done.returncode == 0, done.stderr
    assert command("predict", out, table).returncode == 0


def test_a_run_in_a_folder_below_where_one_stands_has_its_evidence(table: Path, tmp_path: Path) -> None:
    words = ["train", str(table), "--label", "clicked", "--out", "run", "--epochs", "1", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "deepfm_core", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert pd.read_parquet(tmp_path / "run" / "frames" / "pairs.parquet")["observed"].notna().all()


def test_a_run_without_out_goes_to_the_store(command: Command, table: Path) -> None:
    done = command("train", table, "--label", "clicked", "--epochs", 1, "--quiet")
    folder = json.loads(done.stdout)["run"]
    listed = csv(command("runs").stdout)
    mine = listed[listed["folder"] == folder]
    assert list(mine["state"]) == ["finished"]
    assert command("interactions", mine["id"].iloc[0]).returncode == 0


def test_read_prints_the_table_as_understood(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes('id;name;click\r\n007;Zoë, A.;1\r\n1e5;"a;b";0\r\n'.encode("latin-1"))
    done = command("read", path)
    assert done.stdout.replace("\r\n", "\n") == 'id,name,click\n007,"Zoë, A.",1\n1e5,a;b,0\n'
    report = json.loads(done.stderr)
    assert report["delimiter"] == ";"
    assert report["header_line"] == 1


def test_separate_tables_take_the_place_of_their_share(command: Command, table: Path, tmp_path: Path) -> None:
    test = tmp_path / "test.csv"
    frame = clicks(300, seed=9)
    frame["clicked"] = frame["clicked"].map({0: "0.", 1: "1."})  # labels with a dot, as in the UCI Adult test file
    frame.loc[3, "device"] = "?"
    frame.to_csv(test, index=False)
    done = command(
        "train", table, "--label", "clicked", "--test-table", test, "--out", tmp_path / "r", "--epochs", 1, "--quiet"
    )
    assert json.loads(done.stdout)["rows"] == {"train": 1350, "valid": 150, "test": 300}


def test_a_header_line_of_thousands_of_digits_gets_a_sentence(command: Command, table: Path) -> None:
    done = command("read", table, "--header", "9" * 5000)
    assert done.returncode == 2
    assert "Use yes, no, or the number of its line, from 1." in done.stderr


def test_a_file_without_a_header_is_read_as_the_header_option_says(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,1\nb,2\n")
    assert command("read", path).stdout == "column 1,column 2\na,1\nb,2\n"
    assert command("read", path, "--header", "yes").stdout == "a,1\nb,2\n"


def test_what_is_said_of_a_file_is_heeded_and_kept(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("made by hand\nä|b\n'x\t1|2\n".encode("utf-16-le"))
    said = ["--encoding", "utf-16-le", "--delimiter", "bar", "--quoting", "none", "--header", 2]
    done = command("read", path, *said)
    assert done.stdout == "ä,b\n'x\t1,2\n"
    kept = {"encoding": "utf-16-le", "delimiter": "|", "quoting": "none", "header": 2}
    assert json.loads(done.stderr)["choices"] == kept
    wrong = command("read", path, "--encoding", "klingon")
    assert (wrong.returncode, wrong.stderr[:33]) == (2, "error: Encoding is 'klingon'. Use")


def test_every_row_is_answered_and_what_is_none_is_said(command: Command, trained: Path, table: Path) -> None:
    rows = table.read_text().splitlines()[:51]
    more = table.with_name("more.csv")
    more.write_text("\n".join([*rows[:2], "," * rows[0].count(","), rows[0], *rows[2:]]) + "\n")
    done = command("predict", trained, more)
    assert list(csv(done.stdout)["row"]) == list(csv(command("explain", trained, more).stdout)["row"])
    assert list(csv(done.stdout)["row"]) == [0, *range(3, 52)]
    assert "record 1 (from 0) below the header is an empty record; it was left out" in done.stderr
    assert "record 2 (from 0) below the header is the header once more; it was left out" in done.stderr
    assert "rows have the numbers of their records in the file" in done.stderr


def broken(tmp_path: Path, name: str) -> tuple[Path, str]:
    """Write a bad table; return it with the words its error must hold."""
    frame = clicks(200)
    path = tmp_path / f"{name}.csv"
    if name == "one class":
        frame["clicked"] = 1
    if name == "three classes":
        frame.loc[0, "clicked"] = 2
    if name == "all missing":
        frame["clicked"] = ""
    if name == "no label":
        frame = frame.rename(columns={"clicked": "clickd"})
    text = frame.to_csv(index=False)
    contents: dict[str, tuple[bytes, str]] = {
        "empty": (b"", "empty"),
        "header only": (b"a,b,clicked\n", "rows"),
        "one column": (b"clicked\n1\n0\n", "column"),
        "no label": (text.encode(), "clickd"),
        "one class": (text.encode(), "1"),
        "three classes": (text.encode(), "2"),
        "all missing": (text.encode(), "missing"),
        "binary": (bytes(range(256)) * 40, "binary"),
    }
    content, words = contents[name]
    path.write_bytes(content)
    return path, words


@pytest.mark.parametrize(
    "name",
    [
        "empty",
        "header only",
        "one column",
        "no label",
        "one class",
        "three classes",
        "all missing",
        "binary",
    ],
)
def test_a_bad_table_ends_with_one_clear_error(command: Command, tmp_path: Path, name: str) -> None:
    path, words = broken(tmp_path, name)
    done = command("train", path, "--label", "clicked", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [path.name]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "deepfn"), "deepfn"),
        (("--layers", "64,x"), "x"),
        (("--embedding-size", "0"), "0"),
        (("--categorical", "nope"), "nope"),
        (("--ignore", "device", "--categorical", "device"), "device"),
        (("--valid", "0"), "validation"),
        (("--valid", "0.6", "--test", "0.5"), "Leave rows"),
        (("--split-by", "weekday"), "time:FIELD"),
        (("--split-by", "time:device"), "device"),
        (("--numeric", "device"), "device"),
        (("--frobnicate",), "frobnicate"),
    ],
)
def test_a_bad_setting_ends_with_its_remedy(
    command: Command, table: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = command("train", table, "--label", "clicked", "--out", tmp_path / "out", *arguments)
    assert done.returncode == 2, done.stdout
    assert done.stderr.count("error: ") == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("trian t.csv --label y", "There is no command `trian`. Did you mean `train`? "),
        ("train t.csv --lable y", "There is no option --lable. Did you mean `--label`"),
        ("train t.csv --label y --no-bach-norm", "no option --no-bach-norm. Did you mean `--no-batch-norm`"),
        ("--verion", "There is no option --verion. Did you mean `--version`?"),
        ("train t.csv --label y more", "`more` is one word too many. Put names with spaces in quotes."),
        ("train", "TABLE and --label NAME are missing."),
        ("compare t.csv", "--label NAME is missing."),
        ("interactions r --top five", "Option --top: `five` is not a whole number. Write it in digits, such as 20."),
        ("interactions r --top", "Option --top has no value. Give one: --top N."),
        ("read t.csv --max-mb much", "Option --max-mb: `much` is not a number. Write it with a point, such as 0.5."),
        ("train t.csv --label y --embedding-size 1.5", "Option --embedding-size: `1.5` is not a whole number."),
        ("train t.csv --label y --quiet=3", "Option --quiet takes no value, and '3' is one. Leave it out."),
        ("train t.csv --label y --s 3", "--seed or --seeds. Write it in full."),
        ("worker --ilde 3", "There is no option --ilde. Did you mean `--idle`? See `python -m deepfm_core worker"),
        ("worker --idle long", "Option --idle: `long` is not a number."),
        ("worker --processors 0", "Option --processors: `0` is not a whole number of 1 or more."),
        ("worker --processors " + "9" * 5000, "9` is not a whole number of 1 or more."),
    ],
)
def test_words_that_are_not_understood_get_a_sentence_of_ours(
    typed: str, said: str, command: Command, tmp_path: Path
) -> None:
    done = command(*typed.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert re.search(r"See `python -m deepfm_core( \w+)? --help`\.$", done.stderr.strip())
    assert not list(tmp_path.iterdir())


def test_letters_of_every_script_stay_as_they_are_where_they_can(tmp_path: Path, process: Command) -> None:
    path = tmp_path / "表.csv"
    path.write_text("设备,设备\n手机,القاهرة\n,\n", encoding="utf-8")
    said = process("read", path).stderr
    assert "设备" in said
    assert "\\u" not in said
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    assert as_json({"field": "设备"}, latin) == '{"field": "\\u8bbe\\u5907"}'
    assert as_json({"field": "café"}, latin) == '{"field": "café"}'


def test_an_output_folder_that_exists_is_left_alone(command: Command, table: Path, tmp_path: Path) -> None:
    done = command("train", table, "--label", "clicked", "--out", tmp_path)
    assert done.returncode == 2
    assert "exists" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_too_little_memory_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def too_large(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("deepfm_core.cli.options.read_table", too_large)
    assert main(["read", "t.csv"]) == 2
    assert "This machine's memory is not enough. Use fewer rows or columns" in capsys.readouterr().err


def test_a_missing_file_is_named(process: Command, trained: Path, tmp_path: Path) -> None:
    done = process("predict", trained, tmp_path / "nowhere.csv")
    assert done.returncode == 2
    assert "nowhere.csv" in done.stderr
    assert process("explain", tmp_path / "no-run", tmp_path).returncode == 2


def test_missing_columns_at_prediction_time_are_all_named(command: Command, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    clicks(10).drop(columns=["device", "price", "clicked"]).to_csv(path, index=False)
    done = command("predict", trained, path)
    assert done.returncode == 2
    assert "device" in done.stderr
    assert "price" in done.stderr


def test_unseen_values_are_answered(command: Command, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    frame = clicks(5).drop(columns="clicked")
    frame["device"] = "hologram"
    frame["interests"] = "zz|a"
    frame.to_csv(path, index=False)
    predicted = csv(command("predict", trained, path).stdout)
    assert predicted["probability"].between(0, 1).all()


def test_a_value_that_is_no_number_is_named_at_prediction_time(command: Command, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    frame = clicks(5).astype({"price": object})
    frame.loc[2, "price"] = "12,50"
    frame.loc[3, "price"] = "inf"
    frame.to_csv(path, index=False)
    done = command("predict", trained, path)
    assert done.returncode == 2
    assert "column `price`: row 2 (line 4) is not a number (found `12,50`)" in done.stderr
    assert "column `price`: row 3 (line 5) is infinite (found `inf`)" in done.stderr


def test_a_run_of_one_field_answers_a_table_of_one_column(command: Command, table: Path, tmp_path: Path) -> None:
    out, rows, parquet = tmp_path / "one", tmp_path / "rows.csv", tmp_path / "rows.parquet"
    ignored = ("--ignore", "site,placement,interests,price", "--epochs", 1, "--quiet")
    done = command("train", table, "--label", "clicked", "--out", out, *ignored)
    assert done.returncode == 0, done.stderr
    devices = pd.DataFrame({"device": ["phone", None, "tv, large", "phone"]})
    devices.to_csv(rows, index=False)
    devices.to_parquet(parquet)
    pairs = command("interactions", out)
    assert pairs.stdout.count("\n") == 1
    assert "note: No pairs: a pair needs two fields, and there is only `device`. Give a second column" in pairs.stderr
    for path in (rows, parquet):
        predicted = csv(command("predict", out, path).stdout)
        assert list(predicted["row"]) == [0, 1, 2, 3]
        assert predicted["probability"][0] == predicted["probability"][3] != predicted["probability"][1]
        assert len(csv(command("explain", out, path).stdout)) == 4
    for text in ('"a"b,device\n1\n', '"device\nphone\n', "x" * 200_000, 'device\nphone\n"tv"x\n'):
        rows.write_text(text)
        for verb in ("predict", "explain"):
            done = command(verb, out, rows)
            assert done.returncode == 2, done.stderr
            assert "Traceback" not in done.stderr
    beside = devices.assign(other=1)
    beside.to_csv(rows, index=False)
    assert list(csv(command("predict", out, rows).stdout)["probability"]) == list(predicted["probability"])


def test_codes_are_answered_the_same_from_a_file_where_a_null_made_them_floats(
    command: Command, tmp_path: Path
) -> None:
    frame = clicks(1000).assign(region=lambda rows: (rows.index * 7919) % 5)
    frame.to_csv(tmp_path / "table.csv", index=False)
    out, ignored = tmp_path / "codes", ("--ignore", "site,interests,price", "--epochs", 1, "--quiet")
    done = command("train", tmp_path / "table.csv", "--label", "clicked", "--out", out, *ignored)
    assert done.returncode == 0, done.stderr
    answers = []
    for region in (frame["region"], frame["region"].astype(float)):
        frame.assign(region=region).to_csv(tmp_path / "rows.csv", index=False)
        answers.append(command("predict", out, tmp_path / "rows.csv").stdout)
    assert answers[0] == answers[1] != ""


def test_a_ragged_table_is_not_answered_with_rows_missing(command: Command, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "ragged.csv"
    lines = clicks(50).to_csv(index=False).splitlines()
    lines[20] += ",surplus"
    path.write_text("\n".join(lines))
    done = command("predict", trained, path)
    assert done.returncode == 2
    assert "line 21" in done.stderr


def test_a_field_of_very_many_values_trains(command: Command, tmp_path: Path) -> None:
    frame = clicks(2000)
    frame["user"] = [f"u{i % 1900}" for i in range(2000)]
    frame.to_csv(tmp_path / "wide.csv", index=False)
    done = command(
        "train",
        tmp_path / "wide.csv",
        "--label",
        "clicked",
        "--out",
        tmp_path / "r",
        "--categorical",
        "user",
        "--epochs",
        1,
        "--quiet",
    )
    assert done.returncode == 0, done.stderr


def test_compare_prints_the_models_best_first_with_their_differences(command: Command, table: Path) -> None:
    done = command("compare", table, "--label", "clicked", "--models", "deepfm,lr", "--seeds", 2, "--epochs", 2)
    assert "Use " in done.stderr
    assert done.returncode == 0, done.stderr
    found = pd.read_csv(io.StringIO(done.stdout))
    assert set(found["model"]) == {"lr", "deepfm", "boosting"}
    assert found["model"].iloc[-1] == "boosting"
    assert list(found["runs"]) == [2, 2, 1]
    assert list(found["baseline"]) == list(found["yardstick"]) == [False, False, True]
    assert found.loc[found["model"] == "lr", "relative_seconds"].iloc[0] == 1.0
    assert "5 of 5" in done.stderr


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a,b", ["a", "b"]),
        ("a\nb\r\n c,", ["a", "b", "c"]),
        ('"a,\nb",c', ["a,\nb", "c"]),
        (",,\n", []),
        ("a\u2028b", ["a\u2028b"]),
    ],
)
def test_names_stand_between_commas_or_on_lines_of_their_own(text: str, names: list[str]) -> None:
    assert parse(["train", "t.csv", "--label", "y", "--categorical", text]).categorical == names


@pytest.mark.parametrize("option", ["--no-baseline", "--no-yardstick"])
def test_compare_leaves_the_baseline_out_under_both_names_of_the_option(option: str) -> None:
    assert parser().parse_args(["compare", "T", "--label", "L", option]).no_baseline


def test_the_help_of_compare_shows_the_option_s_name_of_today(command: Command) -> None:
    said = command("compare", "--help").stdout
    assert "--no-baseline" in said
    assert "--no-yardstick" not in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--models", "lr,xgboost"], "Model to compare is `xgboost`"),
        (["--seeds", "0"], "Seeds is 0"),
        (["--models", "lr,fm", "--cross", "device*site"], "Compare wide-deep as well"),
        (["--dropout", "1.5"], "Dropout is 1.5"),
    ],
)
def test_a_comparison_that_cannot_be_done_says_why(
    command: Command, table: Path, options: list[str], said: str
) -> None:
    done = command("compare", table, "--label", "clicked", *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert not done.stdout


def test_the_baseline_is_no_model_to_train(command: Command, table: Path) -> None:
    done = command("train", table, "--label", "clicked", "--model", "boosting")
    assert done.returncode == 2
    assert "Model is 'boosting'. Use one of lr" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "TABLE", "--label", "clicked", "--layers", "64,x"], "'64,x' is not a list of widths such as 64,32"),
        (["train", "TABLE", "--label", "clicked", "--categorical", "devise"], "Did you mean `device`?"),
        (["predict", "no/such/folder", "TABLE"], "there is no such folder"),
        (["interactions", "TABLE"], "is a file"),
        (["interactions", "RUN", "--label", "site"], "Option --label is 'site', but"),
        (["interactions", "RUN", "--dense", "price,age"], "Option --dense is 'price,age', but"),
        (["interactions", "RUN", "--seed", "0"], "Option --seed is 0, but"),
        (["interactions", "RUN", "--max-mb", "5"], "Option --max-mb is 5.0, but"),
        (
            ["interactions", "RUN", "--observed-only", "--label", "site"],
            "is the folder of a run, and --observed-only asks a table",
        ),
        (["interactions", "RUN", "--top", "0"], "Top is 0. Use 1 or more."),
        (["explain", "RUN", "TABLE", "--top", "-1"], "Top is -1. Use 1 or more."),
    ],
)
def test_a_slip_of_the_keyboard_gets_its_remedy(command: Command, table: Path, words: list[str], said: str) -> None:
    places = {"TABLE": table, "RUN": ROOT / "sample_data" / "run"}
    done = command(*(places.get(word, word) for word in words))
    assert done.returncode == 2
    assert said in done.stderr


def test_a_training_that_the_table_stops_leaves_no_run_in_the_store(command: Command, table: Path) -> None:
    before = command("runs").stdout
    done = command("train", table, "--label", "clicked", "--piecewise", "site", "--quiet")
    assert done.returncode == 2
    assert "is not a number" in done.stderr
    assert command("runs").stdout == before


def test_a_run_that_is_not_there_is_told_in_the_words_of_the_command_line(command: Command) -> None:
    done = command("interactions", "nosuch")
    assert "Run `nosuch` is no folder and no run of the store" in done.stderr
    assert "The command `runs` lists its runs." in done.stderr


def test_what_needs_no_action_is_a_note_and_no_warning(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "titled.csv"
    sample = (ROOT / "sample_data" / "clicks.csv").read_text(encoding="utf-8")
    path.write_text("Clicks of May\n\n" + "\n".join(sample.splitlines()[:60]), encoding="utf-8")
    done = command("predict", ROOT / "sample_data" / "run", path)
    said = [line for line in done.stderr.splitlines() if "stands before the header" in line]
    assert len(said) == 1
    assert said[0].startswith("note: ")


@pytest.mark.parametrize("verb", ["read", "roles", "train"])
def test_a_file_that_is_not_there_says_what_was_looked_for_and_where(verb, command) -> None:
    label = () if verb == "read" else ("--label", "clicked")
    said = command(verb, "nothere.csv", *label).stderr
    assert said.count("nothere.csv") == 2
    assert f"there is no such file (looked for `{ROOT / 'nothere.csv'}`). Check the name and the folder." in said


def test_only_what_was_found_is_said_to_be_found(command, table, tmp_path) -> None:
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(b"PAR1" + bytes(40) + b"PAR1")
    for said in (
        command("train", table, "--label", "clicked", "--positive", "yes").stderr,
        command("read", tmp_path / "*.csv").stderr,
        command("read", damaged).stderr,
    ):
        assert "error: " in said
        assert "(found" not in said


def test_help_shows_what_export_and_interactions_need(command) -> None:
    said = " ".join(command("export", "--help").stdout.split())
    assert "export RUN --format NAME --out PATH [--mlflow URI]" in said
    assert "export RUN --mlflow URI" in said
    assert "interactions TABLE --observed-only --label NAME" in " ".join(
        command("interactions", "--help").stdout.split()
    )


def test_predict_keeps_the_columns_of_the_table_on_request(command, tmp_path) -> None:
    rows = pd.read_csv(ROOT / "sample_data" / "clicks.csv", dtype=str).head(5).assign(row="mine", probability="p")
    rows.to_csv(tmp_path / "rows.csv", index=False)
    done = command("predict", ROOT / "sample_data" / "run", tmp_path / "rows.csv", "--keep-columns")
    scored = pd.read_csv(io.StringIO(done.stdout), dtype=str)
    plain = pd.read_csv(
        io.StringIO(command("predict", ROOT / "sample_data" / "run", tmp_path / "rows.csv").stdout), dtype=str
    )
    pd.testing.assert_frame_equal(scored[["row", "probability"]], plain)
    kept = rows.rename(columns={"row": "row (cell)", "probability": "probability (cell)"})
    pd.testing.assert_frame_equal(scored[list(kept)], kept, check_dtype=False)


@pytest.mark.parametrize("words", [("roles", "TABLE", "--label", "clicked"), ("predict", "RUN", "TABLE")])
def test_a_column_missing_for_want_of_a_header_line_says_so(words, command, tmp_path) -> None:
    headless = tmp_path / "rows.csv"
    headless.write_text("".join(f"{kind},{place},{n},{n % 2}\n" for n, (kind, place) in enumerate([("a", "b")] * 8)))
    given = [{"TABLE": headless, "RUN": ROOT / "sample_data" / "run"}.get(word, word) for word in words]
    said = command(*given).stderr
    assert "the file was read without a header line, so its columns are called `column 1`" in said
    assert "(`--header yes`)" in said


def test_copies_of_rows_are_left_out_or_kept_and_said(process: Command, table: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(table, dtype=str)
    twice = tmp_path / "twice.csv"
    pd.concat([rows, rows]).to_csv(twice, index=False)
    said = "twice.csv: 1,500 of 3,000 rows are copies of others: alike in every field and in the label."
    asked = ("--label", "clicked", "--epochs", 1, "--folds", 0)
    done = process("train", twice, *asked, "--out", tmp_path / "left out")
    summary = json.loads(done.stdout)
    assert f"warning: {said} They are left out" in done.stderr
    assert summary["rows"] == {"train": 1200, "valid": 150, "test": 150}
    held = {"count": 1500, "rows": 3000, "kept": False, "sampled": False, "nearly": 0, "besides": []}
    assert summary["copies"] == held
    kept = process("train", twice, *asked, "--out", tmp_path / "kept", "--copies", "keep")
    assert f"warning: {said} They are kept" in kept.stderr
    assert json.loads(kept.stdout)["rows"] == {"train": 2400, "valid": 300, "test": 300}
    assert json.loads(kept.stdout)["copies"]["kept"]
    pairs = [process("interactions", path, "--observed-only", "--label", "clicked").stdout for path in (table, twice)]
    strengths = [csv(text).sort_values(["field_a", "field_b"])["observed_z"].to_numpy() for text in pairs]
    np.testing.assert_allclose(*strengths, atol=0.5)
    wrong = process("roles", twice, "--label", "clicked", "--copies", "away")
    assert (wrong.returncode, wrong.stdout) != (0, "")
    assert "Copies is 'away'. Use drop, keep or once." in wrong.stderr
