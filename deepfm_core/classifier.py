"""DeepFM as a scikit-learn classifier, for a notebook, a pipeline or cross-validation: start with `DeepFMClassifier`.

It uses the same parts as a run (schema, encoder, model, training), but no folder and no store.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted, validate_data

from deepfm_core._estimator_checks import (
    NUMBERS,
    as_table,
    column_of,
    kinds_of,
    label_of_classes,
    labels_of,
    require_kinds_of_values,
    seed_of,
)
from deepfm_core.encoding.encoded_table import EncodedTable, together
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.encoding.memory import Place, encoded_on_disk, parts_of_sample, place_of, said_of_sample
from deepfm_core.encoding.sharding import ROOM, MemoryPlan, Sharded, name_of_sample
from deepfm_core.encoding.sharding import SAMPLE_ROWS as ROWS_OF_SAMPLE
from deepfm_core.encoding.splits import load_parts
from deepfm_core.errors import (
    ASKED_FOR,
    Problem,
    RunError,
    SchemaError,
    SpecError,
    TableError,
    TableWarning,
    did_you_mean,
)
from deepfm_core.evidence.ranking import observed_interactions
from deepfm_core.evidence.verdicts import HELD_OUT_COLUMNS, verdicts
from deepfm_core.explain.frames import pairs_frame, sample_rows
from deepfm_core.explain.learned import learned_pairs
from deepfm_core.explain.row_terms import example_terms_frame, terms_frame
from deepfm_core.export.bundle import opened
from deepfm_core.export.model_card import Facts
from deepfm_core.export.run_code import recipe
from deepfm_core.metrics.scores import sigmoid
from deepfm_core.runs.explain_stage import SAMPLE_ROWS, network_sample, pairs_explained
from deepfm_core.runs.predictor import Trained
from deepfm_core.schema.column import Cells
from deepfm_core.schema.copies import learned_rows
from deepfm_core.schema.infer import infer_schema, with_separators
from deepfm_core.schema.labels import label_role
from deepfm_core.schema.labels import labels_of as table_labels
from deepfm_core.schema.schema import KEEP, FieldRole, Schema
from deepfm_core.spec.events import EpochDone, Fitted
from deepfm_core.spec.presets import settings
from deepfm_core.spec.run import RunSpec, SplitSpec
from deepfm_core.spec.settings import of_home
from deepfm_core.spec.value_kinds import named_crosses
from deepfm_core.tables.dataframe import table_from_frame
from deepfm_core.tables.datasets.pieces import Pieces
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import ReadReport, Table
from deepfm_core.training.fit import fit
from deepfm_core.training.hardware import set_threads, torch_left_as_it_was, training_device
from deepfm_core.training.rows import Source
from deepfm_core.training.state import FitState

Rows = pd.DataFrame | ArrayLike | str | Path
"""(N, columns) rows: a frame, an array, or where files are."""

POSITIVE, NEGATIVE = "1", "0"
"""The texts of the two classes in the label column of the training table."""


class DeepFMClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A binary classifier for tables of any column types, which can explain its predictions.

    Columns are read as those of an uploaded table: each gets a kind (categorical, multi-valued, a number, a point in
    time, or ignored) by its values and its name. `schema_` shows the kinds and their reasons; `kinds` changes them. A
    column that nearly gives the label away is kept, with a warning there. Cells may be missing, and values not seen in
    training count as average ones. Part of the rows is used as validation rows, which decide when training stops.

    Args:
        model: a model's name, as for `train --model`: `lr`, `fm`, `dnn`, `fnn`, …, `deepfm`.
        preset: `recommended`, `paper` or `quick`; the source of every setting below that is None.
        embedding_size: K, the length of an embedding.
        layers: the number of units of each hidden layer.
        activation: of the hidden units: `relu`, `tanh`, `sigmoid` or `linear`.
        dropout: the probability of dropping a unit.
        batch_norm: whether to use batch normalisation in hidden layers.
        cross_layers: layers of the cross network of `dcn` and `dcn-v2`.
        guided: whether to start from main effects and the pairs that the labels support; True in the preset
            `recommended`.
        crosses: pairs of columns, such as `[("device", "hour")]`; each combination of their values gets a first-order
            weight. For `wide-deep` only.
        l2: λ of λ/2 · Σ w² over first-order weights and embeddings, which is added to the mean logloss of a batch.
        epochs: the largest number of epochs.
        patience: epochs without a better validation logloss after which training stops.
        least_gain: share by which the validation logloss, or 1 − AUC, must fall for an epoch to count as better for the
            patience.
        batch_size: rows per step.
        learning_rate: the learning rate of Adam.
        reduce_on_plateau: the validation score, `logloss` or `auc`, at whose first stall the learning rate is divided
            by ten; `never` ends the fit there.
        min_count: values in fewer rows than this share one feature.
        validation_fraction: the share of validation rows.
        positive: which labels are positive where there are more than two: values with `|` between them, such as `a|b`,
            or a bound such as `>=4`. `classes_` are then False and True.
        kinds: kinds by column name, such as `{"hour": "categorical"}`; other kinds are inferred. `multi-valued:^` says
            what stands between the values of a cell.
        copies: what is done with rows that are copies of others: `keep` uses them, with a warning, since repeated rows
            may stand for weights; `drop` leaves out those that are clearly copies; `once` uses rows alike in every
            column and in the label once.
        random_state: the seed of the split, the first weights, the order of rows and dropout.
        memory: bytes that a fit on files may plan for, such as `2GB`; None takes half of the machine's memory. Rows of
            files that need more stay on the disk, encoded, and the model trains from there (docs/scale.md).
        keep_training_rows: whether a pickle holds the encoded training rows, about 50 bytes each, from which cells can
            be told. Without them `interactions` of an unpickled model needs rows.

    Attributes:
        classes_: (2,) the labels; probabilities are those of the second one.
        schema_: the roles of the label and of every column, with their reasons.
        spec_: all settings of the fit, including those of the preset.
        history_: one row per epoch: `epoch`, `train_logloss`, `valid_logloss`, `valid_auc`, `seconds`, `best`.
        best_epoch_: the epoch whose weights were kept; 0 where a guided model kept its guide alone.
        trained_: the encoder and the model.
        notes_: remarks on the training and validation rows.
    """

    def __init__(
        self,
        model: str = "deepfm",
        *,
        preset: str = "recommended",
        embedding_size: int | None = None,
        layers: Sequence[int] | None = None,
        activation: str | None = None,
        dropout: float | None = None,
        batch_norm: bool | None = None,
        cross_layers: int | None = None,
        guided: bool | None = None,
        crosses: Sequence[tuple[str, str]] | None = None,
        l2: float | None = None,
        epochs: int | None = None,
        patience: int | None = None,
        least_gain: float | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        reduce_on_plateau: str | None = None,
        min_count: int = 1,
        validation_fraction: float = 0.1,
        kinds: Mapping[str, str] | None = None,
        positive: str | None = None,
        copies: str = KEEP,
        random_state: int | np.random.RandomState | None = None,
        memory: str | int | None = None,
        keep_training_rows: bool = False,
    ) -> None:
        self.model = model
        self.preset = preset
        self.embedding_size = embedding_size
        self.layers = layers
        self.activation = activation
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.cross_layers = cross_layers
        self.guided = guided
        self.crosses = crosses
        self.l2 = l2
        self.epochs = epochs
        self.patience = patience
        self.least_gain = least_gain
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.reduce_on_plateau = reduce_on_plateau
        self.min_count = min_count
        self.validation_fraction = validation_fraction
        self.kinds = kinds
        self.positive = positive
        self.copies = copies
        self.random_state = random_state
        self.memory = memory
        self.keep_training_rows = keep_training_rows

    def fit(self, X: Rows, y: ArrayLike, **unsupported: Any) -> Self:
        """Train on N rows. Rows cannot be weighted.

        Args:
            X: (N, columns), a frame of any types, or an array, whose columns are called x0, x1, …; or the path of a
                file, a folder, a pattern or a URI, as `read_table` takes it. Cells of files are texts, and so are
                their labels. Rows may be more than `memory` holds.
            y: (N,) labels of two classes; the one that sorts last is positive. With `positive`, labels of any number of
                values. If X is a path, the name of the label's column; rows without a label are left out.

        Raises:
            ValueError: y does not have two classes, or does not fit X.
            DeepFMError: a column or a setting cannot be used. It is a ValueError, too.
            TypeError: there is a further argument, such as `sample_weight`.
        """
        if unsupported:
            raise TypeError(
                f"DeepFMClassifier.fit does not take {', '.join(unsupported)}: rows cannot be weighted. Leave it out, "
                "or repeat rows in proportion to their weights."
            )
        require_kinds_of_values(self.get_params(deep=False))
        report, place = ReadReport(), self._place(X)
        if place is not None:
            self._fit_on_disk(place, y)
            return self
        if isinstance(X, str | Path):
            X, y, report = _labelled_file(X, y)
        frame = self._frame(X, reset=True)
        if not len(frame):
            raise SchemaError("X", [Problem("there are no rows", "Give rows of both classes.")])
        labels = self._classes_of(y, len(frame))
        table = self._labelled(frame, labels)
        declared = (*table.report.declared, *report.declared)
        table = replace(table, report=replace(table.report, folders=report.folders, declared=declared))
        schema = self._schema(table, str(table.frame.columns[-1]), POSITIVE)
        self.spec_ = self._spec(table, schema, len(learned_rows(table.frame, schema, table.name)[0]))
        _warn(self.schema_.warnings, "X")
        parts = load_parts(self.spec_, lambda _: table)
        self.notes_ = tuple(map(_in_python, parts.notes))
        _warn([parts.copies.said] if parts.copies.flatter else [], "X")
        spec, rows, crosses = self.spec_, parts.train.rows, self.spec_.model.crosses
        encoder = Encoder.fit(table.frame, spec.schema, rows=rows, min_count=spec.min_count, crosses=crosses)
        self._parts = parts.train.encode(encoder), parts.valid.encode(encoder)
        self._train(encoder, *self._parts)
        return self

    def _place(self, X: Rows) -> Place | None:
        """Say where the rows of X are, if they are those of files that stay on the disk; None for all others.

        Raises:
            SpecError, RunError: `memory` is no size, or too little.
            TableError: the files differ, or cannot be read.
        """
        if not isinstance(X, str | Path):
            return None
        with _said_in_python():
            place = place_of(X, self.memory)
            if place is None or place.dataset is None:
                return None
            for _ in place.fill():
                pass
        return place

    def _fit_on_disk(self, place: Place, label: Any) -> None:
        """Train on rows that stay on the disk, as `train --memory` does; roles and pairs are of a sample of them."""
        if self.crosses:
            raise SpecError("Crossed fields need all rows in memory. Leave out `crosses`, or give more `memory`.")
        if self.copies != KEEP:
            raise SpecError(
                f"Copies is {self.copies!r}, but of rows on the disk all are kept. Leave out `copies`, or give more "
                "`memory`."
            )
        assert place.dataset is not None
        table = _sample(place.pieces)
        _warn(table.report.sentences(), table.name)
        frame, labels, _ = _labels_apart(table, label)
        classes = np.unique(self._classes_of(labels, len(self._frame(frame, reset=True))))
        schema = self._schema(table, label, self._label.positive if self.positive is None else str(self.positive))
        self.spec_ = self._spec(table, replace(schema, label=replace(self._label, column=label)), len(place.pieces))
        self.classes_ = classes
        _warn(self.schema_.warnings, table.name)
        with TemporaryDirectory(prefix="deepfm-") as made, _said_in_python():
            folder = Path(made) / "shards"
            for _ in encoded_on_disk(place.pieces, self.spec_, place.dataset.memory, len(table), folder):
                pass
            whole = Sharded.open(folder, partial(place.dataset.window_bytes, self.spec_))
            self._train(whole.encoder, whole.parts["train"], whole.parts["valid"])
        parts = parts_of_sample(whole, table, self.spec_.schema)
        _warn([parts.copies.said_of_sample] if parts.copies.flatter else [], table.name)
        self.notes_ = (*map(_in_python, parts.notes), said_of_sample(len(parts.train) + len(parts.valid), len(whole)))
        self._parts = parts.train.encode(whole.encoder), parts.valid.encode(whole.encoder)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load a trained model: a bundle, as the app and `export` write it, or a run's folder.

        The label's two texts are the `classes_`. Cells must read as in the table that it was trained on: `true` is not
        `True`, and `1.50` not `1.5`, where a column is categorical. `read_table(path).frame` keeps cells as they are,
        and so does `pd.read_csv(path, dtype=str, keep_default_na=False)`. Further columns do not matter.

        Raises:
            RunError: the file is no bundle, the run is not finished, or either is damaged.
        """
        with opened(Path(path)) as (folder, _):
            trained, pairs, history = Trained.load(folder), folder.frame("pairs"), folder.frame("epochs")
            summary = Facts.of(folder).summary
        model = cls(**_parameters(trained.spec, summary["rows"]["train"]))
        model.trained_, model.spec_, model.schema_ = trained, trained.spec, trained.spec.schema
        model.classes_ = np.array([model.schema_.label.negative, model.schema_.label.positive])
        model.notes_, model.best_epoch_ = (), summary["best_epoch"]
        model.history_ = pd.DataFrame() if history is None else history
        model._loaded_pairs = pairs
        model._label, model._rated = replace(model.schema_.label, column="y"), ()
        return model

    def decision_function(self, X: Rows) -> NDArray[np.float64]:
        """Return each row's logit: (N,). Rows of files are scored a piece at a time where they do not fit `memory`."""
        place = self._place(X)
        if place is not None:
            trained = self._fitted()
            return np.concatenate([trained.logits(table) for table in self._pieces(place)])
        return self._fitted().logits(self._table(X))

    def predict_proba(self, X: Rows) -> NDArray[np.float64]:
        """Return the probability of each of `classes_`: (N, 2)."""
        positive = sigmoid(self.decision_function(X))
        return np.column_stack([1 - positive, positive])

    def predict(self, X: Rows) -> NDArray[Any]:
        """Return each row's more probable class: (N,)."""
        positive = self.decision_function(X) > 0
        return np.asarray(self.classes_[positive.astype(np.intp)])

    def score(self, X: Rows, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the share of rows whose class is right; of files, y is the name of the label's column."""
        place = self._place(X)
        if place is not None:
            return self._score_on_disk(place, y, sample_weight)
        if isinstance(X, str | Path):
            X, y, _ = _labelled_file(X, y)
        logits = self.decision_function(X)
        return float(accuracy_score(self._is_positive(y, len(logits)), logits > 0, sample_weight=sample_weight))

    def _pieces(self, place: Place, label: str | None = None) -> Iterator[Table]:
        """Yield the columns that the model needs of rows on the disk, and the label's, a piece at a time.

        A sample of them is looked at first, and warned of.
        """
        assert place.dataset is not None
        trained, pieces = self._fitted(), place.pieces
        sample = _sample(pieces)
        said = trained.unseen(table_from_frame(self._frame(self._known(sample.frame), reset=False), sample.name))
        _warn(said, sample.name)
        names = [role.column for role in trained.spec.schema.used]
        columns = list(dict.fromkeys([*names, *([label] if label is not None else [])]))
        with _said_in_python():
            plan = MemoryPlan.of(place.dataset.memory, len(pieces), len(columns), trained.spec.model.embedding_size)
        for _, table in pieces.tables(columns, plan.piece_rows):
            yield table

    def _score_on_disk(self, place: Place, label: Any, sample_weight: ArrayLike | None) -> float:
        if sample_weight is not None:
            raise SpecError("Rows of files on the disk have no weights. Leave out `sample_weight`.")
        _require_label(label, place.pieces.columns, place.pieces.name)
        right = rows = 0
        for table in self._pieces(place, label):
            frame, labels, _ = _labels_apart(table, label, quiet=True)
            logits = self._fitted().logits(replace(table, frame=frame))
            try:
                positive = self._is_positive(labels, len(logits))
            except SchemaError as error:
                raise SchemaError(f"{place.pieces.name}, counted after {rows:,} rows", error.problems) from None
            right += int(np.count_nonzero(positive == (logits > 0)))
            rows += len(logits)
        return right / max(rows, 1)

    def explain(self, X: Rows) -> pd.DataFrame:
        """Split each row's logit into its parts.

        Returns:
            One line per row of X, with X's index: `probability`, `logit`, `bias`, `first_order`, `second_order`,
            `fm_logit` (the sum of these three) and `dnn_logit`. `fm_logit` and `dnn_logit` add up to `logit`.
        """
        frame = terms_frame(self._fitted().model, self._encoded(X)).drop(columns="row")
        return frame.set_axis(_index(X, len(frame)))

    def terms(self, X: Rows) -> pd.DataFrame:
        """Split each row's logit into its single addends.

        Returns:
            One line per addend: `row` (X's index), `term` (`bias`, `first-order`, `second-order`, `dnn`), `field_a` and
            `field_b` (None if they do not apply), and `value`. The values of a row add up to its logit.
        """
        encoded = self._encoded(X)
        frame = example_terms_frame(self._fitted().model, encoded, np.arange(len(encoded)))
        return frame.assign(row=_index(X, len(encoded))[frame["row"]])

    def interactions(self, X: Rows | None = None, y: ArrayLike | None = None) -> pd.DataFrame:
        """Rank the pairs of fields by the strength of their interaction. Each call computes it again, in seconds.

        Args:
            X: (N, columns) rows to ask, as for `fit`; by default those given to it, which a pickle does not keep unless
                `keep_training_rows` is set.
            y: (N,) their labels, as for `fit`; if X is a path, the name of their column.

        Returns:
            One line per pair, strongest first: the `pairs` frame of a run (docs/store.md) and a `verdict` in words. It
            shows what the model learned beside what the labels given to `fit` support. Strengths are in log-odds.
            `learned_fm` and `learned_dnn` are null if the model has no such part. The columns on held-out rows
            (`held_out_z`, `knock_out_logloss`, …) are left out: they need a fit per fold, which a run does. A loaded
            model gives the pairs of its run, with these columns.

        Raises:
            ValueError: X is given without y, or y without X.
            RunError: the model is loaded, and its run did not examine pairs; or it was unpickled without its rows, and
                none are given.
        """
        trained = self._fitted()
        if (X is None) is not (y is None):
            raise ValueError("`interactions` asks rows by their labels. Give both, `interactions(X, y)`, or neither.")
        if X is None and hasattr(self, "_loaded_pairs"):
            return self._pairs_of_run()
        train, rows_asked = self._rows_asked(X, y)
        seed = trained.spec.seed
        sample = sample_rows(train, seed, SAMPLE_ROWS)
        observed = observed_interactions(rows_asked, seed=seed)
        asked = pairs_explained(trained.model, sample, observed, seed)
        rows, background = network_sample(trained.model, sample, asked)
        learned = learned_pairs(trained.model, sample, network_rows=rows, background=background, seed=seed, pairs=asked)
        pairs = pairs_frame(train.layout.names, learned, observed)
        return pairs.drop(columns=list(HELD_OUT_COLUMNS)).assign(verdict=verdicts(pairs))

    def _pairs_of_run(self) -> pd.DataFrame:
        pairs: pd.DataFrame | None = self._loaded_pairs
        if pairs is None:
            raise RunError("The loaded run has no pairs, and its rows are not in the bundle. Fit a model, then ask it.")
        return pairs.assign(verdict=verdicts(pairs))

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn what to expect: columns of any type, missing values, two classes."""
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = tags.input_tags.string = tags.input_tags.allow_nan = True
        tags.classifier_tags.multi_class = False
        return tags

    def _schema(self, table: Table, label: str, positive: str) -> Schema:
        return infer_schema(table, label, positive, leave_out_leaks=False, copies=self.copies)

    def _spec(self, table: Table, schema: Schema, rows: int) -> RunSpec:
        """Make the spec of a fit on so many rows with labels; its schema becomes `schema_`, with the kinds chosen."""
        split = SplitSpec(valid=self.validation_fraction, test=0.0)
        self.schema_: Schema = with_separators(schema.with_kinds(*kinds_of(self.kinds)), table)
        own = self.get_params(deep=False)
        chosen = {each.name: own[each.name] for each in (*of_home("model"), *of_home("fit")) if each.name in own}
        chosen["layers"] = None if self.layers is None else tuple(int(units) for units in self.layers)
        chosen["crosses"] = None if self.crosses is None else named_crosses(self.crosses)
        given = {name: value for name, value in chosen.items() if value is not None}
        model, fit_spec = settings(self.preset, self.model, split.training_rows(rows), given)
        return RunSpec(
            table="",
            table_name=table.name,
            schema=self.schema_,
            split=split,
            model=model,
            fit=fit_spec,
            min_count=self.min_count,
            seed=seed_of(self.random_state),
        )

    def _train(self, encoder: Encoder, train: Source, valid: Source) -> None:
        spec = self.spec_
        # Torch's threads and random state belong to the caller, and are put back.
        with torch_left_as_it_was():
            set_threads(train.layout, spec.model, spec.fit)
            state = FitState.new(train.layout, spec.model, spec.fit, spec.seed, device=training_device())
            events = list(fit(spec.fit, train, valid, state))
        self.history_ = pd.DataFrame([asdict(event) for event in events if isinstance(event, EpochDone)])
        self.best_epoch_ = next(event.best_epoch for event in events if isinstance(event, Fitted))
        self.trained_ = Trained(spec, encoder, state.model)

    _rated: tuple[int, ...]
    """Which of 0 and 1 were ratings in `fit`, where `positive` is set."""

    def _classes_of(self, y: ArrayLike, rows: int) -> NDArray[Any]:
        """Check the labels to fit, and give those of two classes: (N,).

        Raises:
            ValueError: y is None, does not fit, lacks labels, or has not two classes.
            SchemaError: `positive` does not occur, or leaves one class.
        """
        self._rated = ()
        if self.positive is None:
            labels = labels_of(y, rows)
            self._label = label_of_classes(np.unique(labels))
            return labels
        ratings = column_of(y, rows)
        table = as_table(ratings)
        self._label = label_role(table, "y", str(self.positive))
        if ratings.dtype.kind in NUMBERS:
            self._rated = tuple(value for value in (0, 1) if (ratings == value).any())
        return table_labels(table.frame, self._label, "y") > 0

    def _is_positive(self, y: ArrayLike, rows: int) -> NDArray[np.bool_]:
        """Return which of N labels are positive, as those of `fit` were: (N,).

        Labels of `classes_` mean these. Other ones are read as `fit` read its own: as ratings where `positive` was set,
        else as texts, such as those of a file, that say the two classes.

        Raises:
            ValueError: y is None, does not fit, or lacks labels.
            SchemaError: a label is neither of the two classes.
        """
        labels = column_of(y, rows)
        kinds = {labels.dtype.kind, self.classes_.dtype.kind}
        ratings = labels.dtype != bool and np.isin(labels, self._rated).all()  # 0 and 1 are not False and True then
        if (len(kinds) == 1 or kinds <= NUMBERS) and not ratings and np.isin(labels, self.classes_).all():
            return np.asarray(labels == self.classes_[1])
        return table_labels(as_table(labels).frame, self._label, "y") > 0

    def _rows_asked(self, X: Rows | None, y: ArrayLike | None) -> tuple[EncodedTable, EncodedTable]:
        """Give the rows that show what was learned, and the rows whose labels are asked."""
        if X is not None and y is not None:
            if isinstance(X, str | Path):
                X, y, _ = _labelled_file(X, y)
            encoded = self._encoded(X)
            given = replace(encoded, labels=self._is_positive(y, len(encoded)).astype(np.float32))
            return given, given
        parts: tuple[EncodedTable, EncodedTable] | None = getattr(self, "_parts", None)
        if parts is None:
            raise RunError(
                "This classifier was pickled without its training rows. Give rows to ask: interactions(X, y); or set "
                "keep_training_rows=True before you pickle it."
            )
        return parts[0], together(parts)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        if not self.keep_training_rows:
            state.pop("_parts", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Earlier pickles lack what came later: they kept their rows in any case, and no guide had been thought of.
        usual = {name: each.default for name, each in inspect.signature(type(self)).parameters.items()}
        super().__setstate__({**usual, "keep_training_rows": False, "guided": False, **state})
        if "classes_" in state and "_label" not in state:
            self._label = label_of_classes(self.classes_, self.positive)
            self._rated = () if self.positive is None else (0, 1)

    def _fitted(self) -> Trained:
        check_is_fitted(self, "trained_")
        trained: Trained = self.trained_
        return trained

    def _frame(self, X: Rows, *, reset: bool) -> pd.DataFrame:
        """Give X as a frame; columns without names of texts go by their position, as in scikit-learn."""
        if isinstance(X, str | Path):
            X = self._known(_file(X).frame)
        if isinstance(X, pd.DataFrame):
            if not X.columns.is_unique:  # the library that scikit-learn asks has an error of its own kind
                named = ", ".join(f"`{name}`" for name in X.columns[X.columns.duplicated()].unique())
                raise SchemaError("X", [Problem(f"a column name stands twice: {named}", "Rename one of them.")])
            if reset or hasattr(self, "n_features_in_"):  # a loaded model takes further columns, too
                validate_data(self, X, reset=reset, skip_check_array=True)
            if reset:
                self._columns = [str(column) for column in X.columns]
            by_name = reset or hasattr(self, "feature_names_in_") or not hasattr(self, "n_features_in_")
            return X if by_name else X.set_axis(self._names(X.shape[1]), axis=1)
        array = validate_data(self, X, reset=reset, dtype=None, ensure_all_finite="allow-nan")
        if reset:
            self._columns = [f"x{number}" for number in range(array.shape[1])]
        return pd.DataFrame(array, columns=self._names(array.shape[1]))

    def _known(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Leave out of a file the columns that the fit did not see, such as the label, unless it saw none of a name.

        A column that the fit left out, such as the day that folders are named by, may be missing.
        """
        if hasattr(self, "schema_"):
            left_out = {role.column for role in self.schema_.roles if not role.kind.is_used}
            frame = frame.assign(**dict.fromkeys(left_out - {*frame.columns}, ""))
        known = [name for name in getattr(self, "_columns", ()) if name in frame.columns]
        return frame[known] if known else frame

    def _names(self, count: int) -> list[str]:
        """Give the columns' names at the fit; a classifier pickled earlier has them under scikit-learn's attribute."""
        known = getattr(self, "_columns", getattr(self, "feature_names_in_", None))
        return [f"x{number}" for number in range(count)] if known is None else [str(name) for name in known]

    def _table(self, X: Rows) -> Table:
        check_is_fitted(self, "trained_")
        table = table_from_frame(self._frame(X, reset=False), "X")
        _warn(self._fitted().unseen(table))
        return table

    def _encoded(self, X: Rows) -> EncodedTable:
        table = self._table(X)
        return self._fitted().encoder.encode(table.frame, subject=table.name)

    def _labelled(self, frame: pd.DataFrame, labels: NDArray[Any]) -> Table:
        """Make the training table: X, with the label as its last column."""
        self.classes_, positive = np.unique(labels, return_inverse=True)
        table = table_from_frame(frame, "X")
        label = "label"  # X may have a column of this name
        while label in table.frame.columns:
            label += "_"
        # The encoder reads tables of text, so the classes become texts, too.
        texts = pd.Categorical.from_codes(positive.astype(np.int8), pd.Index([NEGATIVE, POSITIVE]))
        return replace(table, frame=table.frame.assign(**{label: texts}))


def _file(source: str | Path) -> Table:
    """Read rows from files, with a warning of what the reader left out, repaired or doubts."""
    try:
        table = read_table(source)
    except TableError as error:
        problems = [replace(problem, remedy=_in_python(problem.remedy)) for problem in error.problems]
        raise TableError(error.subject, problems) from error
    _warn(table.report.sentences(), table.name)
    return table


def _labelled_file(source: str | Path, label: Any) -> tuple[pd.DataFrame, NDArray[Any], ReadReport]:
    """Read rows from files, and take the column with their labels out; rows without one are left out.

    Returns:
        The rows, their labels, and how the files were read.

    Raises:
        SchemaError: there is no such column.
        TableError: the files cannot be read.
    """
    return _labels_apart(_file(source), label)


def _labels_apart(table: Table, label: Any, *, quiet: bool = False) -> tuple[pd.DataFrame, NDArray[Any], ReadReport]:
    """Take the column with the labels out of a table; see `_labelled_file`."""
    frame = table.frame
    _require_label(label, list(frame.columns), table.name)
    cells = Cells.of(frame, label)
    known = ~cells.missing[cells.codes]  # (N,)
    absent = len(known) - int(known.sum())
    if absent and not quiet:
        _warn([f"{absent:,} of {len(known):,} rows have no label and are left out"], table.name)
    labels = cells.texts.to_numpy(zero_copy_only=False)[cells.codes[known]]
    return frame.drop(columns=label)[known], labels, table.report


def _sample(pieces: Pieces) -> Table:
    """Read the sample of rows on the disk, under a name that says what it is."""
    table = pieces.sample(ROWS_OF_SAMPLE)
    return replace(table, name=name_of_sample(table.name, len(pieces))) if len(pieces) > len(table) else table


def _require_label(label: Any, columns: Sequence[str], name: str) -> None:
    if not isinstance(label, str):
        problem = Problem("rows of files are labelled by a column", "Name the column of the labels.")
        raise SchemaError("y", [replace(problem, value=type(label).__name__)])
    if label not in columns:
        remedy = f"Name the column of the labels. {did_you_mean(label, columns)}".strip()
        raise SchemaError("y", [Problem(f"it is no column of `{name}`", remedy, value=label, how=ASKED_FOR)])


@contextmanager
def _said_in_python() -> Iterator[None]:
    """Write what messages say of the command line and of runs as a notebook's user has it."""
    try:
        yield
    except (RunError, SpecError) as error:
        text = _in_python(str(error)).replace(
            ROOM, "Free some space, or name another folder in `TMPDIR`; then fit again"
        )
        raise type(error)(text) from error


def _parameters(spec: RunSpec, rows: int) -> dict[str, Any]:
    """Give the parameters with which `fit` trains as a run on that many training rows did."""
    found = recipe(spec, rows, inspect.signature(DeepFMClassifier).parameters)
    return {
        **found.chosen,
        "preset": found.preset,
        "model": spec.model.name,
        "min_count": spec.min_count,
        "validation_fraction": spec.split.valid,
        "kinds": {role.column: _kind_said(role) for role in spec.schema.roles},
        "random_state": spec.seed,
    }


def _kind_said(role: FieldRole) -> str:
    return f"{role.kind.value}:{role.separator}" if role.kind.is_several and role.separator else role.kind.value


def _warn(remarks: Sequence[str], subject: str = "") -> None:
    """Warn of columns, all in one warning, as a caller of the classifier's method."""
    if remarks:
        shown = [
            *map(_in_python, remarks[:_SHOWN]),
            *([f"and {len(remarks) - _SHOWN:,} more"] if len(remarks) > _SHOWN else []),
        ]
        head = f"{subject}: " if subject else ""
        warnings.warn(head + "; ".join(shown), TableWarning, stacklevel=3)


def _in_python(text: str) -> str:
    """Write options of the command line as parameters, ``copies="drop"``; leave out those that are none."""

    def parameter(option: re.Match[str]) -> str:
        name, value = option[1].replace("-", "_"), option[2]
        if name not in inspect.signature(DeepFMClassifier).parameters:
            return option[0]
        return f'`{name}="{value}"`' if value else f"`{name}`"

    return _OPTIONS.sub("", _OPTION.sub(parameter, text))


_OPTION = re.compile(r"`--([\w-]+)(?: '?([^`']+)'?)?`")
_OPTIONS = re.compile(r" \(`--[^()]*\)")

_SHOWN = 10
"""Columns that one warning names."""


def _index(X: Rows, rows: int) -> pd.Index:
    return X.index if isinstance(X, pd.DataFrame) else pd.RangeIndex(rows)
