"""Arithmetic, comparison and type conversion, one element at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from exporter.errors import UnsupportedError
from targets.mil.rules.arguments import (
    Rule,
    Unary,
    Value,
    by_name,
    number,
    tensor,
    tensors,
    unary,
)
from targets.mil.rules.limits import broadcast

Binary = Callable[[Tensor, Tensor], Tensor]

# What `cast` makes of a name. MIL's two float types are one here: the interpreter rounds a result
# to the type that the program declares. Wider types stand in for the ones that torch computes
# little with.
CAST_TYPES: Mapping[str, torch.dtype] = {
    "bool": torch.bool,
    "fp16": torch.float32,
    "fp32": torch.float32,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "uint8": torch.uint8,
    "uint16": torch.int32,
}


def _binary(function: Binary) -> Rule:
    def rule(x: Value, y: Value) -> Tensor:
        a, b = tensors(x, y)
        broadcast(a.shape, b.shape)
        return function(a, b)

    return rule


def _real_div(x: Tensor, y: Tensor) -> Tensor:
    """MIL types the quotient of integers an integer."""
    rounding = None if x.is_floating_point() or y.is_floating_point() else "floor"
    return torch.div(x, y, rounding_mode=rounding)


def cast(x: Value, dtype: str) -> Tensor:
    """Floats stay as they are between fp16 and fp32: rounding belongs to the declared type."""
    if dtype not in CAST_TYPES:
        raise UnsupportedError(f"cast to {dtype!r} is not evaluated")
    value, kind = tensor(x), CAST_TYPES[dtype]
    return value if kind.is_floating_point and value.is_floating_point() else value.to(kind)


def clip(x: Value, alpha: Value, beta: Value) -> Tensor:
    """Both ends are required, unlike torch's."""
    return torch.clamp(tensor(x), number(alpha), number(beta))


def threshold(x: Value, alpha: Value) -> Tensor:
    """A lower bound, not torch's operation of that name."""
    return torch.clamp(tensor(x), min=number(alpha))


def inverse(x: Value, epsilon: Value = 1e-4) -> Tensor:
    """MIL moves the divisor away from zero by default."""
    return torch.reciprocal(tensor(x) + number(epsilon))


def log(x: Value, epsilon: Value = 1e-45) -> Tensor:
    """The natural logarithm, finite at zero by default."""
    return torch.log(tensor(x) + number(epsilon))


def rsqrt(x: Value, epsilon: Value = 1e-12) -> Tensor:
    """Finite at zero by default."""
    return torch.rsqrt(tensor(x) + number(epsilon))


def select(cond: Value, a: Value, b: Value) -> Tensor:
    """Where `cond` is not zero the element of `a`; all three broadcast."""
    chosen, (first, second) = tensor(cond).bool(), tensors(a, b)
    broadcast(chosen.shape, first.shape, second.shape)
    return torch.where(chosen, first, second)


UNARY: Mapping[str, Unary] = {
    "abs": torch.abs,
    "acos": torch.acos,
    "asin": torch.asin,
    "atan": torch.atan,
    "atanh": torch.atanh,
    "ceil": torch.ceil,
    "cos": torch.cos,
    "cosh": torch.cosh,
    "erf": torch.erf,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "floor": torch.floor,
    "identity": lambda x: x,
    "logical_not": torch.logical_not,
    "round": torch.round,  # ties to even, as MIL's
    "sign": torch.sign,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tan": torch.tan,
    "tanh": torch.tanh,
}
BINARY: Mapping[str, Binary] = {
    "add": torch.add,
    "equal": torch.eq,
    "floor_div": torch.floor_divide,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "mod": torch.remainder,  # of the divisor's sign
    "mul": torch.mul,
    "not_equal": torch.ne,
    "pow": torch.pow,
    "real_div": _real_div,
    "sub": torch.sub,
}
RULES: Mapping[str, Rule] = {
    **unary(UNARY),
    **{name: _binary(function) for name, function in BINARY.items()},
    **by_name(cast, clip, inverse, log, rsqrt, select, threshold),
}
