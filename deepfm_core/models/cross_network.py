"""The cross network, which multiplies all that a network reads with itself, layer by layer, and its term.

With x the inputs (d numbers), x₀ = x and L layers, its output is ⟨c, x_L⟩ with

    x_{l+1} = x (w_l · x_l) + b_l + x_l        the vector form: Wang et al. 2017, arXiv 1708.05123, equation 3
    x_{l+1} = x ⊙ (W_l x_l + b_l) + x_l        the matrix form: Wang et al. 2021, arXiv 2008.13535, equation 1

Start with `CrossNetwork`. In shapes: n rows, d inputs, L layers. docs/training-step.md derives the gradients.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from deepfm_core.models.batch import Pass, Piece
from deepfm_core.models.network import Gradients, add_sum
from deepfm_core.models.term import NetworkTerm
from deepfm_core.spec.run import network_inputs

if TYPE_CHECKING:
    from deepfm_core.models.deepfm import DeepFM


class CrossLayers(nn.Module, ABC):
    """The layers of a cross network: weights and biases of each, and c, by which the last one is read."""

    weights: nn.Parameter
    biases: nn.Parameter
    output: nn.Parameter

    def __init__(self, weights: Tensor, inputs: int) -> None:
        """Start from weights (L, …) as given, biases of 0, and a random c."""
        super().__init__()
        self.weights = nn.Parameter(weights)
        self.biases = nn.Parameter(torch.zeros(len(weights), inputs))
        self.output = nn.Parameter(_xavier(1, inputs)[0])

    @property
    @abstractmethod
    def first(self) -> Tensor:
        """What the inputs are first multiplied by, each part of them by itself: (H, d)."""

    @abstractmethod
    def after(self, sums: Tensor) -> Tensor:
        """Give the output from the inputs' sums under `first`: (…, H) to (…)."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (n, d) to (n,)."""
        return self.after(inputs @ self.first.T)

    @abstractmethod
    def by_hand(self, gradients: Gradients | None = None) -> CrossPass:
        """Give the same layers without a graph, which train into `gradients`."""


class VectorLayers(CrossLayers):
    """Layers of the vector form, with weights (L, d).

    Each layer adds a multiple of x and a constant, so x_l = α_l x + β_l with a number α_l a row, and a vector β_l that
    is the same for all rows. The output therefore needs the L + 1 numbers w_l · x and c · x of a row, and no more.
    """

    def __init__(self, layers: int, inputs: int) -> None:
        super().__init__(torch.cat([_xavier(1, inputs) for _ in range(layers)]), inputs)

    @property
    def first(self) -> Tensor:
        """The weights of the layers, then c: (L + 1, d)."""
        return torch.cat([self.weights, self.output.unsqueeze(0)])

    def after(self, sums: Tensor) -> Tensor:
        """α_{l+1} = α_l (1 + w_l · x) + w_l · β_l, from α_0 = 1; β_l is the sum of the biases before."""
        alpha, beta = torch.ones_like(sums[..., 0]), torch.zeros_like(self.output)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            alpha = alpha * (1 + sums[..., layer]) + weight @ beta
            beta = beta + bias
        return alpha * sums[..., -1] + self.output @ beta

    def by_hand(self, gradients: Gradients | None = None) -> CrossPass:
        """Give the same layers without a graph."""
        return VectorPass(self, gradients)


