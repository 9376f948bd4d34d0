"""Modules under the names that they had earlier: pickled classifiers and scripts of users hold these names.

A pickle names the module of every class in it. Where Python finds no such module any more, the finder here gives one
that looks its names up where they stand today. It is asked last, so it costs nothing where it is not needed.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED = {
    "deepfm_core.data.crosses": "deepfm_core.encoding.categorical",
    "deepfm_core.data.encoded": "deepfm_core.encoding.encoded_table",
    "deepfm_core.data.encoder": "deepfm_core.encoding.encoder",
    "deepfm_core.data.knots": "deepfm_core.schema.knots",
    "deepfm_core.data.known_codes": "deepfm_core.encoding.encoder",
    "deepfm_core.data.number_codes": "deepfm_core.encoding.numeric",
    "deepfm_core.data.schema": "deepfm_core.schema.schema",
    "deepfm_core.data.text_codes": "deepfm_core.encoding.categorical",
    "deepfm_core.data.texts": "deepfm_core.tables.table",
    "deepfm_core.data.vocabulary": "deepfm_core.encoding.vocabulary",
    "deepfm_core.encoding.crosses": "deepfm_core.encoding.categorical",
    "deepfm_core.encoding.shards": "deepfm_core.encoding.sharding",
    "deepfm_core.encoding.spelling": "deepfm_core.encoding.vocabulary",
    "deepfm_core.estimator": "deepfm_core.classifier",
    "deepfm_core.evidence.levels": "deepfm_core.evidence.designs",
    "deepfm_core.evidence.likelihood": "deepfm_core.evidence.posterior",
    "deepfm_core.experiments.groups": "deepfm_core.experiments.comparison",
    "deepfm_core.explain.attribution": "deepfm_core.explain.row_terms",
    "deepfm_core.explain.learned_levels": "deepfm_core.explain.learned",
    "deepfm_core.explain.nearest": "deepfm_core.explain.example_rows",
    "deepfm_core.explain.purified_terms": "deepfm_core.explain.row_terms",
    "deepfm_core.explain.what_if": "deepfm_core.explain.row_terms",
    "deepfm_core.export.facts": "deepfm_core.export.model_card",
    "deepfm_core.export.onnx_graph": "deepfm_core.export.scoring",
    "deepfm_core.export.recipe": "deepfm_core.export.run_code",
    "deepfm_core.export.report.svg": "deepfm_core.export.report.charts",
    "deepfm_core.models.lookup": "deepfm_core.models.batch",
    "deepfm_core.models.network_gradients": "deepfm_core.models.network",
    "deepfm_core.models.reading": "deepfm_core.models.batch",
    "deepfm_core.runs.trained": "deepfm_core.runs.predictor",
    "deepfm_core.schema.leakage": "deepfm_core.schema.infer",
    "deepfm_core.schema.lists": "deepfm_core.schema.column",
    "deepfm_core.schema.names": "deepfm_core.schema.column",
    "deepfm_core.store.shares": "deepfm_core.store.limits",
    "deepfm_core.synthetic.columns": "deepfm_core.synthetic.worlds",
    "deepfm_core.tables.datasets.listing": "deepfm_core.tables.datasets.dataset",
    "deepfm_core.training.autograd_step": "deepfm_core.training.step",
    "deepfm_core.training.lazy_adam": "deepfm_core.training.embedding_table",
    "deepfm_core.training.predict": "deepfm_core.training.step",
    "deepfm_core.training.spec": "deepfm_core.spec.run",
    "deepfm_core.workers.cluster.dispatcher": "deepfm_core.workers.cluster.ray_engine",
    "deepfm_core.workers.cluster.parcel": "deepfm_core.workers.cluster.node",
}
"""Where a module of 0.1, or of later code, stands today. What was merged since is named if it held classes."""
RENAMED: dict[str, str] = {}
"""What a class of 0.1 is called today."""
_PACKAGES = {"deepfm_core.data"}
"""Packages that are gone: they must be there for what stood in them to be found."""


class _EarlierModule(Loader):
    """Fills a module of an earlier name: every name is looked up in the module of today."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to Python to make the module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Let the module give the names of the one that took its place."""
        today = MOVED.get(module.__name__)

        def look_up(name: str) -> Any:
            if today is None or name.startswith("__"):
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            return getattr(importlib.import_module(today), RENAMED.get(name, name))

        module.__dict__["__getattr__"] = look_up


class _EarlierNames(MetaPathFinder):
    """Finds modules by the names that they had."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Give the spec of a module that has moved; None for every other name."""
        if name in MOVED or name in _PACKAGES:
            return ModuleSpec(name, _EarlierModule(), is_package=name in _PACKAGES)
        return None


def install() -> None:
    """Let Python find modules by their earlier names, after everything else that it can find; once a process."""
    if not any(isinstance(finder, _EarlierNames) for finder in sys.meta_path):
        sys.meta_path.append(_EarlierNames())
