"""An ML program's operations, read into steps that are ready to run.

Here everything is checked that can be without an image: that every operation has a rule, has the
inputs that its rule needs, and declares tensors that fit in memory.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from coremltools.proto import MIL_pb2

from exporter.errors import ArtifactError, UnsupportedError
from targets.mil.loops import LOOP_VARS, WHILE_LOOP, Block, Execute, make_loop
from targets.mil.package import CONSTANT, Package
from targets.mil.rules import Rule
from targets.mil.rules.limits import bounded
from targets.mil.values import element_type

Value = Any  # a tensor, a Python number or string, or a list or dictionary of these
LARGEST_MEMORY = 1 << 28  # numbers, of 4 bytes mostly, at one time
FOLDED = "constexpr_"  # prefix of operations on constants alone
WIDENED = {np.uint16: np.int32, np.uint32: np.int64, np.uint64: np.int64}  # torch's lack arithmetic


@dataclass(frozen=True, kw_only=True)
class Result:
    """What the program declares a value to be; no type or shape where it is not an array."""

    name: str
    data_type: int | None
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One operation: constants already decoded, other inputs by the names of their values."""

    kind: str
    run: Rule
    constants: Mapping[str, Value]
    reads: Mapping[str, tuple[str, ...]]
    results: tuple[Result, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of all values that it reads."""
        return tuple(name for names in self.reads.values() for name in names)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of all values that it writes."""
        return tuple(result.name for result in self.results)


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Turns operations into steps; real constants take the type `compute`."""

    package: Package
    rules: Mapping[str, Rule]
    compute: torch.dtype
    execute: Execute  # runs a step inside a loop

    def check(self) -> None:
        """Raise UnsupportedError for operations without a rule, control flow in loops among them.

        A loop at the top is the only operation that may have blocks.
        """
        missing: set[str] = set()
        for operation in self.package.operations:
            loop = operation.type == WHILE_LOOP
            inner = [op for block in operation.blocks for op in block.operations] if loop else []
            if not loop or not len(operation.outputs):
                inner.append(operation)
            missing.update(op.type for op in inner if not self._is_known(op))
        if missing:
            raise UnsupportedError(
                f"ML program operations without a rule: {', '.join(sorted(missing))}"
            )

    def _is_known(self, operation: Any) -> bool:
        known = operation.type == CONSTANT or operation.type in self.rules
        return known and not len(operation.blocks) and len(operation.outputs) > 0

    def constants(self) -> dict[str, Value]:
        """Values of the program's constants by name."""
        return self._constants(self.package.operations)

    def _constants(self, operations: Iterable[Any]) -> dict[str, Value]:
        held: dict[str, Value] = {}
        total = 0
        for operation in operations:
            if operation.type == CONSTANT:
                total += elements(declared_result(operation.outputs[0]))
                if total > LARGEST_MEMORY:
                    raise UnsupportedError(f"has more than {LARGEST_MEMORY} numbers of constants")
                value = self._decoded(operation.attributes["val"])
                held[operation.outputs[0].name] = self.widened(value)
        return held

    def steps(self) -> Iterator[Step]:
        """All other operations in order."""
        return self._steps(self.package.operations)

    def _steps(self, operations: Iterable[Any]) -> Iterator[Step]:
        for operation in operations:
            if operation.type == WHILE_LOOP:
                yield self._loop(operation)
            elif operation.type != CONSTANT:
                yield self._step(operation)

    def _loop(self, operation: Any) -> Step:
        """A step that reads its first values, and all that its blocks take from outside."""
        loop = make_loop([self._block(block) for block in operation.blocks], self.execute)
        bound = operation.inputs[LOOP_VARS].arguments if LOOP_VARS in operation.inputs else ()
        first = tuple(binding.name for binding in bound)
        if LOOP_VARS in loop.reads or not all(first):
            raise UnsupportedError(f"a {WHILE_LOOP} with values that are not told apart")
        return Step(
            kind=WHILE_LOOP,
            run=loop,
            constants={},
            reads={LOOP_VARS: first, **{name: (name,) for name in sorted(loop.reads)}},
            results=tuple(map(declared_result, operation.outputs)),
        )

    def _block(self, block: Any) -> Block:
        steps = tuple(self._steps(block.operations))
        check_memory(steps, {})
        return Block(
            inputs=tuple(value.name for value in block.inputs),
            constants=self._constants(block.operations),
            steps=steps,
            outputs=tuple(block.outputs),
        )

    def widened(self, value: Value) -> Value:
        """Arrays as tensors, real ones in the type that is computed in."""
        if isinstance(value, list):
            return [self.widened(v) for v in value]
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(value.astype(WIDENED.get(value.dtype.type, value.dtype.type)))
        if torch.is_tensor(value) and value.is_floating_point():
            return value.to(self.compute)
        return value

    def _step(self, operation: Any) -> Step:
        held = {k: self._decoded(v) for k, v in operation.attributes.items() if k != "name"}
        reads: dict[str, tuple[str, ...]] = {}
        for name, argument in operation.inputs.items():
            bound = argument.arguments
            named = [b.name for b in bound if b.WhichOneof("binding") == "name"]
            values = [self._decoded(b.value) for b in bound if b.WhichOneof("binding") == "value"]
            if named and values:
                raise UnsupportedError(f"a {operation.type} mixes names and constants in {name!r}")
            if named:
                reads[name] = tuple(named)
            else:
                held[name] = values[0] if len(values) == 1 else values
        step = Step(
            kind=operation.type,
            run=self.rules[operation.type],
            constants={name: self.widened(value) for name, value in held.items()},
            reads=reads,
            results=tuple(map(declared_result, operation.outputs)),
        )
        _check_arguments(step)
        return step

    def _decoded(self, value: Any) -> Value:
        kind, held = value.type.WhichOneof("type"), value.immediateValue
        if kind == "listType":
            return [self._decoded(v) for v in held.list.values]
        if kind == "tupleType":
            return tuple(self._decoded(v) for v in held.tuple.values)
        if kind == "dictionaryType":
            pairs = held.dictionary.values
            return {self._decoded(p.key): self._decoded(p.value) for p in pairs}
        if kind != "tensorType":
            raise UnsupportedError(f"a constant that is a {kind}")
        if value.type.tensorType.dataType == MIL_pb2.STRING:
            strings = list(held.tensor.strings.values)
            return strings if len(value.type.tensorType.dimensions) else "".join(strings[:1])
        array = self.package.decode(value)
        return array if array.ndim else array.item()


def declared_result(value: Any) -> Result:
    """The type of a named value of a program; raises UnsupportedError if it fits no memory."""
    tensor = value.type.tensorType
    if value.type.WhichOneof("type") != "tensorType" or tensor.dataType == MIL_pb2.STRING:
        return Result(name=value.name, data_type=None, shape=None)
    element_type(tensor.dataType)
    if any(d.unknown.variadic for d in tensor.dimensions):
        return Result(name=value.name, data_type=tensor.dataType, shape=None)
    shape = tuple(
        int(d.constant.size) if d.WhichOneof("dimension") == "constant" else None
        for d in tensor.dimensions
    )
    bounded([size for size in shape if size is not None])
    return Result(name=value.name, data_type=tensor.dataType, shape=shape)


def torch_type(data_type: int) -> torch.dtype:
    """The torch type that values of a MIL data type are kept in."""
    dtype = element_type(data_type).dtype
    return torch.from_numpy(np.zeros(0, WIDENED.get(dtype, dtype))).dtype


def last_uses(steps: Sequence[Step], outputs: Sequence[str]) -> dict[int, tuple[str, ...]]:
    """Which computed values each step is the last to read; memory is bounded by what is live."""
    last = {name: index for index, step in enumerate(steps) for name in step.outputs}
    for index, step in enumerate(steps):
        last.update((name, index) for name in step.inputs if name in last)
    uses: dict[int, list[str]] = {}
    for name, index in last.items():
        if name not in outputs:
            uses.setdefault(index, []).append(name)
    return {index: tuple(names) for index, names in uses.items()}


def check_memory(steps: Sequence[Step], uses: Mapping[int, tuple[str, ...]]) -> None:
    """Raise UnsupportedError for a program that declares more live values than memory may hold."""
    live: dict[str, int] = {}
    for index, step in enumerate(steps):
        live |= {result.name: elements(result) for result in step.results}
        if sum(live.values()) > LARGEST_MEMORY:
            raise UnsupportedError(
                f"needs more than {LARGEST_MEMORY} numbers in memory at {step.outputs[0]!r}"
            )
        for name in uses.get(index, ()):
            del live[name]


def elements(result: Result) -> int:
    """How many numbers it declares; unknown sizes count as one."""
    return math.prod(size or 1 for size in result.shape or ())


def _check_arguments(step: Step) -> None:
    """Whether the rule takes these inputs, and has all that it needs."""
    try:
        inspect.signature(step.run).bind(**dict.fromkeys([*step.constants, *step.reads]))
    except TypeError as error:
        raise ArtifactError(f"{step.kind} {step.results[0].name!r}: {error}") from None