class MatrixLayers(CrossLayers):
    """Layers of the matrix form, with weights (L, d, d)."""

    def __init__(self, layers: int, inputs: int) -> None:
        super().__init__(torch.stack([_xavier(inputs, inputs) for _ in range(layers)]), inputs)

    @property
    def first(self) -> Tensor:
        """Every input by itself: (d, d)."""
        return torch.eye(self.output.shape[0]).to(self.output)

    def after(self, sums: Tensor) -> Tensor:
        """Multiply with the inputs, layer by layer."""
        crossed = sums
        for weight, bias in zip(self.weights, self.biases, strict=True):
            crossed = sums * (crossed @ weight.T + bias) + crossed
        return crossed @ self.output

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (n, d) to (n,)."""
        return self.after(inputs)

    def by_hand(self, gradients: Gradients | None = None) -> CrossPass:
        """Give the same layers without a graph."""
        return MatrixPass(self, gradients)


def cross_layers(form: str, layers: int, inputs: int) -> CrossLayers:
    """Make layers of the form `vector` or `matrix`, with random weights."""
    return (VectorLayers if form == "vector" else MatrixLayers)(layers, inputs)


def _xavier(units: int, inputs: int) -> Tensor:
    return nn.init.xavier_uniform_(torch.empty(units, inputs))


# Forward and backward by hand.


class CrossPass(ABC):
    """Cross layers that go through a batch in pieces, without a graph."""

    def __init__(self, layers: CrossLayers, gradients: Gradients | None) -> None:
        """Read the layers' weights, which keep their memory while they train; without `gradients`, do not train."""
        self.weights, self.biases, self.output = (
            part.detach() for part in (layers.weights, layers.biases, layers.output)
        )
        self.trains, self.begun = gradients is not None, False
        if gradients is not None:
            self._of_weights, self._of_biases, self._of_output = (
                gradients[f"cross.{name}"] for name in ("weights", "biases", "output")
            )

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Map (n, d) to (n,)."""

    @abstractmethod
    def backward(self, delta: Tensor) -> Tensor:
        """Add to the gradients from ∂loss/∂output (n,), or write the first, and give ∂loss/∂x (n, d)."""


class VectorPass(CrossPass):
    """The vector form by hand."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, d) to (n,)."""
        self._x, self._first = x, torch.cat([self.weights, self.output.unsqueeze(0)])  # (L + 1, d)
        self._sums = x @ self._first.t()  # (n, L + 1)
        self._betas = torch.cat([torch.zeros_like(self.biases[:1]), self.biases.cumsum(0)])  # (L + 1, d)
        self._alphas = [torch.ones_like(self._sums[:, 0])]
        for layer, weight in enumerate(self.weights):
            self._alphas.append(self._alphas[-1] * (1 + self._sums[:, layer]) + weight @ self._betas[layer])
        return self._alphas[-1] * self._sums[:, -1] + self.output @ self._betas[-1]

    def backward(self, delta: Tensor) -> Tensor:
        """Go back through α: ∂(w_l · x) = ∂α_{l+1} α_l, ∂(w_l · β_l) = Σ ∂α_{l+1}, ∂α_l = ∂α_{l+1} (1 + w_l · x)."""
        layers = len(self.weights)
        d_sums, d_products = torch.empty_like(self._sums), self._betas.new_empty(layers + 1)
        d_sums[:, layers], d_products[layers] = delta * self._alphas[layers], delta.sum()
        d_alpha = delta * self._sums[:, layers]
        for layer in reversed(range(layers)):
            d_sums[:, layer], d_products[layer] = d_alpha * self._alphas[layer], d_alpha.sum()
            d_alpha = d_alpha * (1 + self._sums[:, layer])
        # of w_l · β_l, in the last line c · β_L; β_l holds the biases of all layers before it
        d_first = d_sums.t() @ self._x + d_products.unsqueeze(1) * self._betas
        d_betas = d_products.unsqueeze(1) * self._first
        d_biases = d_betas.flip(0).cumsum(0).flip(0)[1:]
        for found, into in (
            (d_first[:-1], self._of_weights),
            (d_biases, self._of_biases),
            (d_first[-1], self._of_output),
        ):
            _ = into.add_(found) if self.begun else into.copy_(found)
        self.begun = True
        return d_sums @ self._first


class MatrixPass(CrossPass):
    """The matrix form by hand."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, d) to (n,)."""
        self._crossed, self._inner = [x], []
        for weight, bias in zip(self.weights, self.biases, strict=True):
            self._inner.append(torch.addmm(bias, self._crossed[-1], weight.t()))  # y_l = W_l x_l + b_l
            self._crossed.append(torch.addcmul(self._crossed[-1], x, self._inner[-1]))
        return self._crossed[-1] @ self.output

    def backward(self, delta: Tensor) -> Tensor:
        """Go back through the layers: ∂y_l = ∂x_{l+1} ⊙ x, ∂x += ∂x_{l+1} ⊙ y_l, ∂x_l = ∂x_{l+1} + W_lᵀ ∂y_l."""
        x, beta = self._crossed[0], float(self.begun)
        self._of_output.addmv_(self._crossed[-1].t(), delta, beta=beta)
        d_crossed, dx = torch.outer(delta, self.output), torch.zeros_like(x)
        for layer in reversed(range(len(self.weights))):
            d_inner = d_crossed * x
            dx.addcmul_(d_crossed, self._inner[layer])
            self._of_weights[layer].addmm_(d_inner.t(), self._crossed[layer], beta=beta)
            add_sum(d_inner, self._of_biases[layer], self.begun)
            d_crossed = torch.addmm(d_crossed, d_inner, self.weights[layer])
        self.begun = True
        return dx.add_(d_crossed)


class CrossNetwork(NetworkTerm):
    """The output of the cross network over embeddings and dense fields, which stands beside the DNN."""

    switch = addend = "cross"

    @classmethod
    def build(cls, model: DeepFM) -> None:
        """Add the layers, with random weights."""
        spec, layout = model.spec, model.layout
        inputs = network_inputs(spec, len(layout.fields), len(layout.dense))
        form = spec.switches.cross
        model.cross = cross_layers(form, spec.cross_layers, inputs) if form else None

    @property
    def part(self) -> CrossLayers:
        """The model's layers."""
        assert self.model.cross is not None
        return self.model.cross

    _pass: CrossPass | None = None

    def prepare(self, gradients: Gradients, precision: str) -> None:
        """Train the layers, in the precision of their weights."""
        self._pass = self.part.by_hand(gradients)

    def begin(self, batch: Pass) -> None:
        """Begin a batch."""
        if self._pass is None or not self._pass.trains:
            self._pass = self.part.by_hand()
        self._pass.begun = False

    def add(self, logit: Tensor, piece: Piece) -> None:
        """Add the output."""
        assert self._pass is not None
        fields = piece.fields(self.columns)  # (n, F·K)
        logit += self._pass.forward(torch.cat([fields, piece.dense], 1) if piece.dense.shape[1] else fields)

    def backward(self, delta: Tensor, piece: Piece) -> None:
        """Go back through the layers; dense fields have no gradient."""
        assert self._pass is not None
        gradient, filled = piece.gradient(self.columns)
        found = self._pass.backward(delta)[:, : gradient.shape[1]]
        _ = gradient.add_(found) if filled else gradient.copy_(found)
