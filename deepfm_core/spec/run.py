"""Everything needed to repeat a run, as plain frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from deepfm_core._files import require_types
from deepfm_core.errors import SpecError
from deepfm_core.schema.schema import Cross, Schema
from deepfm_core.spec.models import MODELS, Switches
from deepfm_core.spec.settings import by_home, require_in_range
from deepfm_core.spec.value_kinds import require_different

MODEL_NAMES = tuple(MODELS)
"""The presets `--model` takes."""
BASELINE = "boosting"
"""Gradient boosting of scikit-learn, a run beside those of a comparison; it has no terms of ours."""

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
        require_in_range("split", self)
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
    cross_layers: int = 3
    """Layers of the cross network; models without one ignore it."""
    centred: bool = False
    """Whether the FM multiplies embeddings less their field's mean (docs/model.md); the paper's form does not."""
    embedding_sd: float = 0.01
    """Standard deviation of the random numbers embeddings start from."""
    guided: bool = False
    """Whether main effects and the pairs that the labels of the training part support are solved first; embeddings and
    network then learn what these leave. LR is solved altogether; other models without FM pairs ignore it."""
    crosses: tuple[Cross, ...] = ()
    """Pairs of fields that are crossed into the first-order term of `wide-deep`."""

    def __post_init__(self) -> None:
        known = (*MODEL_NAMES, BASELINE)
        _require(self.name in known, "Model", self.name, f"Use one of {', '.join(MODEL_NAMES)}.")
        require_in_range("model", self)
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
    def has_guide(self) -> bool:
        """Whether the model starts from its guide: it is guided, and has FM pairs."""
        return self.guided and self.switches.second_order

    @property
    def solved(self) -> bool:
        """Whether one solution gives all weights, and no epoch trains any: LR, if it is guided."""
        return self.guided and self.first_order and not self.switches.pairs

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
    least_gain: float = 0.0
    """Share of the validation score that an epoch must gain to count as better for the patience."""
    batch_size: int = 1024
    learning_rate: float = 1e-3
    l2: float = 1e-5
    first_order_rate: float = 1.0
    """How many times faster bias and first-order weights learn than the rest."""
    averaging: bool = False
    """Whether to validate and keep a running average of the weights, over about the last 1/9 of all steps."""
    embedding_l2: float | None = None
    """The λ of embeddings where it is not `l2`."""
    reduce_on_plateau: str = "never"
    """The validation score, `logloss` or `auc`, that says which epoch is best. Where it first stalls, the learning rate
    is divided by ten, and training goes on from the best weights until the next stall. With `never` the logloss says
    it, and the first stall ends training."""
    precision: str = "float32"
    """That of the network's matrix products while training; weights and all else are of float32."""

    def __post_init__(self) -> None:
        require_in_range("fit", self)

    @property
    def reduces(self) -> bool:
        """Whether the learning rate is reduced on a plateau."""
        return self.reduce_on_plateau != "never"

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
    """Folds for checking each pair on rows that it was not learned from: 0 for no check, None to let `folds_for` choose
    by the number of rows."""
    split_seed: int | None = None
    """Seed of the division into parts, if it is not `seed`. Runs that share it are evaluated on the same rows."""
    explained: bool = True
    """Whether to make the frames about pairs, levels and single rows. Runs of a comparison have none."""

    def __post_init__(self) -> None:
        require_in_range("run", self)

    @property
    def rows_seed(self) -> int:
        """The seed of the division into parts."""
        return self.seed if self.split_seed is None else self.split_seed

    def with_settings(self, chosen: Mapping[str, Any]) -> RunSpec:
        """Put chosen values in the place of its own; a chosen `l2` is that of the embeddings, too.

        Raises:
            SpecError: there is no such setting, or a value is out of range.
        """
        parts = by_home(chosen)
        model, fit, split = replace(self.model, **parts["model"]), replace(self.fit, **parts["fit"]), self.split
        return replace(self, model=model, fit=fit, split=replace(split, **parts["split"]), **parts["run"])

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
        """Rebuild a spec from `to_dict`; settings unknown to this version are dropped.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: the values are not those of a spec.
        """
        parts: dict[str, Any] = dict(values)
        parts["schema"] = Schema.from_dict(parts["schema"])
        parts["split"] = SplitSpec(**_known(SplitSpec, parts["split"]))
        parts["model"], parts["fit"] = model_from(parts["model"]), fit_from(parts["fit"])
        spec: RunSpec = require_types(cls(**_known(cls, parts)))
        return spec


def model_from(values: Mapping[str, Any]) -> ModelSpec:
    """Rebuild a model's settings from plain values; settings unknown to this version are dropped."""
    model = _known(ModelSpec, values)
    crosses = tuple((a, b) for a, b in model.get("crosses", ()))
    return ModelSpec(**{**model, "layers": tuple(model["layers"]), "crosses": crosses})


def fit_from(values: Mapping[str, Any]) -> FitSpec:
    """Rebuild the settings of a training from plain values; settings unknown to this version are dropped."""
    return FitSpec(**_known(FitSpec, values))


def _known(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(cls)}
    return {name: value for name, value in values.items() if name in names}


# How many numbers a network reads, and a cross network learns; told from a spec, without torch.


def product_count(spec: ModelSpec, fields: int) -> int:
    """Count the products that the network of a model over F fields reads."""
    inner = fields * (fields - 1) // 2 if spec.switches.inner else 0
    return inner + (spec.embedding_size**2 if spec.switches.outer else 0)


def cross_numbers(spec: ModelSpec, inputs: int) -> int:
    """Count the weights and biases of a model's cross network over so many inputs; 0 where it has none."""
    each = {"vector": 2 * inputs, "matrix": (inputs + 1) * inputs}.get(spec.switches.cross)
    return 0 if each is None else spec.cross_layers * each + inputs


def network_inputs(spec: ModelSpec, fields: int, dense: int) -> int:
    """Count all that the network of a model over F embedded and D dense fields reads."""
    each = spec.embedding_size + spec.switches.weights_read
    return fields * each + product_count(spec, fields) + dense
