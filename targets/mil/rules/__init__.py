"""One function per MIL operation, its parameters being the operation's inputs and their defaults.

Rules know nothing of programs. They are given tensors, real ones wide enough to compute with, and
Python scalars where MIL has rank 0; parameters are the union over all opset versions. Torch's own
errors are left to pass where arguments contradict each other; what would take unbounded memory is
refused (`limits`).
"""

from __future__ import annotations

from collections.abc import Mapping

from targets.mil.rules import (
    activation,
    blocks,
    compression,
    convolution,
    creation,
    detection,
    elementwise,
    indexing,
    linear,
    normalization,
    pooling,
    quantization,
    reduction,
    resize,
    shape,
    slicing,
)
from targets.mil.rules.arguments import Rule

__all__ = ["FAMILIES", "RULES", "Rule"]

FAMILIES: Mapping[str, Mapping[str, Rule]] = {
    "activation": activation.RULES,
    "blocks": blocks.RULES,
    "compression": compression.RULES,
    "convolution": convolution.RULES,
    "creation": creation.RULES,
    "detection": detection.RULES,
    "elementwise": elementwise.RULES,
    "indexing": indexing.RULES,
    "linear": linear.RULES,
    "normalization": normalization.RULES,
    "pooling": pooling.RULES,
    "quantization": quantization.RULES,
    "reduction": reduction.RULES,
    "resize": resize.RULES,
    "shape": shape.RULES,
    "slicing": slicing.RULES,
}
RULES: Mapping[str, Rule] = {
    name: rule for rules in FAMILIES.values() for name, rule in rules.items()
}
