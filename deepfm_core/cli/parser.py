"""The commands and their options. This module imports nothing heavy, so that `--help` answers at once."""

from __future__ import annotations

import argparse
import csv
import importlib
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import deepfm_core
from deepfm_core._arguments import Parser, number, whole_number
from deepfm_core.errors import SpecError, did_you_mean
from deepfm_core.export.formats import FORMATS
from deepfm_core.schema.kinds import Kind
from deepfm_core.spec.models import MODELS, PUBLISHED
from deepfm_core.spec.settings import SETTINGS, Setting
from deepfm_core.spec.value_kinds import Crosses, Flag, Number, Whole, Widths

POSITIVE_HELP = "the label's value that is positive (inferred); of several values 'a|b', of numbers '>=4'"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; the result's `run` does the command.

    Raises:
        SpecError: the words are not understood.
    """
    whole, verbs = _parsers()
    verb = next((word for word in arguments if not word.startswith("-")), None)
    if verb is not None and verb not in verbs:
        raise SpecError(f"There is no command `{verb}`. {did_you_mean(verb, list(verbs))}See `{whole.prog} --help`.")
    parsed: argparse.Namespace
    parsed, unknown = whole.parse_known_args(arguments)
    if unknown:
        (verbs[verb] if verb else whole).refuse(unknown[0])
    return parsed


def parser() -> argparse.ArgumentParser:
    """Make the parser of all commands and their options."""
    return _parsers()[0]


def _parsers() -> tuple[Parser, dict[str, Parser]]:
    """Make the parser of all commands, and give the parser of each by its name, too."""
    whole = Parser(prog=program(), description=deepfm_core.__doc__)
    whole.add_argument("--version", action="version", version=f"deepfm {deepfm_core.__version__}")
    verbs = whole.add_subparsers(dest="verb", required=True, metavar="COMMAND", parser_class=Parser)
    _train(verbs)
    _compare(verbs)
    predicted = _on_rows(
        verbs, "predict", "score the rows of a table; prints CSV: row,probability, in the order of the rows"
    )
    predicted.add_argument("--keep-columns", action="store_true", help="print the columns of TABLE behind them, too")
    explained = _on_rows(
        verbs, "explain", "score rows and split each logit into its parts; prints CSV, one line per row"
    )
    _top(explained)
    _interactions(verbs)
    _export(verbs)
    read = _verb(
        verbs,
        "read",
        "show how a file is read; prints the table as CSV, and on stderr a JSON object that says how",
        "tables",
        "read",
    )
    read.add_argument("table", type=Path, metavar="TABLE")
    _role_table(verbs)
    _reading(read)
    _verb(verbs, "runs", "list the runs of the store, the newest first, as CSV", "store", "runs")
    _upkeep(verbs)
    verbs.add_parser("worker", help="take queued runs from the store until none comes for a while", add_help=False)
    return whole, verbs.choices


def program() -> str:
    """Return what was typed to get here: the installed command, or the module."""
    return "deepfm" if Path(sys.argv[0]).stem == "deepfm" else "python -m deepfm_core"


def _verb(verbs: Any, name: str, text: str, module: str = "", function: str = "run") -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text)
    verb.set_defaults(run=_deferred(module or name, function))
    return verb


def _upkeep(verbs: Any) -> None:
    check = _verb(verbs, "check", "read every file of the store, and say what is damaged", "store", "check")
    check.add_argument("--repair", action="store_true", help="put right what can be; the server must not run")
    well = _verb(verbs, "health", "say whether server, workers and disk do well", "store", "health")
    well.add_argument("--server", metavar="URL", help="of a server that must answer, such as http://127.0.0.1:8501")
    copied = _verb(verbs, "backup", "copy the store, which may be in use, to a new folder", "store", "backup")
    copied.add_argument("folder", type=Path, metavar="FOLDER", help="where to; it must not exist yet")
    back = _verb(verbs, "restore", "put a backup in the place of the store", "store", "restore")
    back.add_argument("folder", type=Path, metavar="FOLDER", help="what `backup` wrote")


def _deferred(module: str, function: str) -> Callable[[argparse.Namespace], None]:
    def run(arguments: argparse.Namespace) -> None:
        getattr(importlib.import_module(f"deepfm_core.cli.{module}"), function)(arguments)

    return run


def _on_rows(verbs: Any, name: str, text: str) -> argparse.ArgumentParser:
    verb = _verb(verbs, name, text)
    verb.add_argument("folder", metavar="RUN", help="a run's folder, its id, or a bundle")
    verb.add_argument("table", type=Path, metavar="TABLE", help="rows with the run's fields; a label is not needed")
    verb.add_argument(
        "--strict", action="store_true", help="make a warning about new, missing or outlying values an error"
    )
    _reading(verb)
    return verb


def _top(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--top",
        type=whole_number,
        metavar="N",
        help="how many rows: the first N (else 20 on a terminal, all in a file)",
    )


def _interactions(verbs: Any) -> None:
    verb = _verb(verbs, "interactions", "rank the pairs of fields of a run or a table; prints CSV, the strongest first")
    called = f"{program()} interactions"
    verb.usage = f"{called} RUN [options]\n       {called} TABLE --observed-only --label NAME [options]"
    verb.add_argument(
        "folder", metavar="RUN|TABLE", help="a run's folder, its id or a bundle; or a table, with --observed-only"
    )
    _top(verb)
    text = "print every column, as CSV; else a terminal shows a few. --top limits the rows"
    verb.add_argument("--all", action="store_true", help=text)
    verb.add_argument(
        "--observed-only", action="store_true", help="rank the pairs of a table by its labels alone; needs no run"
    )
    verb.add_argument("--label", metavar="NAME", help="of a table, which needs it: the column to predict")
    verb.add_argument("--positive", metavar="VALUE", help=f"of a table: {POSITIVE_HELP}")
    _reading(verb)
    verb.add_argument("--seed", type=whole_number, help="of a table: seed of the labels drawn without interaction (0)")
    _roles(verb)


def _export(verbs: Any) -> None:
    verb = _verb(verbs, "export", "write a finished run as one file, or send it to MLflow; prints where it is")
    called = f"{program()} export"
    verb.usage = f"{called} RUN --format NAME --out PATH [--mlflow URI]\n       {called} RUN --mlflow URI"
    verb.add_argument("folder", metavar="RUN", help="a run's folder, its id, or a bundle")
    verb.add_argument("--format", metavar="NAME", help=f"of the file, which needs it: {', '.join(FORMATS)}")
    text = "the file to write, which needs it; it must not exist yet"
    verb.add_argument("--out", type=Path, metavar="PATH", help=text)
    _mlflow(verb)


def _mlflow(verb: argparse.ArgumentParser) -> None:
    text = "send the run to MLflow at this address: settings, metrics by epoch, bundle and report"
    verb.add_argument("--mlflow", metavar="URI", help=text)


def _role_table(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "roles",
        "show what each column is taken for, and why; prints CSV, one line per column",
        "tables",
        "roles",
    )
    _table(verb)
    _roles(verb)
    verb.add_argument("--quiet", action="store_true", help="show no notes and no warnings")


def _train(verbs: Any) -> None:
    verb = _verb(verbs, "train", "train a model on a table; prints one JSON object")
    _table(verb)
    verb.add_argument(
        "--out", type=Path, metavar="DIR", help="write the run to this folder, which must not exist yet (the store)"
    )
    _mlflow(verb)
    _roles(verb)
    _settings(verb, "train").add_argument(
        "--model", default="deepfm", metavar="NAME", help=f"{', '.join(MODELS)} (deepfm)"
    )
    text = "memory to use, such as 2GB; of a table that needs more, rows stay on the disk (half of this machine's)"
    verb.add_argument("--memory", metavar="SIZE", help=text)
    text = "processes of this machine, or with --address of a cluster, that share each batch of the fit (1)"
    verb.add_argument("--workers", type=whole_number, default=1, metavar="N", help=text)
    verb.add_argument("--address", default="", metavar="HOST:PORT", help="the Ray cluster that the workers are of")
    verb.add_argument(
        "--seeds", type=whole_number, default=1, metavar="N", help="train N runs with seeds SEED, SEED+1, … (1)"
    )
    verb.add_argument("--quiet", action="store_true", help="show no progress and no warnings")


def _compare(verbs: Any) -> None:
    verb = _verb(verbs, "compare", "train several models on the same rows; prints their results as CSV")
    _table(verb)
    models = [*MODELS, PUBLISHED]
    verb.add_argument("--models", type=_names, default=models, metavar="NAMES", help=f"{','.join(models)} (all)")
    verb.add_argument("--no-baseline", action="store_true", help="leave out gradient boosting")
    # The option's earlier name, for scripts.
    verb.add_argument("--no-yardstick", action="store_true", dest="no_baseline", help=argparse.SUPPRESS)
    _roles(verb)
    _settings(verb, "compare")
    verb.add_argument(
        "--seeds", type=whole_number, default=1, metavar="N", help="runs of each model, on the same rows (1)"
    )
    verb.add_argument("--quiet", action="store_true", help="no progress on stderr")


def _table(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("table", type=Path, metavar="TABLE")
    verb.add_argument("--label", required=True, metavar="NAME", help="the column to predict")
    verb.add_argument("--positive", metavar="VALUE", help=POSITIVE_HELP)
    _reading(verb)


def _reading(verb: argparse.ArgumentParser) -> None:
    reading = verb.add_argument_group("how files are read", "what you do not say is found in the file; `read` shows it")
    for name, (metavar, text) in READ.items():
        reading.add_argument(f"--{name}", metavar=metavar, help=text)
    text = "megabytes that a file may have, before and after it is unpacked (half of this machine's memory)"
    reading.add_argument("--max-mb", type=number, metavar="N", help=text)


READ = {
    "encoding": ("NAME", "the encoding of the text, such as utf-8, cp1252 or gb18030"),
    "delimiter": ("MARK", "between cells: comma, tab, semicolon, bar, space or any other character"),
    "quoting": ("HOW", "quotes of cells: doubled, backslash, single or none"),
    "header": ("yes|no|LINE", "whether the first line of the table names its columns, or the line that does"),
    "sheet": ("NAME", "the sheet of an Excel workbook (the first)"),
    "rows": ("all", "every record is a row: also empty ones, a header once more, totals, notes below"),
}
"""Options that say how a file is read, as `Choices` has them, where it was found wrongly."""


def _roles(verb: argparse.ArgumentParser) -> None:
    roles = verb.add_argument_group(
        "fields", "separate NAMES by commas; a field you do not name gets its kind from its values"
    )
    for kind in Kind:
        text = kind.help + ("; NAME:^ says what stands between them" if kind.is_several else "")
        roles.add_argument(f"--{kind}", type=_names, default=[], metavar="NAMES", help=text)

    text = "rows that are copies of others: drop leaves them out, keep uses them, once uses all alike rows once (drop)"
    roles.add_argument("--copies", metavar="HOW", help=text)

    written = verb.add_argument_group(
        "how cells are written", "separate NAMES by commas; what you do not say is found in the column"
    )
    for name, text in WRITTEN.items():
        written.add_argument(f"--{name}", type=_names, default=[], metavar="NAMES", help=text)
    written.add_argument(
        "--blank-negative", action="store_true", help="a label of one value: blank cells are the other"
    )


WRITTEN = {
    "day-first": "in dates the day comes before the month",
    "month-first": "in dates the month comes before the day",
    "decimal-comma": "a comma stands before decimals, points between thousands",
    "decimal-point": "a point stands before decimals",
    "literal": "no word, number, unit or sign in the cells is read in a special way",
}
"""Options that say how the cells of columns are written, where it was found wrongly."""


def _settings(verb: argparse.ArgumentParser, name: str) -> argparse._ArgumentGroup:
    """Add the options of all settings, and return the group of the model's."""
    parts = verb.add_argument_group("parts")
    parts.add_argument("--valid-table", type=Path, metavar="FILE", help="validate on this table")
    parts.add_argument("--test-table", type=Path, metavar="FILE", help="test on this table")
    parts.add_argument("--split-by", default="random", metavar="HOW", help="random, time:FIELD or group:FIELD (random)")
    model = verb.add_argument_group("model", "settings you do not give come from the preset")
    model.add_argument(
        "--preset", default="recommended", metavar="NAME", help="recommended, paper or quick (recommended)"
    )
    training = verb.add_argument_group("training")
    groups = {"split": parts, "model": model, "fit": training, "run": training}
    for setting in SETTINGS:
        if setting.option and name in setting.option.verbs:
            _setting(groups[setting.home], setting)
    return model


def _setting(group: argparse._ArgumentGroup, setting: Setting) -> None:
    assert setting.option is not None
    text = (setting.explained + (f" ({setting.usual})" if setting.usual else "")).replace("%", "%%")
    if isinstance(setting.values, Flag):
        action = argparse.BooleanOptionalAction
        group.add_argument(setting.flag, dest=setting.name, action=action, default=None, help=text)
        return
    read: Callable[[str], Any] = str
    if isinstance(setting.values, Whole | Number):
        read = whole_number if isinstance(setting.values, Whole) else number
    elif isinstance(setting.values, Widths | Crosses):
        read = _telling(setting.values.read)
    group.add_argument(setting.flag, dest=setting.name, type=read, metavar=setting.option.metavar, help=text)


def _telling(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Make argparse say what `read` says of a text, which it does of its own kind of error alone."""

    def told(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error).removesuffix(".")) from None

    return told


def _names(text: str) -> list[str]:
    """Read names between commas or on lines of their own; one in quotes may hold both."""
    lines = csv.reader(io.StringIO(text, newline=""))
    return [name.strip() for line in lines for name in line if name.strip()]
