"""`while_loop`: the one operation with blocks that is evaluated.

A block reads what was computed before the loop as well as its own inputs, which start as
`loop_vars` and then are what the body gave. A program is untrusted, so rounds are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.errors import ArtifactError, UnsupportedError

WHILE_LOOP = "while_loop"
LOOP_VARS = "loop_vars"
MOST_ROUNDS = 1 << 14

Value = Any
Execute = Callable[[Any, Mapping[str, Value]], list[Value]]  # a step, all values -> its results


@dataclass(frozen=True, kw_only=True)
class Block:
    """Operations that are run again and again."""

    inputs: tuple[str, ...]
    constants: Mapping[str, Value]
    steps: Sequence[Any]
    outputs: tuple[str, ...]

    @property
    def reads(self) -> set[str]:
        """Names of what it takes from outside."""
        written = {*self.inputs, *self.constants, *(n for s in self.steps for n in s.outputs)}
        read = {name for step in self.steps for name in step.inputs} | set(self.outputs)
        return read - written

    def run(
        self, arguments: Sequence[Value], outside: Mapping[str, Value], execute: Execute
    ) -> list[Value]:
        """Its outputs."""
        given = dict(zip(self.inputs, arguments, strict=True))
        values = {**outside, **self.constants, **given}
        for step in self.steps:
            values.update(zip(step.outputs, execute(step, values), strict=True))
        return [values[name] for name in self.outputs]


@dataclass(frozen=True, kw_only=True)
class Loop:
    """A condition and a body of the same inputs."""

    condition: Block
    body: Block
    execute: Execute

    @property
    def reads(self) -> set[str]:
        """Names of what either takes from outside."""
        return self.condition.reads | self.body.reads

    def __call__(self, **values: Value) -> tuple[Value, ...]:
        """`loop_vars`, and what is outside by its names -> the last values of the loop's own."""
        held = values.pop(LOOP_VARS)
        held = held if isinstance(held, list) else [held]
        for _ in range(MOST_ROUNDS):
            (goes_on,) = self.condition.run(held, values, self.execute)
            if not bool(goes_on):
                return tuple(held)
            held = self.body.run(held, values, self.execute)
        raise UnsupportedError(f"a loop goes on for more than {MOST_ROUNDS} rounds")


def make_loop(blocks: Sequence[Block], execute: Execute) -> Loop:
    """Raises ArtifactError for blocks that are no condition and body of one loop."""
    if len(blocks) != 2:
        raise ArtifactError(f"damaged program, a {WHILE_LOOP} has {len(blocks)} blocks, not 2")
    condition, body = blocks
    count = len(condition.inputs)
    if len(condition.outputs) != 1 or not count == len(body.inputs) == len(body.outputs):
        raise ArtifactError(f"damaged program, the blocks of a {WHILE_LOOP} do not fit")
    return Loop(condition=condition, body=body, execute=execute)
