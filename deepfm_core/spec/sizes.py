"""How many numbers a network reads, and a cross network learns; told from a spec, without torch."""

from __future__ import annotations

from deepfm_core.spec.run import ModelSpec


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
