"""What every kind of embedded field gives: how the distinct texts of its column become features and their x."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from deepfm_core.errors import Problem
from deepfm_core.schema.column import Cells
from deepfm_core.schema.schema import Kind

Code = tuple[NDArray[np.int32], NDArray[np.float32] | None]
"""For D distinct texts: (D, slots) ids within the field's block, and (D, slots) weights or None where every x is 1."""


class FieldCode(Protocol):
    """How one embedded field is encoded."""

    kind: ClassVar[Kind]

    @property
    def column(self) -> str:
        """The table's column."""

    @property
    def name(self) -> str:
        """The field's name."""

    @property
    def slots(self) -> int:
        """Feature ids a row has for this field."""

    @property
    def features(self) -> Sequence[str]:
        """The name of each feature of the block."""

    @property
    def unseen(self) -> int | None:
        """The feature for values the training part did not hold."""

    def code(self, cells: Cells) -> Code:
        """Encode the D distinct texts of `cells`."""

    def problems(self, cells: Cells) -> list[Problem]:
        """Name the cells that cannot stand in this field."""

    def to_dict(self) -> dict[str, Any]:
        """Give the field code as plain values for JSON."""
