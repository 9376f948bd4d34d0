"""What others do not promise to keep: their undocumented functions, each with a way by public ones to the same result.

A new version may take such a function away or change its arguments. The public way is then taken: the result is the
same, the cost is higher (docs/decisions/018-private-functions-of-others.md). Torch and SciPy are imported where they
are used, since reading a table needs neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from torch import Tensor

GONE = (AttributeError, ImportError, TypeError, ValueError)
"""What calling a function raises, before it has done anything, that is no longer there or takes other arguments."""


def distinct_categories(categories: pd.Index) -> pd.CategoricalDtype:
    """Make the type of a Categorical from categories known to be distinct and not missing.

    Pandas' own shortcut does not hash them all again to see that they are: for a million texts 0.1 s less.
    """
    try:
        made: pd.CategoricalDtype = pd.CategoricalDtype._from_fastpath(categories, False)  # type: ignore[attr-defined]
    except GONE:
        made = distinct_categories_publicly(categories)
    return made


def distinct_categories_publicly(categories: pd.Index) -> pd.CategoricalDtype:
    """Do the same by what pandas documents."""
    return pd.CategoricalDtype(categories, ordered=False)


def transposed_product(x: Tensor, positions: Tensor, starts: Tensor, count: int, gradient: Tensor) -> Tensor:
    """Give Aᵀ · gradient (count, width), A being a sparse matrix by rows: `starts`, `positions`, `x`.

    Rows that follow one another are added to rows of the result, four times as fast as `index_add_` does it. SciPy's
    kernel is called itself, since making a matrix for it checks what is known and takes longer than the product.

    Args:
        x: (L,) the numbers in the matrix, on the CPU.
        positions: (L,) int32, the column that each stands in.
        starts: (rows + 1,) int32, at which number each row begins, and where the last one ends.
        count: the matrix' columns.
        gradient: (rows, width), contiguous, of the type of `x`.
    """
    bags, width = gradient.shape
    found = gradient.new_zeros(count, width)
    compressed = starts.numpy(), positions.numpy(), x.numpy()
    try:
        from scipy.sparse._sparsetools import csc_matvecs

        csc_matvecs(count, bags, width, *compressed, gradient.numpy().ravel(), found.numpy().ravel())
    except GONE:
        return transposed_product_publicly(x, positions, starts, count, gradient)
    return found


def transposed_product_publicly(x: Tensor, positions: Tensor, starts: Tensor, count: int, gradient: Tensor) -> Tensor:
    """Do the same by what SciPy documents."""
    import torch
    from scipy.sparse import csc_array

    last = int(starts[-1])
    compressed = x.numpy()[:last], positions.numpy()[:last], starts.numpy()
    return torch.from_numpy(csc_array(compressed, shape=(count, gradient.shape[0])) @ gradient.numpy())


@dataclass(frozen=True)
class AdamState:
    """Tensors that Adam moves by one call, with what it keeps of each."""

    weights: list[Tensor]
    gradients: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]
    counts: list[Tensor]
    """The number of the step, from 1, as a tensor of one float32: may be the same one for all."""


def move_by_adam(state: AdamState, *, rate: float, betas: tuple[float, float], l2: float, epsilon: float) -> None:
    """Do a step of Adam in place, by the kernel behind `torch.optim.Adam(fused=True)`.

    The optimiser itself is not used, because the first one made imports the compiler: more than a second.
    """
    import torch

    try:
        torch._fused_adam_(
            state.weights,
            state.gradients,
            state.means,
            state.squares,
            [],
            state.counts,
            lr=rate,
            beta1=betas[0],
            beta2=betas[1],
            weight_decay=l2,
            eps=epsilon,
            amsgrad=False,
            maximize=False,
        )
    except GONE:
        move_by_adam_publicly(state, rate=rate, betas=betas, l2=l2, epsilon=epsilon)


def move_by_adam_publicly(
    state: AdamState, *, rate: float, betas: tuple[float, float], l2: float, epsilon: float
) -> None:
    """Do the same by what torch documents: Algorithm 1 of Kingma & Ba (2014), the L2 in the gradient."""
    parts = zip(state.weights, state.gradients, state.means, state.squares, state.counts, strict=True)
    for weight, plain, mean, square, count in parts:
        gradient = plain.add(weight, alpha=l2)
        mean.lerp_(gradient, 1 - betas[0])
        square.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
        unbiased = [1 - beta ** float(count) for beta in betas]
        weight.addcdiv_(mean, (square / unbiased[1]).sqrt_().add_(epsilon), value=-rate / unbiased[0])
