"""DeepFM (Guo et al. 2017, arXiv 1703.04247): read a click table, train, and see which field pairs interact."""

# What a name needs is imported when the name is first asked for: `import deepfm_core` alone loads neither torch nor
# pandas, so that `deepfm --help` answers at once. Type checkers read the same names from the block below.

from importlib import import_module
from typing import TYPE_CHECKING, Any

from deepfm_core import _earlier_names

__version__ = "0.1.0"

if TYPE_CHECKING:
    from deepfm_core.classifier import DeepFMClassifier as DeepFMClassifier
    from deepfm_core.encoding.encoded_table import EncodedTable as EncodedTable
    from deepfm_core.encoding.encoder import Encoder as Encoder
    from deepfm_core.encoding.splits import split_rows as split_rows
    from deepfm_core.errors import DeepFMError as DeepFMError
    from deepfm_core.errors import TableWarning as TableWarning
    from deepfm_core.evidence.ranking import observed_interactions as observed_interactions
    from deepfm_core.evidence.verdicts import verdicts as verdicts
    from deepfm_core.explain.frames import pairs_frame as pairs_frame
    from deepfm_core.explain.learned import learned_pairs as learned_pairs
    from deepfm_core.explain.row_terms import terms_frame as terms_frame
    from deepfm_core.metrics.scores import evaluate as evaluate
    from deepfm_core.runs.predictor import Trained as Trained
    from deepfm_core.schema.infer import infer_schema as infer_schema
    from deepfm_core.schema.kinds import Kind as Kind
    from deepfm_core.schema.labels import labelled_rows as labelled_rows
    from deepfm_core.schema.schema import Schema as Schema
    from deepfm_core.spec.presets import settings as settings
    from deepfm_core.spec.run import FitSpec as FitSpec
    from deepfm_core.spec.run import ModelSpec as ModelSpec
    from deepfm_core.spec.run import RunSpec as RunSpec
    from deepfm_core.spec.run import SplitSpec as SplitSpec
    from deepfm_core.store.run_folder import RunFolder as RunFolder
    from deepfm_core.store.store import Store as Store
    from deepfm_core.tables.dataframe import table_from_frame as table_from_frame
    from deepfm_core.tables.reader import read_table as read_table
    from deepfm_core.tables.table import Choices as Choices
    from deepfm_core.tables.table import Table as Table
    from deepfm_core.training.fit import fit as fit
    from deepfm_core.training.fit import predict_logits as predict_logits
    from deepfm_core.training.state import FitState as FitState

_MODULES = {
    "Choices": "tables.table",
    "DeepFMClassifier": "classifier",
    "DeepFMError": "errors",
    "EncodedTable": "encoding.encoded_table",
    "Encoder": "encoding.encoder",
    "FitSpec": "spec.run",
    "FitState": "training.state",
    "Kind": "schema.kinds",
    "ModelSpec": "spec.run",
    "RunFolder": "store.run_folder",
    "RunSpec": "spec.run",
    "Schema": "schema.schema",
    "SplitSpec": "spec.run",
    "Store": "store.store",
    "Table": "tables.table",
    "TableWarning": "errors",
    "Trained": "runs.predictor",
    "evaluate": "metrics.scores",
    "fit": "training.fit",
    "infer_schema": "schema.infer",
    "labelled_rows": "schema.labels",
    "learned_pairs": "explain.learned",
    "observed_interactions": "evidence.ranking",
    "pairs_frame": "explain.frames",
    "predict_logits": "training.fit",
    "read_table": "tables.reader",
    "settings": "spec.presets",
    "split_rows": "encoding.splits",
    "table_from_frame": "tables.dataframe",
    "terms_frame": "explain.row_terms",
    "verdicts": "evidence.verdicts",
}
"""The public names, each with the module that it stands in; docs/library.md has a line on every one."""

if not TYPE_CHECKING:  # type checkers know no such list; they go by `as` in the block above
    __all__ = [*_MODULES]


def __getattr__(name: str) -> Any:
    """Import a public name where it is first asked for (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"`deepfm_core` has no public name `{name}`. Use one of dir(deepfm_core).")
    value = globals()[name] = getattr(import_module(f"deepfm_core.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})


_earlier_names.install()
