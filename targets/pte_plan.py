"""A method of an ExecuTorch program, instruction by instruction: delegate calls and kernels.

The stock exporter traces, decomposes and plans memory to arrive at such a list; here it is written
down. A tensor has its place in the arena from the instruction that writes it to the last that
reads it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from executorch.exir import schema
from executorch.exir.scalar_type import ScalarType

from exporter.graph import Shape

if TYPE_CHECKING:
    from targets.pte import Delegate

ALIGNMENT = 16
ARENA = 1  # memory 0 is that of constants
SIZES = {
    ScalarType.BYTE: 1,
    ScalarType.CHAR: 1,
    ScalarType.BOOL: 1,
    ScalarType.INT: 4,
    ScalarType.FLOAT: 4,
    ScalarType.LONG: 8,
}
LEAF = '{"type": null, "context": null, "children_spec": []}'
ARGUMENTS = (
    '[1, {"type": "builtins.tuple", "context": "null", "children_spec": [{"type": '
    '"builtins.tuple", "context": "null", "children_spec": [{"type": null, "context": null, '
    '"children_spec": []}]}, {"type": "builtins.dict", "context": "[]", "children_spec": []}]}]'
)


@dataclass(kw_only=True, eq=False)
class Memory:
    """A stretch of the arena and the instructions between which it is taken."""

    size_bytes: int
    first: int
    last: int
    offset: int = 0

    def meets(self, other: Memory) -> bool:
        """Whether both are taken at some time."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, kw_only=True, eq=False)
class Slot:
    """A tensor of a plan; views of one tensor share its memory."""

    index: int  # among the plan's values
    shape: Shape
    kind: ScalarType
    memory: Memory


Argument = Slot | int | float | bool | str | None | list[int] | list[Slot]


class Plan:
    """Grows by one instruction at a time; `finish` gives its record."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.instructions: list[Any] = []
        self.operators: list[Any] = []
        self.delegates: list[Any] = []
        self.loops: list[tuple[int, int]] = []
        self.slack = 0

    def tensor(self, shape: Sequence[int], kind: ScalarType = ScalarType.FLOAT) -> Slot:
        """A new tensor."""
        size = -(-SIZES[kind] * math.prod(shape) // ALIGNMENT) * ALIGNMENT
        now = len(self.instructions)
        return self._slot(tuple(shape), kind, Memory(size_bytes=size, first=now, last=now))

    def view(self, slot: Slot, shape: Sequence[int]) -> Slot:
        """The same memory under another shape."""
        return self._slot(tuple(shape), slot.kind, slot.memory)

    def call(self, name: str, *arguments: Argument, out: Slot | list[Slot]) -> None:
        """A kernel such as "aten::add.out" with all arguments of its schema but the last."""
        base, _, overload = name.partition(".")
        operator = schema.Operator(base, overload)
        if operator not in self.operators:
            self.operators.append(operator)
        outs = out if isinstance(out, list) else [out]
        indices = [self._value(argument) for argument in (*arguments, *outs)]
        indices.append(self._value(out))  # what the kernel returns
        self._append(schema.KernelCall(self.operators.index(operator), indices))

    def delegate(self, delegate: Delegate, arguments: Sequence[Slot]) -> None:
        """A call of the backend whose data is the program's next."""
        index = len(self.delegates)
        data = schema.BackendDelegateDataReference(schema.DataLocation.INLINE, index)
        specs = [schema.CompileSpec(key, value) for key, value in delegate.compile_specs]
        self.delegates.append(schema.BackendDelegate(delegate.backend, data, specs))
        self.slack += delegate.slack
        self._append(schema.DelegateCall(index, [self._value(slot) for slot in arguments]))

    @property
    def next_instruction(self) -> int:
        """Where a repetition may start."""
        return len(self.instructions)

    def repeat_until(self, condition: Slot, start: int) -> None:
        """Go back to instruction `start` unless every element of a bool tensor is true."""
        self.loops.append((start, len(self.instructions)))
        self._append(schema.JumpFalseCall(self._value(condition), start))

    def finish(self, inputs: Sequence[Slot], outputs: Sequence[Slot]) -> Any:
        """The record of the method "forward"."""
        for slot in inputs:
            slot.memory.first = -1
        for slot in outputs:
            slot.memory.last = len(self.instructions)
        arena = self._place()
        return schema.ExecutionPlan(
            name="forward",
            container_meta_type=schema.ContainerMetadata(ARGUMENTS, _results(len(outputs))),
            values=[_evalue(value) for value in self.values],
            inputs=[slot.index for slot in inputs],
            outputs=[slot.index for slot in outputs],
            chains=[schema.Chain([], [], self.instructions, None)],
            operators=self.operators,
            delegates=self.delegates,
            non_const_buffer_sizes=[0, arena + self.slack],
        )

    def _slot(self, shape: Shape, kind: ScalarType, memory: Memory) -> Slot:
        slot = Slot(index=len(self.values), shape=shape, kind=kind, memory=memory)
        self.values.append(slot)
        return slot

    def _append(self, record: Any) -> None:
        self.instructions.append(schema.Instruction(record))

    def _value(self, argument: Argument) -> int:
        """The index of an argument; using a tensor keeps its memory."""
        if isinstance(argument, Slot):
            argument.memory.last = len(self.instructions)
            return argument.index
        if isinstance(argument, list):
            items = [self._value(item) for item in argument]
            tensors = isinstance(argument[0], Slot)
            self.values.append(schema.TensorList(items) if tensors else schema.IntList(items))
        else:
            self.values.append(_primitive(argument))
        return len(self.values) - 1

    def _place(self) -> int:
        """Give every tensor the lowest place that is free as long as it lives; the arena's size."""
        placed: list[Memory] = []
        for memory in dict.fromkeys(v.memory for v in self.values if isinstance(v, Slot)):
            for start, end in self.loops:  # what a repetition reads again
                if memory.first < start <= memory.last:
                    memory.last = max(memory.last, end)
            taken = sorted((m for m in placed if m.meets(memory)), key=lambda m: m.offset)
            memory.offset = 0
            for other in taken:
                if memory.offset + memory.size_bytes > other.offset:
                    memory.offset = max(memory.offset, other.offset + other.size_bytes)
            placed.append(memory)
        return max(memory.offset + memory.size_bytes for memory in placed)


