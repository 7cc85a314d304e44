"""A function of a package as a graph: who writes each value, who reads it, of what type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from coremltools.proto import MIL_pb2

from targets.mil.package import Package
from targets.mil.values import TYPES

CONSTANT = "const"
COMPRESSED = "constexpr_"  # how the types of operations on constants begin
# They hand on the numbers that they read, in another arrangement.
VIEWS = {"reshape", "transpose", "expand_dims", "squeeze", "pad", "slice_by_index", "slice_by_size"}

Test = Callable[["Node"], bool]


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One operation; two that look alike are still two."""

    op: Any  # MIL_pb2.Operation
    reads: frozenset[str]  # also what the blocks inside it read

    @property
    def type(self) -> str:
        """The kind of operation."""
        return str(self.op.type)

    @property
    def name(self) -> str:
        """Its first result's, as messages call it."""
        return str(self.op.outputs[0].name) if self.op.outputs else self.type

    @property
    def constant(self) -> bool:
        """Whether all of it is known before the program runs."""
        return self.type == CONSTANT or self.type.startswith(COMPRESSED)

    def outputs(self) -> Iterator[tuple[str, Any]]:
        """Name and MIL type of each result."""
        return ((out.name, out.type) for out in self.op.outputs)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Its first result's."""
        return dimensions(self.op.outputs[0].type) if self.op.outputs else ()

    def gives(self, dtype: str) -> bool:
        """Whether a result is of this element type."""
        return any(type_name(value) == dtype for _, value in self.outputs())


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Operations inside the blocks of a `cond` or `while_loop` are part of that operation."""

    package: Package
    function: Any  # MIL_pb2.Function
    name: str

    @cached_property
    def block(self) -> Any:
        """The operations that the function's operation set selects."""
        return self.function.block_specializations[self.function.opset]

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """In the program's order, so that a value is written before it is read."""
        return tuple(Node(op=op, reads=frozenset(_reads(op))) for op in self.block.operations)

    @cached_property
    def writers(self) -> Mapping[str, Node]:
        """Value name -> the node that writes it; the function's inputs have none."""
        return {name: node for node in self.nodes for name, _ in node.outputs()}

    @cached_property
    def _readers(self) -> Mapping[str, list[Node]]:
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.reads:
                readers.setdefault(name, []).append(node)
        return readers

    def readers(self, value: str) -> list[Node]:
        """Nodes that read a value, without the function's own output."""
        return self._readers.get(value, [])

    def only_readers(self, value: str) -> list[Node]:
        """Its readers, or none where the function gives the value to the app as well."""
        return [] if value in self.block.outputs else self.readers(value)

    def source(self, node: Node, argument: str) -> Node | None:
        """The node that writes an input; None for an input of the function or a bound value."""
        bindings = node.op.inputs[argument].arguments if argument in node.op.inputs else ()
        return self.writers.get(bindings[0].name) if bindings else None

    def constant(self, node: Node, argument: str) -> np.ndarray | None:
        """The numbers that an input or attribute holds; None where they are not constant."""
        value = self._value(node, argument)
        if value is None or type_name(value.type) in ("", "string"):
            return None
        return self.package.decode(value)

    def text(self, node: Node, argument: str, default: str) -> str:
        """A constant string."""
        value = self._value(node, argument)
        strings = value.immediateValue.tensor.strings.values if value is not None else ()
        return str(strings[0]) if strings else default

    def flagged(self, test: Test, *, downstream: bool) -> set[Node]:
        """Nodes that come after one that passes the test, or with False those before one."""
        hit: set[Node] = set()
        for node in self.nodes if downstream else reversed(self.nodes):
            near = self._before(node) if downstream else self._after(node)
            if any(other in hit or test(other) for other in near):
                hit.add(node)
        return hit

    def _before(self, node: Node) -> list[Node]:
        return [self.writers[name] for name in node.reads if name in self.writers]

    def _after(self, node: Node) -> list[Node]:
        return [reader for name, _ in node.outputs() for reader in self.readers(name)]

    def _value(self, node: Node, argument: str) -> Any:
        if argument in node.op.attributes:
            return node.op.attributes[argument]
        bindings = node.op.inputs[argument].arguments if argument in node.op.inputs else ()
        if not bindings:
            return None
        if bindings[0].WhichOneof("binding") == "value":
            return bindings[0].value
        writer = self.writers.get(bindings[0].name)
        if writer is None or writer.type != CONSTANT:
            return None
        return writer.op.attributes.get("val")


def flows(package: Package) -> tuple[Flow, ...]:
    """All functions of a package, in alphabetical order."""
    functions = package.spec.mlProgram.functions
    return tuple(Flow(package=package, function=functions[n], name=n) for n in sorted(functions))


def type_name(value_type: Any) -> str:
    """Element type of a tensor or of the tensor that a state wraps; "" for other types."""
    kind = value_type.WhichOneof("type")
    if kind == "stateType":
        return type_name(value_type.stateType.wrappedType)
    if kind != "tensorType":
        return ""
    data_type = value_type.tensorType.dataType
    if data_type == MIL_pb2.STRING:
        return "string"
    return TYPES[data_type].name if data_type in TYPES else ""


def dimensions(value_type: Any) -> tuple[int | None, ...]:
    """A tensor's shape, None where it is not fixed; () for what is no tensor."""
    if value_type.WhichOneof("type") == "stateType":
        return dimensions(value_type.stateType.wrappedType)
    return tuple(
        int(d.constant.size) if d.WhichOneof("dimension") == "constant" else None
        for d in value_type.tensorType.dimensions
    )


def every_operation(operations: Iterable[Any]) -> Iterator[Any]:
    """Operations and those inside their blocks."""
    for operation in operations:
        yield operation
        for block in operation.blocks:
            yield from every_operation(block.operations)


def _reads(operation: Any) -> Iterator[str]:
    for argument in operation.inputs.values():
        yield from (b.name for b in argument.arguments if b.WhichOneof("binding") == "name")
    for block in operation.blocks:
        yield from block.outputs
        for inner in block.operations:
            yield from _reads(inner)
