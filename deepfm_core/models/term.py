"""The form of a term of the logit, and the addends that terms give; the terms themselves stand in `terms.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.models.batch import Batch, Pass, Piece, Reading, Rows
from deepfm_core.models.network import Gradients
from deepfm_core.spec.models import ADDENDS

if TYPE_CHECKING:
    from deepfm_core.models.deepfm import DeepFM

Fields = tuple[str | None, str | None]
"""The names of the fields that an addend belongs to: none, one or two; twice the same for pairs within a field."""
Pairs = Sequence[tuple[int, int]]
"""Field numbers (a, b), a < b."""
Values = NDArray[np.float64]
ROWS_AT_ONCE = 1 << 16
"""Rows of a table that a term goes through at a time."""


@dataclass(frozen=True)
class Addends:
    """Addends of one kind.

    Attributes:
        kind: a name of `spec.models.ADDENDS`, which has title and symbol.
        fields: of each column.
        values: (B, columns), in log-odds.
    """

    kind: str
    fields: Sequence[Fields]
    values: Tensor


@dataclass(frozen=True)
class Terms:
    """The addends of the logit for B rows; they sum to `DeepFM.forward`."""

    addends: tuple[Addends, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of addends that the model has, in the order of `ADDENDS`."""
        present = {part.kind for part in self.addends}
        return tuple(kind for kind in ADDENDS if kind in present)

    def of(self, kind: str) -> Tensor:
        """Give all addends of a kind, a column for each field or pair that has any: (B, columns)."""
        columns = torch.cat([part.values for part in self.addends if part.kind == kind], 1)
        place = {fields: number for number, fields in enumerate(self.fields_of(kind))}
        if len(place) == columns.shape[1]:
            return columns
        to = torch.tensor([place[fields] for fields in self._columns(kind)], device=columns.device)
        return columns.new_zeros(len(columns), len(place)).index_add(1, to, columns)

    def fields_of(self, kind: str) -> list[Fields]:
        """Give the fields of each column of `of`."""
        return list(dict.fromkeys(self._columns(kind)))

    def _columns(self, kind: str) -> list[Fields]:
        return [fields for part in self.addends if part.kind == kind for fields in part.fields]

    def logit(self) -> Tensor:
        """Sum all terms: (B,), equal to `DeepFM.forward`."""
        return torch.stack([self.of(kind).sum(1) for kind in self.kinds]).sum(0)

    @property
    def bias(self) -> Tensor | None:
        """The bias: (); None where the model has none."""
        return self.of("bias")[0, 0] if "bias" in self.kinds else None

    @property
    def first_order(self) -> Tensor | None:
        """A column per field, in the order of `Layout.first_order_names`: (B, F + D + C); None without such terms."""
        return self.of("first-order") if "first-order" in self.kinds else None

    @property
    def second_order(self) -> Tensor | None:
        """A column per entry of `DeepFM.pairs`: (B, P); None without such a term."""
        return self.of("second-order") if "second-order" in self.kinds else None

    @property
    def dnn(self) -> Tensor | None:
        """The network's output: (B,); None without network."""
        return self.of("dnn")[:, 0] if "dnn" in self.kinds else None


