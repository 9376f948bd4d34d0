"""Everything needed to repeat a run, as plain frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from deepfm_core.errors import SpecError
from deepfm_core.schema.schema import Cross, Schema
from deepfm_core.spec.crosses import require_different
from deepfm_core.spec.models import MODELS, Switches

MODEL_NAMES = tuple(MODELS)
"""The presets `--model` takes."""
YARDSTICK = "boosting"
"""Gradient boosting of scikit-learn, a run beside those of a comparison; it has no terms of ours."""

ACTIVATIONS = ("relu", "tanh", "sigmoid", "linear")
PRECISIONS = ("float32", "bfloat16")
FOLDS, MOST_FOLDED_ROWS = 5, 200_000
"""Folds of a run that does not say, and the rows beyond which it has none: they cost about three times the training."""


def _require(ok: bool, subject: str, value: object, remedy: str) -> None:
    if not ok:
        raise SpecError(f"{subject} is {value!r}. {remedy}")


@dataclass(frozen=True)
class SplitSpec:
    """How rows are divided into training, validation and test part.

    `by` is `random` (stratified by label), `time` or `group` with `column`; a separate validation or test table, where
    the run has one, takes the place of its share.
    """

    by: str = "random"
    column: str | None = None
    valid: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        _require(self.by in ("random", "time", "group"), "Split", self.by, "Use random, time:FIELD or group:FIELD.")
        _require(
            (self.by == "random") == (self.column is None),
            "Split field",
            self.column,
            "Use time:FIELD or group:FIELD.",
        )
        for name, share in (("Validation share", self.valid), ("Test share", self.test)):
            _require(0.0 <= share < 1.0, name, share, "Use a share between 0 and 1, such as 0.1.")
        _require(
            self.valid + self.test < 1.0,
            "Validation plus test share",
            self.valid + self.test,
            "Leave rows to train on.",
        )

    def training_rows(self, rows: int, valid_table: str | None = None, test_table: str | None = None) -> int:
        """Say about how many of a table's rows are trained on."""
        return round(rows * (1 - (0.0 if valid_table else self.valid) - (0.0 if test_table else self.test)))


@dataclass(frozen=True)
class ModelSpec:
    """The one module's switches."""

    name: str = "deepfm"
    embedding_size: int = 8
    layers: tuple[int, ...] = (64, 32)
    activation: str = "relu"
    dropout: float = 0.0
    """Probability to drop a unit (the paper states the probability to keep)."""
    batch_norm: bool = False
    centred: bool = False
    """Whether the FM multiplies embeddings less their field's mean (docs/model.md); the paper's form does not."""
    embedding_sd: float = 0.01
    """Standard deviation of the random numbers embeddings start from."""
    crosses: tuple[Cross, ...] = ()
    """Pairs of fields that are crossed into the first-order term of `wide-deep`."""

    def __post_init__(self) -> None:
        known = (*MODEL_NAMES, YARDSTICK)
        _require(self.name in known, "Model", self.name, f"Use one of {', '.join(MODEL_NAMES)}.")
        _require(1 <= self.embedding_size <= 512, "Embedding size", self.embedding_size, "Use 1 to 512.")
        _require(
            all(1 <= n <= 8192 for n in self.layers),
            "Layers",
            ", ".join(map(str, self.layers)),
            "Use widths of 1 to 8192, such as 64,32.",
        )
        _require(
            self.activation in ACTIVATIONS,
            "Activation",
            self.activation,
            f"Use one of {', '.join(ACTIVATIONS)}.",
        )
        _require(
            0.0 <= self.dropout < 1.0,
            "Dropout",
            self.dropout,
            "Use the share of units to drop, 0 to below 1.",
        )
        _require(0.0 < self.embedding_sd <= 1.0, "Embedding sd", self.embedding_sd, "Use 0.01 to 0.1.")
        require_different(self.crosses)
        _require(
            not self.crosses or self.switches.crosses,
            "Cross",
            ", ".join(f"{a}*{b}" for a, b in self.crosses),
            f"Only wide-deep has crossed fields: use that model, or leave them out of {self.name}.",
        )

    @property
    def switches(self) -> Switches:
        """Which parts the logit has."""
        return MODELS.get(self.name, Switches())

    @property
    def first_order(self) -> bool:
        """Whether the logit has bias and first-order terms."""
        return self.switches.first_order

    @property
    def second_order(self) -> bool:
        """Whether the logit has the FM's pairs."""
        return self.switches.second_order

    @property
    def deep(self) -> bool:
        """Whether the logit has a network's output."""
        return self.switches.deep


