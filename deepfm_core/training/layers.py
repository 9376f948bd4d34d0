"""The network's forward and backward pass by hand, without an autograd graph (docs/training-step.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest

import torch
from torch import Tensor, nn

from deepfm_core.models.deepfm import DeepFM
from deepfm_core.training.products import Products

Gradients = Mapping[str, Tensor]
"""The buffer of each trained tensor's gradient, by the tensor's name in the model."""

aten = torch.ops.aten

_FORWARD: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu_,
    "tanh": torch.tanh_,
    "sigmoid": torch.sigmoid_,
    "linear": lambda z: z,
}
_BACKWARD: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "relu": lambda dy, y: aten.threshold_backward.grad_input(dy, y, 0, grad_input=dy),
    "tanh": lambda dy, y: aten.tanh_backward.grad_input(dy, y, grad_input=dy),
    "sigmoid": lambda dy, y: aten.sigmoid_backward.grad_input(dy, y, grad_input=dy),
    "linear": lambda dy, y: dy,
}


class Linear:
    """A linear layer, z = x Wᵀ + b, whose products may be of a lower precision than its weights."""

    def __init__(self, name: str, linear: nn.Linear, gradients: Gradients, dtype: torch.dtype) -> None:
        self.weight, self.bias = linear.weight.detach(), linear.bias.detach()
        self.weight_gradient, self.bias_gradient = gradients[f"{name}.weight"], gradients[f"{name}.bias"]
        self.dtype, self._lower = dtype, dtype != self.weight.dtype
        self._used = self.weight.to(dtype)
        self._transposed = self._used.t()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs) to (B, units)."""
        if self._lower:
            self._used.copy_(self.weight)
        self.x = x.to(self.dtype)
        return torch.addmm(self.bias.to(self.dtype), self.x, self._transposed)

    def backward(self, dz: Tensor) -> Tensor:
        """Fill the gradients from ∂loss/∂z (B, units) and give ∂loss/∂x (B, inputs)."""
        dz = dz.to(self.dtype)
        if self._lower:
            self.weight_gradient.copy_(dz.t() @ self.x)
        else:
            torch.mm(dz.t(), self.x, out=self.weight_gradient)
        torch.sum(dz, 0, dtype=self.bias.dtype, out=self.bias_gradient)
        return torch.mm(dz, self._used)


class FirstLinear(Linear):
    """The first linear layer, which reads the looked-up fields as they lie in memory, and what stands beside them.

    Its weights are spread so that a column of zeros stands at each column of the table that the network does not read,
    such as a first-order weight w. That costs a few multiplications by zero and spares a copy of the batch's
    embeddings into an input of their own, and one back.
    """

    def __init__(
        self, name: str, linear: nn.Linear, gradients: Gradients, dtype: torch.dtype, model: DeepFM, products: int
    ) -> None:
        super().__init__(name, linear, gradients, dtype)
        units, fields, read = len(self.weight), len(model.layout.fields), model.deep_columns
        each = read.stop - read.start
        split, own = fields * each, (units, fields, each)
        self._read = self.weight[:, :split].view(own)
        self._read_gradient = self.weight_gradient[:, :split].view(own)
        self._used = torch.zeros(units, fields * model.columns, dtype=dtype, device=self.weight.device)
        self._used_gradient = torch.zeros_like(self._used)
        self._used_read, self._used_read_gradient = (
            part.view(units, fields, model.columns)[..., read] for part in (self._used, self._used_gradient)
        )
        self._transposed = self._used.t()
        self._beside_weight, self._beside_gradient = self.weight[:, split:], self.weight_gradient[:, split:]
        self._products = products
        self.beside = self.weight.new_zeros(0, 0)
        """(B, products + D), the products and the dense fields of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        """Map the fields (B, F·columns), and `beside`, to (B, units)."""
        self.x = x.to(self.dtype)
        self._used_read.copy_(self._read)
        z = torch.addmm(self.bias.to(self.dtype), self.x, self._transposed)
        return z.add_(self.beside @ self._beside_weight.t()) if self.beside.shape[1] else z

    def backward(self, dz: Tensor) -> Tensor:
        """Fill the gradients from ∂loss/∂z (B, units) and give ∂loss/∂fields (B, F·columns), 0 where it reads none."""
        dz = dz.to(self.dtype)
        torch.mm(dz.t(), self.x, out=self._used_gradient)
        self._read_gradient.copy_(self._used_read_gradient)
        self._dz = dz.to(self.beside.dtype)
        if self.beside.shape[1]:
            self._beside_gradient.copy_(self._dz.t() @ self.beside)
        torch.sum(dz, 0, dtype=self.bias.dtype, out=self.bias_gradient)
        return torch.mm(dz, self._used)

    def backward_products(self) -> Tensor:
        """Give ∂loss/∂products (B, products), after `backward`."""
        return self._dz @ self._beside_weight[:, : self._products]


class Normalisation:
    """A batch normalisation."""

    def __init__(self, name: str, norm: nn.BatchNorm1d, gradients: Gradients) -> None:
        self._norm = norm
        self.weight, self.bias = norm.weight.detach(), norm.bias.detach()
        self.weight_gradient, self.bias_gradient = gradients[f"{name}.weight"], gradients[f"{name}.bias"]

    def forward(self, z: Tensor) -> Tensor:
        """Normalise (B, units) by the batch, and move the running mean and variance."""
        norm = self._norm
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked += 1
        self.z = z
        y: Tensor
        y, self.mean, self.inverse_deviation = aten.native_batch_norm(
            z, self.weight, self.bias, norm.running_mean, norm.running_var, True, norm.momentum, norm.eps
        )
        return y

    def backward(self, dy: Tensor) -> Tensor:
        """Fill the gradients from ∂loss/∂output and give ∂loss/∂input (B, units)."""
        dz: Tensor
        mean, inverse = self.mean, self.inverse_deviation
        dz, weight, bias = aten.native_batch_norm_backward(
            dy, self.z, self.weight, None, None, mean, inverse, True, self._norm.eps, [True, True, True]
        )
        self.weight_gradient.copy_(weight)
        self.bias_gradient.copy_(bias)
        return dz


class Hidden:
    """What follows a hidden layer's linear part: batch normalisation → activation → dropout."""

    def __init__(self, norm: Normalisation | None, activation: str) -> None:
        self._norm = norm
        self._activate, self._differentiate = _FORWARD[activation], _BACKWARD[activation]

    def forward(self, z: Tensor, kept: Tensor | None) -> Tensor:
        """Give the layer's output (B, units) from z, which is overwritten, and dropout's mask."""
        self.kept = None if kept is None else kept.to(z.dtype)
        self.active = self._activate(z if self._norm is None else self._norm.forward(z))
        return self.active if self.kept is None else self.active * self.kept

    def backward(self, dy: Tensor) -> Tensor:
        """Give ∂loss/∂z (B, units) from ∂loss/∂output, which is overwritten."""
        dz = self._differentiate(dy if self.kept is None else dy.mul_(self.kept), self.active)
        return dz if self._norm is None else self._norm.backward(dz)


