"""What FM and network read of the looked-up fields, and the gradients of it."""

from __future__ import annotations

from torch import Tensor

from deepfm_core.models.deepfm import DeepFM
from deepfm_core.training.lookup import Lookup, Slots


class Fields:
    """The embeddings that FM and network read: the same ones, or different columns of the table."""

    def __init__(self, model: DeepFM, slots: Slots) -> None:
        self._slots = slots
        self._fm = model.fm_columns if model.spec.second_order else None
        self._deep = model.deep_columns if model.network is not None else None
        count = len(model.layout.fields)
        self._columns = tuple({(c.start, c.stop): c for c in (self._fm, self._deep) if c is not None}.values())
        self._buffers = [model.table.detach().new_empty(0, count * (c.stop - c.start)) for c in self._columns]
        self._rows, self._nothing = 0, model.table.detach().new_empty(0, 0)

    def begin(self, rows: int) -> None:
        """Begin a batch of B rows."""
        self._rows = rows
        if self._buffers and self._buffers[0].shape[0] < rows:
            self._buffers = [buffer.new_empty(rows, buffer.shape[1]) for buffer in self._buffers]

    def read(self, lookup: Lookup, piece: slice) -> tuple[Tensor, Tensor]:
        """Give what the FM reads of n rows, (n, F·K), and the network, (n, F·width); empty for none."""
        read = [self._slots.fields(lookup, columns, piece) for columns in self._columns]
        return self._of(self._fm, read), self._of(self._deep, read)

    def gradients(self, piece: slice) -> tuple[Tensor, Tensor]:
        """Give where ∂loss/∂(what was read) of n rows is to be written."""
        parts = [buffer[piece] for buffer in self._buffers]
        return self._of(self._fm, parts), self._of(self._deep, parts)

    @property
    def of_fm(self) -> Tensor:
        """∂loss/∂(what the FM read) of the batch: (B, F·K)."""
        return self._of(self._fm, [buffer[: self._rows] for buffer in self._buffers])

    @property
    def parts(self) -> list[tuple[slice, Tensor]]:
        """Columns of the table, and ∂loss/∂(what was read of them) of the batch: (B, F·width)."""
        return [(columns, buffer[: self._rows]) for columns, buffer in zip(self._columns, self._buffers, strict=True)]

    def _of(self, columns: slice | None, parts: list[Tensor]) -> Tensor:
        return self._nothing if columns is None else parts[self._columns.index(columns)]