def convert(plan: Plan, slot: Slot, kind: ScalarType) -> Slot:
    """The same numbers in another type."""
    out = plan.tensor(slot.shape, kind)
    plan.call("dim_order_ops::_to_dim_order_copy.out", slot, False, None, out=out)
    return out


def constant_method(name: str, values: Sequence[str]) -> Any:
    """The record of a method that takes nothing and returns texts."""
    return schema.ExecutionPlan(
        name=name,
        container_meta_type=schema.ContainerMetadata("", _results(len(values))),
        values=[schema.EValue(schema.String(value)) for value in values],
        inputs=[],
        outputs=list(range(len(values))),
        chains=[schema.Chain([], [], [], None)],
        operators=[],
        delegates=[],
        non_const_buffer_sizes=[0],
    )


def _results(count: int) -> str:
    """How torch names one result, or a tuple of them."""
    leaves = ", ".join([LEAF] * count)
    several = f'{{"type": "builtins.tuple", "context": "null", "children_spec": [{leaves}]}}'
    return f"[1, {LEAF if count == 1 else several}]"


def _evalue(value: Any) -> Any:
    """What the plan's list of values holds for a tensor or a record."""
    if not isinstance(value, Slot):
        return schema.EValue(value)
    return schema.EValue(
        schema.Tensor(
            value.kind,
            0,
            list(value.shape),
            list(range(len(value.shape))),
            False,
            0,
            0,
            schema.AllocationDetails(ARENA, value.memory.offset, 0),
            schema.TensorShapeDynamism.STATIC,
        )
    )


def _primitive(value: float | bool | str | None) -> Any:
    """The record of a scalar argument."""
    if value is None:
        return schema.Null()
    if isinstance(value, bool):
        return schema.Bool(value)
    if isinstance(value, int):
        return schema.Int(value)
    return schema.String(value) if isinstance(value, str) else schema.Double(value)
