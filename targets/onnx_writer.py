"""Nodes and constants of an ONNX model while it is being written, and how they are called.

Tensors are called as in the graph. A name with a slash is ours alone: "input/quantized" holds the
codes of "input", "<tensor>/unclamped" what a separate clamp reads.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.errors import UnsupportedError
from exporter.graph import Op, QParams, QuantizedGraph, WeightedOp
from exporter.spec import Precision

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

MICROSOFT = "com.microsoft"  # ONNX Runtime's own operations: QLinearAdd, QGemm, ...
UNSIGNED = 128  # int8 code + 128 = uint8 code
QUANTIZED = "/quantized"
UNCLAMPED = "/unclamped"

Attributes = Mapping[str, Any]  # integers, texts, sequences of integers and the bodies of loops


class Writer:
    """Nodes and constants collected so far; `batch` None is an open first dimension."""

    def __init__(self, graph: QuantizedGraph, precision: Precision, batch: int | None) -> None:
        self.graph = graph
        self.half = precision is Precision.FP16
        self.batch = batch
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._names: set[str] = set()
        self._qparams: dict[QParams, tuple[str, str]] = {}

    def node(
        self,
        kind: str,
        inputs: Sequence[str],
        output: str,
        attributes: Attributes | None = None,
        domain: str = "",
    ) -> str:
        """Append a node that is called what it writes; returns that name."""
        self.split_node(kind, inputs, [output], output, attributes, domain)
        return output

    def split_node(
        self,
        kind: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        name: str,
        attributes: Attributes | None = None,
        domain: str = "",
    ) -> None:
        """Append a node that writes several tensors."""
        from onnx import helper

        made = helper.make_node(kind, inputs, outputs, name, None, domain, **(attributes or {}))
        self.nodes.append(made)

    def inner(self) -> Writer:
        """For the nodes of a loop's body, which read this model's constants."""
        made = copy.copy(self)
        made.nodes = []
        return made

    def constant(self, name: str, values: np.ndarray) -> str:
        """Store values once per name."""
        from onnx import numpy_helper

        if name not in self._names:
            self._names.add(name)
            self.constants.append(numpy_helper.from_array(values, name))
        return name

    def holds_codes(self, tensor: str) -> bool:
        """Whether a tensor is quantized; what follows a Dequantize is not."""
        return self.graph.tensors[tensor].qparams is not None

    def qparams(self, tensor: str) -> list[str]:
        """[scale, zero point] of a tensor; tensors with equal parameters share them."""
        q = self.graph.qparams(tensor)
        if q not in self._qparams:
            self._qparams[q] = (
                self.constant(f"{tensor}/scale", np.array(q.scale, np.float32)),
                self.constant(f"{tensor}/zero_point", unsigned(q.zero_point)),
            )
        return list(self._qparams[q])

    def codes(self, tensor: str) -> str:
        """Where the codes of a tensor are; "input" itself is the float image."""
        return tensor + QUANTIZED if tensor == self.graph.input.name else tensor

    def sources(self, op: Op) -> list[str]:
        """What an operation reads, codes where there are any."""
        return [self.codes(name) if self.holds_codes(name) else name for name in op.inputs]

    def float_weight(self, op: WeightedOp) -> str:
        """A float weight, stored as float16 and widened if this is an fp16 model."""
        name, values = f"{op.output}/weight", op.weight.values
        if not self.half:
            return self.constant(name, values)
        from onnx import TensorProto

        with np.errstate(over="ignore"):
            narrow = values.astype(np.float16)
        if not np.isfinite(narrow).all():
            raise UnsupportedError(
                f"{op.output}: a weight of {np.abs(values).max():.3g} exceeds float16's 65504",
                "export fp32 or int8",
            )
        stored = self.constant(f"{name}/float16", narrow)
        return self.node("Cast", [stored], name, {"to": int(TensorProto.FLOAT)})


class Scope:
    """The inside of one operation that takes many nodes: all stand behind its name."""

    def __init__(self, writer: Writer, name: str) -> None:
        self.writer = writer
        self.name = name

    def called(self, name: str) -> str:
        """The full name of what is inside."""
        return f"{self.name}/{name}"

    def node(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """A node and what it writes, by the last part of its name."""
        return self.writer.node(kind, inputs, self.called(name), attributes)

    def split_node(
        self, kind: str, inputs: Sequence[str], names: Sequence[str], **attributes: Any
    ) -> list[str]:
        """A node that writes several tensors, called as the first of them."""
        outputs = [self.called(name) for name in names]
        self.writer.split_node(kind, inputs, outputs, outputs[0], attributes)
        return outputs

    def integers(self, name: str, *values: int) -> str:
        """An int64 vector: a shape, axes, where a slice begins."""
        return self.writer.constant(self.called(name), np.array(values, np.int64))

    def real(self, name: str, value: float) -> str:
        """A float32 scalar."""
        return self.writer.constant(self.called(name), np.array(value, np.float32))

    def as_real(self, truth: str, name: str) -> str:
        """0 or 1 in float32: products and sums take no truth values."""
        from onnx import TensorProto

        return self.node("Cast", [truth], name, to=int(TensorProto.FLOAT))


def unsigned(code: int) -> np.ndarray:
    """An int8 code as ONNX Runtime's uint8 one."""
    return np.array(code + UNSIGNED, np.uint8)