@dataclass(frozen=True)
class FitSpec:
    """How the model is trained: Adam on the mean logloss of a batch plus λ/2 · Σ w² over weights and embeddings."""

    epochs: int = 30
    patience: int = 3
    """Epochs without a better validation logloss before training stops."""
    batch_size: int = 1024
    learning_rate: float = 1e-3
    l2: float = 1e-5
    first_order_rate: float = 1.0
    """How many times faster bias and first-order weights learn than the rest."""
    averaging: bool = False
    """Whether validated and kept is a running average of the weights over about the last 1/9 of all steps."""
    embedding_l2: float | None = None
    """The λ of embeddings where it is not `l2`."""
    precision: str = "float32"
    """That of the network's matrix products while training; weights and all else are of float32."""

    def __post_init__(self) -> None:
        _require(1 <= self.epochs <= 10_000, "Epochs", self.epochs, "Use 1 to 10000.")
        _require(self.patience >= 1, "Patience", self.patience, "Use 1 or more epochs.")
        _require(1 <= self.batch_size <= 1_000_000, "Batch size", self.batch_size, "Use 1 to 1000000 rows.")
        _require(
            0.0 < self.learning_rate <= 10.0,
            "Learning rate",
            self.learning_rate,
            "Use a number above 0, up to 10, such as 1e-3.",
        )
        _require(
            0.0 < self.first_order_rate <= 100.0,
            "First-order rate",
            self.first_order_rate,
            "Use a factor of the learning rate above 0, up to 100, such as 3.",
        )
        _require(self.l2 >= 0.0, "L2", self.l2, "Use 0 or a small positive number such as 1e-5.")
        _require(
            self.l2_embeddings >= 0.0,
            "Embedding L2",
            self.embedding_l2,
            "Use 0 or a small positive number such as 1e-3, or leave it out.",
        )
        _require(self.precision in PRECISIONS, "Precision", self.precision, f"Use one of {', '.join(PRECISIONS)}.")

    @property
    def l2_embeddings(self) -> float:
        """The λ of embeddings."""
        return self.l2 if self.embedding_l2 is None else self.embedding_l2


@dataclass(frozen=True)
class RunSpec:
    """Everything needed to repeat a run: the tables by content, the schema, and every setting.

    Tables are named by the SHA-256 of their bytes. The same spec on the same machine gives the same events.
    """

    table: str
    table_name: str
    schema: Schema
    valid_table: str | None = None
    test_table: str | None = None
    valid_table_name: str | None = None
    """What the validation table is called, where there is one."""
    test_table_name: str | None = None
    """What the test table is called, where there is one."""
    split: SplitSpec = field(default_factory=SplitSpec)
    model: ModelSpec = field(default_factory=ModelSpec)
    fit: FitSpec = field(default_factory=FitSpec)
    min_count: int = 1
    """Categorical values with fewer training rows share the feature "rare"."""
    seed: int = 0
    folds: int | None = None
    """Parts into which rows are divided to ask each pair on rows it was not learned from; 0 asks nothing, None asks
    where `folds_for` finds it affordable."""
    split_seed: int | None = None
    """Seed of the division into parts where it is not `seed`: runs that share it are judged on the same rows."""
    explained: bool = True
    """Whether the frames about pairs, levels and single rows are made; runs that are only compared do without."""

    def __post_init__(self) -> None:
        _require(
            self.folds is None or self.folds == 0 or 2 <= self.folds <= 20, "Folds", self.folds, "Use 2 to 20, or 0."
        )
        _require(self.min_count >= 1, "Minimum count", self.min_count, "Use 1 or more rows.")
        for seed in (self.seed, self.rows_seed):
            _require(seed >= 0, "Seed", seed, "Use 0 or a positive whole number.")

    @property
    def rows_seed(self) -> int:
        """The seed of the division into parts."""
        return self.seed if self.split_seed is None else self.split_seed

    def training_rows(self, rows: int) -> int:
        """Say about how many of the table's `rows` are trained on."""
        return self.split.training_rows(rows, self.valid_table, self.test_table)

    def folds_for(self, rows: int) -> int:
        """Say into how many folds a run with that many rows divides them, 0 for not at all."""
        if not self.explained or not self.model.switches.pairs:
            return 0
        if self.folds is not None:
            return self.folds
        return FOLDS if rows <= MOST_FOLDED_ROWS else 0

    def to_dict(self) -> dict[str, Any]:
        """Give the spec as plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunSpec:
        """Rebuild a spec from `to_dict`; settings unknown to this version are dropped."""
        parts: dict[str, Any] = dict(values)
        parts["schema"] = Schema.from_dict(parts["schema"])
        parts["split"] = SplitSpec(**_known(SplitSpec, parts["split"]))
        model = _known(ModelSpec, parts["model"])
        crosses = tuple((a, b) for a, b in model.get("crosses", ()))
        parts["model"] = ModelSpec(**{**model, "layers": tuple(model["layers"]), "crosses": crosses})
        parts["fit"] = FitSpec(**_known(FitSpec, parts["fit"]))
        return cls(**_known(cls, parts))


def _known(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(cls)}
    return {name: value for name, value in values.items() if name in names}
