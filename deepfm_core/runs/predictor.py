"""The model and encoder of a finished run, ready to predict new rows: start with `Trained.load`."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepfm_core._files import readable
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.encoding.unseen import unseen_notes
from deepfm_core.errors import SchemaError
from deepfm_core.explain.row_terms import terms_frame
from deepfm_core.metrics.scores import sigmoid
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.schema.schema import Schema
from deepfm_core.spec.run import RunSpec
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.tables.header import header_doubt
from deepfm_core.tables.reader import encoding_doubt
from deepfm_core.tables.table import Table
from deepfm_core.training.fit import predict_logits


def _reordered(schema: Schema, table: Table) -> list[str]:
    """Say which columns of one name were numbered in another order than the training table's, which they hang on."""
    trained = [role.column for role in schema.roles]
    numbered = [name for name in trained if (match := _NUMBERED.fullmatch(name)) and match[1] in trained]
    here = [str(column) for column in table.frame.columns]
    known = [column for column in here if column in trained]
    if not numbered or known == [column for column in trained if column in known]:
        return []
    base = str(_NUMBERED.fullmatch(numbered[0])[1])  # type: ignore[index]  # it matched above
    return [
        f"{table.name}: two columns had the same name, so the reader numbered them `{base}` and `{numbered[0]}` by "
        "their order. The columns stand in another order than in training, so the two may be swapped. Check them, or "
        "give each a name of its own."
    ]


_NUMBERED = re.compile(r"(.+) \(\d+\)", re.DOTALL)
"""How the reader names a column whose name stands once more."""


@dataclass(frozen=True)
class Trained:
    """A trained model with the encoder of its inputs."""

    spec: RunSpec
    encoder: Encoder
    model: DeepFM

    @classmethod
    def load(cls, folder: RunFolder) -> Trained:
        """Load a run.

        Raises:
            RunError: the folder is not that of a finished run, or is from a version that cannot be read.
        """
        spec = folder.spec()
        tensors, _ = folder.load_model()
        encoder = Encoder.load(folder.encoder)
        with readable(folder.model):
            model = DeepFM(encoder.layout, spec.model)
            model.load_state_dict(tensors)
        return cls(spec, encoder, model.eval())

    @property
    def only_column(self) -> str | None:
        """The column that predictions need, if it is a single one."""
        used = self.spec.schema.used
        return used[0].column if len(used) == 1 else None

    def unseen(self, table: Table) -> list[str]:
        """Say which fields hold far more new, missing or outlying values than the training rows suggest.

        Also warns if columns of one name were numbered by their order, and that order is not the one of training.

        Raises:
            SchemaError: the table lacks fields.
        """
        self.require(table)
        numbered = _reordered(self.spec.schema, table)
        return [*numbered, *unseen_notes(self.encoder, table.frame, table.name)]

    def require(self, table: Table) -> None:
        """Check that a table has the columns that the model needs.

        Raises:
            SchemaError: columns are missing; it says so if the encoding of the text may be why.
        """
        try:
            self.encoder.require_columns(table.frame, table.name)
        except SchemaError as error:
            if doubt := header_doubt(table):
                raise SchemaError(error.subject, [*error.problems, *doubt]) from None
            encoding, said = table.report.encoding, table.report.choices.encoding is not None
            if not said and encoding.startswith("utf-"):
                raise
            raise SchemaError(error.subject, [*error.problems, encoding_doubt(encoding, said=said)]) from None

    def logits(self, table: Table) -> NDArray[np.float64]:
        """Return each row's logit: (N,).

        Raises:
            SchemaError: the table lacks fields, or a value cannot be used.
        """
        return predict_logits(self.model, self.encoder.encode(table.frame, subject=table.name))

    def predict(self, table: Table) -> NDArray[np.float64]:
        """Return each row's probability: (N,).

        Raises:
            SchemaError: the table lacks fields, or a value cannot be used.
        """
        return sigmoid(self.logits(table))

    def explain(self, table: Table) -> pd.DataFrame:
        """Split each row's logit into its parts (see `explain.row_terms.terms_frame`).

        Raises:
            SchemaError: the table lacks fields, or a value cannot be used.
        """
        return terms_frame(self.model, self.encoder.encode(table.frame, subject=table.name))
