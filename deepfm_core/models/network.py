"""The network of a model: fully connected layers ending in one number, and its two passes by hand.

`Network` is a module of torch. `Layers` goes through it and back without an autograd graph (docs/training-step.md).
`products` gives what a network reads beside the embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from deepfm_core.spec.run import ModelSpec, product_count

if TYPE_CHECKING:
    from deepfm_core.models.batch import Pass
    from deepfm_core.models.deepfm import DeepFM


_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "linear": nn.Identity,
}


class Dropout(nn.Module):
    """Dropout whose mask can be given, so that the same units are dropped whichever way gradients are computed."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.kept: Tensor | None = None
        """(B, units), 0 where a unit is dropped and 1 / (1 − rate) where it is kept; None lets torch draw."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Drop units while training: (B, units)."""
        if self.training and self.kept is not None:
            return inputs * self.kept
        return functional.dropout(inputs, self.rate, self.training)


class Network(nn.Module):
    """`layers` hidden layers, each linear → batch normalisation → activation → dropout, then one output."""

    def __init__(self, inputs: int, layers: tuple[int, ...], activation: str, dropout: float, batch_norm: bool) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        width = inputs
        for units in layers:
            parts.append(_linear(width, units))
            if batch_norm:
                parts.append(nn.BatchNorm1d(units))
            parts.append(_ACTIVATIONS[activation]())
            if dropout > 0:
                parts.append(Dropout(dropout))
            width = units
        parts.append(_linear(width, 1))
        self.stack = nn.Sequential(*parts)

    @property
    def first(self) -> nn.Linear:
        """The first layer, from the inputs on; the output's where there is no hidden one."""
        first = self.stack[0]
        assert isinstance(first, nn.Linear)
        return first

    @property
    def output(self) -> nn.Linear:
        """The last layer, from the last hidden units to the output."""
        last = self.stack[-1]
        assert isinstance(last, nn.Linear)
        return last

    @property
    def output_bias(self) -> Tensor:
        """The constant added to the output."""
        return self.output.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (B, inputs) to (B,)."""
        output: Tensor = self.stack(inputs)
        return output.squeeze(1)


def _linear(inputs: int, units: int) -> nn.Linear:
    layer = nn.Linear(inputs, units)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


# The network's forward and backward pass by hand, without an autograd graph (docs/training-step.md).


# A product-based network's products with their gradients by hand (docs/training-step.md).


class Products:
    """Inner and outer products of the looked-up fields, laid out as the network reads them."""

    def __init__(self, model: DeepFM) -> None:
        """Multiply what the network of `model`, which has products, reads."""
        fields, switches = len(model.layout.fields), model.spec.switches
        self._shape = fields, model.deep_columns.stop - model.deep_columns.start
        self._inner = fields * (fields - 1) // 2 if switches.inner else 0
        self._outer = switches.outer
        self.count = product_count(model.spec, fields)
        a, b = torch.triu_indices(fields, fields, 1, device=model.table.device)
        self._upper, self._lower = a * fields + b, b * fields + a

    def forward(self, fields: Tensor) -> Tensor:
        """Give the inner products, then the outer ones, of fields (B, F·K): (B, count)."""
        self._e = fields.view(len(fields), *self._shape)  # (B, F, K)
        parts = []
        if self._inner:
            gram = torch.bmm(self._e, self._e.transpose(1, 2))  # (B, F, F)
            parts.append(gram.flatten(1).index_select(1, self._upper))
        if self._outer:
            self._sum = self._e.sum(1)  # (B, K)
            parts.append((self._sum.unsqueeze(2) * self._sum.unsqueeze(1)).flatten(1))
        return torch.cat(parts, 1) if parts else fields.new_zeros(len(fields), 0)

    def backward(self, dp: Tensor, gradient: Tensor) -> None:
        """Add ∂loss/∂fields to (B, F·K) from ∂loss/∂products (B, count)."""
        into = gradient.view(len(gradient), *self._shape)
        if self._inner:
            into += torch.bmm(self._symmetric(dp[:, : self._inner]), self._e)  # dG e with dG = dGᵀ
        if self._outer:
            rows, size = self._sum.shape
            outer = dp[:, self._inner :].view(rows, size, size)
            into += torch.bmm(outer + outer.transpose(1, 2), self._sum.unsqueeze(2)).transpose(1, 2)

    def _symmetric(self, dp: Tensor) -> Tensor:
        """Lay out a number for each pair (B, F(F−1)/2) as a symmetric matrix with zeros on its diagonal: (B, F, F)."""
        fields = self._shape[0]
        matrix = dp.new_zeros(len(dp), fields * fields)
        matrix.index_copy_(1, self._upper, dp)
        matrix.index_copy_(1, self._lower, dp)
        return matrix.view(-1, fields, fields)


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


def add_sum(rows: Tensor, into: Tensor, begun: bool) -> None:
    """Add the sum over rows to a buffer, or write it where nothing has begun to stand there."""
    summed = rows.sum(0)  # of a lower precision too: summed in float32, and rounded like the products beside it
    _ = into.add_(summed) if begun else into.copy_(summed)


class Linear:
    """A linear layer, z = x Wᵀ + b, whose products may be of a lower precision than its weights."""

    def __init__(self, name: str, linear: nn.Linear, gradients: Gradients, dtype: torch.dtype, beside: int = 0) -> None:
        """Train a layer, whose last `beside` inputs come by themselves."""
        weight, gradient = linear.weight.detach(), gradients[f"{name}.weight"]
        self._split = weight.shape[1] - beside
        self.bias, self._bias_gradient = linear.bias.detach(), gradients[f"{name}.bias"]
        self.weight, self._weight_gradient = weight[:, : self._split], gradient[:, : self._split]
        self._beside_weight, self._beside_gradient = weight[:, self._split :], gradient[:, self._split :]
        self.dtype, self._lower = dtype, dtype != weight.dtype
        self._used, self._used_bias = self.weight, self.bias
        self._transposed = self.weight.t()

    def begin(self) -> None:
        """Begin a batch."""
        self._begun = False
        if self._lower:
            self._used, self._used_bias = self.weight.to(self.dtype), self.bias.to(self.dtype)
            self._transposed = self._used.t()

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        """Map (n, inputs), and (n, inputs that come by themselves), to (n, units)."""
        self._x, self._beside = x.to(self.dtype), beside
        z = torch.addmm(self._used_bias, self._x, self._transposed)
        return z if beside is None else z.add_(beside @ self._beside_weight.t())

    def backward(self, dz: Tensor, dx: Tensor | None = None) -> Tensor:
        """Add to the gradients from ∂loss/∂z (n, units) and give ∂loss/∂x (n, inputs), in `dx` where there is one."""
        dz = dz.to(self.dtype)
        if self._lower:
            gradient = dz.t() @ self._x
            _ = self._weight_gradient.add_(gradient) if self._begun else self._weight_gradient.copy_(gradient)
        else:
            self._weight_gradient.addmm_(dz.t(), self._x, beta=float(self._begun))
        add_sum(dz, self._bias_gradient, self._begun)
        if self._beside is not None:
            self._dz = dz.to(self.bias.dtype)
            self._beside_gradient.addmm_(self._dz.t(), self._beside, beta=float(self._begun))
        self._begun = True
        if dx is None:
            return dz @ self._used
        return dx.copy_(dz @ self._used) if self._lower else torch.mm(dz, self._used, out=dx)

    def backward_beside(self, count: int) -> Tensor:
        """Give ∂loss/∂(the first of the inputs that come by themselves) (n, count), after `backward`."""
        return self._dz @ self._beside_weight[:, :count]


class Normalisation:
    """A batch normalisation."""

    def __init__(self, name: str, norm: nn.BatchNorm1d, gradients: Gradients) -> None:
        self._norm = norm
        self.weight, self.bias = norm.weight.detach(), norm.bias.detach()
        self.weight_gradient, self.bias_gradient = gradients[f"{name}.weight"], gradients[f"{name}.bias"]
        self._shared: Pass | None = None

    def begin(self, batch: Pass) -> None:
        """Begin a batch, whose mean and variance are those of all its rows, also where workers share it."""
        self._shared = batch if batch.batch.share is not None else None

    def forward(self, z: Tensor) -> Tensor:
        """Normalise (B, units) by the batch, and move the running mean and variance."""
        norm = self._norm
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked += 1
        if self._shared is not None:
            return self._forward_shared(z, self._shared)
        self.z = z
        y: Tensor
        y, self.mean, self.inverse_deviation = aten.native_batch_norm(
            z, self.weight, self.bias, norm.running_mean, norm.running_var, True, norm.momentum, norm.eps
        )
        return y

    def backward(self, dy: Tensor) -> Tensor:
        """Fill the gradients from ∂loss/∂output and give ∂loss/∂input (B, units)."""
        if self._shared is not None:
            return self._backward_shared(dy, self._shared)
        dz: Tensor
        mean, inverse = self.mean, self.inverse_deviation
        dz, weight, bias = aten.native_batch_norm_backward(
            dy, self.z, self.weight, None, None, mean, inverse, True, self._norm.eps, [True, True, True]
        )
        self.weight_gradient.copy_(weight)
        self.bias_gradient.copy_(bias)
        return dz

    def _forward_shared(self, z: Tensor, batch: Pass) -> Tensor:
        """Normalise the rows that are here by the mean and variance of all."""
        norm, share, dtype, z = self._norm, batch.batch.share, z.dtype, z.to(self.weight.dtype)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert share is not None
        mean = batch.total(z.sum(0)) / batch.counted
        centred = z - mean
        variance = batch.total(centred.square().sum(0)) / batch.counted
        self.inverse_deviation = (variance + norm.eps).rsqrt()
        self.z = centred.mul_(self.inverse_deviation)
        momentum = 0.1 if norm.momentum is None else norm.momentum
        norm.running_mean.lerp_(mean, momentum)
        norm.running_var.lerp_(variance * (share.rows / max(share.rows - 1, 1)), momentum)
        return torch.addcmul(self.bias, self.z, self.weight).to(dtype)

    def _backward_shared(self, dy: Tensor, batch: Pass) -> Tensor:
        """Go back through the mean and variance of all rows: dz = γ/σ (dy − mean dy − ẑ mean (ẑ dy))."""
        dtype, dy = dy.dtype, dy.to(self.weight.dtype)
        self.weight_gradient.copy_((dy * self.z).sum(0))  # of the rows here: the step adds up what workers found
        self.bias_gradient.copy_(dy.sum(0))
        through = batch.total(torch.stack([self.bias_gradient, self.weight_gradient])) / batch.counted
        dz = (dy - through[0]).addcmul_(self.z, through[1], value=-1).mul_(self.weight * self.inverse_deviation)
        return dz.to(dtype)


class Hidden:
    """What follows a hidden layer's linear part: batch normalisation → activation → dropout."""

    def __init__(self, norm: Normalisation | None, activation: str) -> None:
        self._norm = norm
        self._activate, self._differentiate = _FORWARD[activation], _BACKWARD[activation]

    def begin(self, batch: Pass) -> None:
        """Begin a batch."""
        if self._norm is not None:
            self._norm.begin(batch)

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
        self._product_count = self._products.count if self._products is not None else 0
        self._has_beside = bool(model.layout.dense) or self._products is not None
        self._linears: list[Linear] = []
        norms: dict[int, Normalisation] = {}
        for number, module in enumerate(model.network.stack):
            name = f"network.stack.{number}"
            if isinstance(module, nn.Linear):
                beside = 0 if self._linears else self._product_count + len(model.layout.dense)
                output = module is model.network.output
                self._linears.append(Linear(name, module, gradients, own if output else dtype, beside))
            elif isinstance(module, nn.BatchNorm1d):
                norms[len(self._linears)] = Normalisation(name, module, gradients)
        activation = model.spec.activation
        self._hidden = [Hidden(norms.get(number), activation) for number in range(1, len(self._linears))]
        self.whole = bool(norms)
        """Whether a batch must come in one piece."""

    def begin(self, batch: Pass) -> None:
        """Begin a batch."""
        for linear in self._linears:
            linear.begin()
        for hidden in self._hidden:
            hidden.begin(batch)

    def forward(self, e: Tensor, dense: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """Give the network's output (n,) from what it reads of the fields (n, F·width) and the dense fields (n, D)."""
        beside = self._beside(e, dense) if self._has_beside else None
        x = e
        for linear, hidden, mask in zip_longest(self._linears[:-1], self._hidden, kept):
            x, beside = hidden.forward(linear.forward(x, beside), mask), None
        return self._linears[-1].forward(x, beside).squeeze(1)

    def backward(self, delta: Tensor, gradient: Tensor, filled: bool = False) -> None:
        """Add to the gradients from ∂loss/∂output (n,), and write or add ∂loss/∂e to (n, F·width)."""
        dz = delta.unsqueeze(1)
        for linear, hidden in zip(reversed(self._linears[1:]), reversed(self._hidden), strict=True):
            dz = hidden.backward(linear.backward(dz).to(self._linears[0].dtype))
        first = self._linears[0]
        if filled:
            gradient.add_(first.backward(dz))
        else:
            first.backward(dz, gradient)
        if self._products is not None:
            self._products.backward(first.backward_beside(self._product_count), gradient)

    def _beside(self, e: Tensor, dense: Tensor) -> Tensor:
        return dense if self._products is None else torch.cat([self._products.forward(e), dense], 1)


# The random masks of dropout, from a stream of their own.

_LEVELS = 1 << 16
_ALL = slice(None)


class DropoutMasks:
    """Draws the masks of a network's dropout layers, the same ones for the same seed on every device.

    A unit is kept where 16 random bits fall below (1 − rate) · 2¹⁶, so the rate is met to 2⁻¹⁷. That takes a
    thirtieth of the time of torch's own `bernoulli_`, which would cost more than all the rest of a small step.
    """

    def __init__(self, widths: Sequence[int], rate: float, device: torch.device) -> None:
        self._widths = tuple(widths) if rate > 0 else ()
        self._device = device
        kept = max(round((1.0 - rate) * _LEVELS), 1)
        self._highest = kept - 1 - _LEVELS // 2
        self._scale = 1.0 / (1.0 - rate)
        self._bits = np.random.SFC64(0)

    def seed(self, *numbers: int) -> None:
        """Begin a new stream that depends on `numbers` alone."""
        self._bits = np.random.SFC64(numbers)

    def draw(self, rows: int, part: slice = _ALL) -> list[Tensor]:
        """Draw B rows' masks: for each hidden layer (B, units) of 0 and 1 / (1 − rate); none without dropout.

        Of these, the masks of a `part` of the rows are given. Each row has the same, whatever the part.
        """
        if not self._widths:
            return []
        words = -(-rows * sum(self._widths) // 4)
        bits = torch.from_numpy(self._bits.random_raw(words).view(np.int16)).to(self._device)
        masks, start = [], 0
        for width in self._widths:
            drawn = bits[start : start + rows * width].view(rows, width)[part]
            mask = torch.empty(drawn.shape, device=self._device)
            masks.append(torch.le(drawn, self._highest, out=mask).mul_(self._scale))
            start += rows * width
        return masks


# What a network reads beside the embeddings: products of them (Qu et al. 2016, arXiv 1611.00144).


def inner_products(fields: Tensor) -> Tensor:
    """Give ⟨e_f, e_g⟩ of all pairs f < g: (B, F, K) to (B, F(F−1)/2), in the order (0, 1), (0, 2) …."""
    a, b = torch.triu_indices(fields.shape[1], fields.shape[1], 1, device=fields.device)
    return torch.bmm(fields, fields.transpose(1, 2))[:, a, b]


def outer_product(fields: Tensor) -> Tensor:
    """Give s sᵀ with s = Σ e_f, the sum over all pairs of fields of their outer products: (B, F, K) to (B, K·K)."""
    total = fields.sum(1)  # (B, K)
    return (total.unsqueeze(2) * total.unsqueeze(1)).flatten(1)


def products(spec: ModelSpec, fields: Tensor) -> list[Tensor]:
    """Give what the model's network reads beside the embeddings (B, F, K): inner, then outer products."""
    inner = [inner_products(fields)] if spec.switches.inner else []
    return [*inner, outer_product(fields)] if spec.switches.outer else inner