class Term(ABC):
    """One term of a model's logit.

    With a graph it needs `forward` and `addends` alone. By hand a batch goes through it like this: `begin` with the
    whole batch; `add` for each piece, then `backward` for the piece; `end_fields` and `end_table` with the whole batch.
    """

    switch: ClassVar[str]
    """The attribute of `Switches` that gives a model this term."""
    weights: ClassVar[tuple[str, ...]] = ()
    """Parameters that learn as fast as first-order weights, and decay with `FitSpec.l2`."""
    constants: ClassVar[tuple[str, ...]] = ()
    """Parameters that learn as fast as first-order weights, and do not decay."""
    adds_weights: ClassVar[bool] = False
    """Whether the term adds the first column of the embedding table to the logit."""
    gives_pairs: ClassVar[bool] = False
    """Whether the term gives anything to pairs of different fields, by `of_pairs` or, a network, when it is probed."""
    fixed: bool = False
    """Whether the term does not learn: it is part of what a guided model starts from."""
    columns: slice | None = None
    """Which columns of the embedding table the term reads of each field, if any."""
    whole: bool = False
    """Whether a batch must come in one piece."""

    def __init__(self, model: DeepFM) -> None:
        """Be the term of a model; parameters are read where the model has them."""
        self.model = model

    @classmethod
    def build(cls, model: DeepFM) -> None:
        """Add the term's parameters and buffers to a new model. This is called for every term, also one it lacks."""
        return

    @classmethod
    def of(cls, model: DeepFM) -> bool:
        """Say whether a model has the term."""
        return bool(getattr(model.spec.switches, cls.switch))

    def observe(self, train: Rows) -> None:  # noqa: B027
        """Take from the training part what `settle` needs."""

    def settle(self) -> None:  # noqa: B027
        """Bring what is derived from the weights up to date, before the model is evaluated or saved."""

    # With a graph

    @abstractmethod
    def forward(self, read: Reading) -> Tensor:
        """Give the term: (B,), or () where it is the same for all rows."""

    @abstractmethod
    def addends(self, read: Reading) -> Iterator[Addends]:
        """Yield what the term is the sum of."""

    # What it gives to a pair of fields

    @property
    def own_pairs(self) -> Sequence[tuple[int, int]]:
        """The pairs (a, b), a < b, that have numbers of their own in the term; a pair may stand there twice."""
        return ()

    def of_pairs(self, table: EncodedTable, pairs: Pairs, means: Tensor | None = None) -> Iterator[Values]:
        """Yield what the term gives to each pair: (N,) a pair.

        What is of one field alone may be in it: it is taken out afterwards. A network gives to pairs, too, but that
        must be probed (`explain.probe`).

        Args:
            table: N rows.
            pairs: of field numbers.
            means: (F, K), about which embeddings are centred; those over the N rows if None.
        """
        return (np.zeros(len(table)) for _ in pairs)

    # By hand, without a graph

    @property
    def own_table(self) -> str | None:
        """The parameter that the term looks up rows of by ids of its own, if any."""
        return None

    @property
    def lookups(self) -> int:
        """How many rows of its own table the term looks up for each row of a batch."""
        return 0

    def ids(self, batch: Batch) -> Tensor:
        """Give the ids to look up in the term's own table: (B, lookups)."""
        raise NotImplementedError(f"{type(self).__name__} has no table of its own: leave `own_table` at None.")

    def prepare(self, gradients: Gradients, precision: str) -> None:  # noqa: B027
        """Prepare to train into `gradients`; a term that is not prepared evaluates."""

    def begin(self, batch: Pass) -> None:  # noqa: B027
        """Begin a batch."""

    @abstractmethod
    def add(self, logit: Tensor, piece: Piece) -> None:
        """Add the term of n rows to their logits (n,)."""

    @abstractmethod
    def backward(self, delta: Tensor, piece: Piece) -> None:
        """Add the piece's part to the gradients, from ∂loss/∂logit (n,)."""

    def end_fields(self, batch: Pass) -> None:  # noqa: B027
        """Change ∂loss/∂(what was read of the fields) by what only the whole batch shows."""

    def end_table(self, delta: Tensor, gradient: Tensor) -> None:  # noqa: B027
        """Add to ∂loss/∂rows (R, columns) of the embedding table what does not go through the fields."""

    def own_gradient(self, delta: Tensor, into: Tensor | None) -> Tensor:
        """Give ∂loss/∂rows of the term's own table, in `into` if given, from ∂loss/∂logit (B,)."""
        raise NotImplementedError(f"{type(self).__name__} has no table of its own: leave `own_table` at None.")


class NetworkTerm(Term):
    """A term that is the output of a part of the model, which reads what the network reads."""

    gives_pairs = True
    columns: slice
    addend: ClassVar[str]
    """The kind of its addend."""

    def __init__(self, model: DeepFM) -> None:
        """Read the network's columns of the table."""
        super().__init__(model)
        self.columns = model.deep_columns

    @property
    @abstractmethod
    def part(self) -> nn.Module:
        """The part of the model: (B, inputs) to (B,)."""

    def forward(self, read: Reading) -> Tensor:
        """Give the output: (B,)."""
        output: Tensor = self.part(self.model.network_input(read.fields(self.columns), read.batch.dense))
        return output

    def addends(self, read: Reading) -> Iterator[Addends]:
        """Yield the output as one."""
        yield Addends(self.addend, [(None, None)], self.forward(read).unsqueeze(1))