class Layers:
    """A model's network: the same outputs and gradients as autograd's, written into buffers that stay."""

    def __init__(self, model: DeepFM, gradients: Gradients, precision: str = "float32") -> None:
        """Train into `gradients`; `precision` is that of the hidden layers' products: `float32` or `bfloat16`."""
        assert model.network is not None
        own = model.table.dtype
        dtype = torch.bfloat16 if precision == "bfloat16" else own
        switches = model.spec.switches
        self._products = Products(model) if switches.inner or switches.outer else None
        count = self._products.count if self._products is not None else 0
        self._linears: list[Linear] = []
        norms: dict[int, Normalisation] = {}
        for number, module in enumerate(model.network.stack):
            name = f"network.stack.{number}"
            if isinstance(module, nn.Linear) and not self._linears:
                self._first = FirstLinear(name, module, gradients, dtype, model, count)
                self._linears.append(self._first)
            elif isinstance(module, nn.Linear):
                output = module is model.network.output
                self._linears.append(Linear(name, module, gradients, own if output else dtype))
            elif isinstance(module, nn.BatchNorm1d):
                norms[len(self._linears)] = Normalisation(name, module, gradients)
        activation = model.spec.activation
        self._hidden = [Hidden(norms.get(number), activation) for number in range(1, len(self._linears))]

    def forward(self, fields: Tensor, dense: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """Give the network's output (B,) from the looked-up fields (B, F·columns) and the dense fields (B, D)."""
        products, x = self._products, fields
        self._first.beside = dense if products is None else torch.cat([products.forward(fields), dense], 1)
        for linear, hidden, mask in zip_longest(self._linears[:-1], self._hidden, kept):
            x = hidden.forward(linear.forward(x), mask)
        return self._linears[-1].forward(x).squeeze(1)

    def backward(self, delta: Tensor) -> Tensor:
        """Fill the gradients from ∂loss/∂output (B,) and give ∂loss/∂fields (B, F·columns)."""
        dx = self._linears[-1].backward(delta.unsqueeze(1))
        for linear, hidden in zip(reversed(self._linears[:-1]), reversed(self._hidden), strict=True):
            dx = linear.backward(hidden.backward(dx.to(linear.dtype)))
        gradient = dx.to(delta.dtype)
        if self._products is not None:
            self._products.backward(self._first.backward_products(), gradient)
        return gradient
