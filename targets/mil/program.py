"""Runs an ML program operation by operation with torch.

Every result is held to the shape and type that the program declares for it. This says what the
program and its weights compute; it says nothing of Apple's kernels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from exporter.errors import ArtifactError, DataError, UnsupportedError
from exporter.target import Arithmetic
from exporter.threads import one_thread
from targets.mil import features
from targets.mil.package import Package, read_package
from targets.mil.rules import RULES
from targets.mil.rules.quantization import quantize_reciprocal
from targets.mil.steps import (
    FOLDED,
    Reader,
    Result,
    Step,
    Value,
    check_memory,
    declared_result,
    last_uses,
    torch_type,
)

__all__ = ["Arithmetic", "Program", "Trace", "open_program"]

Trace = Callable[[str, Value], None]
FAILURES = (RuntimeError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


class Program:
    """A package, ready to run; call it with the model's inputs by name.

    It runs on one thread, so that sums are the same on every machine.
    `reciprocal` lets `quantize` multiply by 1 / scale, as torch and XNNPACK do, where MIL's
    definition divides; ties fall differently. Raises UnsupportedError for operations without a
    rule, ArtifactError for a program that contradicts itself.
    """

    def __init__(
        self,
        package: Package,
        arithmetic: Arithmetic = Arithmetic.DECLARED,
        *,
        compute: torch.dtype = torch.float32,
        reciprocal: bool = False,
    ) -> None:
        self.package = package
        self.arithmetic = arithmetic
        self.compute = compute
        self.inputs = {f.name: f for f in package.description.input}
        self.outputs = {f.name: f for f in package.description.output}
        integer = arithmetic is Arithmetic.INTEGER
        rules = {**RULES, "quantize": quantize_reciprocal} if reciprocal or integer else RULES
        self._reader = Reader(package=package, rules=rules, compute=compute, execute=self._run)
        with torch.inference_mode(), _blaming(package.path):
            self._check_interface()
            self._reader.check()
            self.constants = self._reader.constants()
            steps = tuple(self._reader.steps())
            if integer:
                from targets.mil.integers import with_integers

                steps = with_integers(steps, self.constants, package.block.outputs)
            check_memory(steps, last_uses(steps, package.block.outputs))
            self.steps = self._folded(steps)
        self._last_uses = last_uses(self.steps, package.block.outputs)

    def __call__(self, **inputs: Any) -> dict[str, Any]:
        """The model's outputs by name: arrays, images, a label, label probabilities."""
        return self.run(inputs)

    def run(self, inputs: Mapping[str, Any], trace: Trace | None = None) -> dict[str, Any]:
        """`__call__`, showing every value to `trace`; raises DataError for inputs that misfit."""
        with one_thread(), torch.inference_mode(), _blaming(self.package.path):
            values = self.constants | self._fed(inputs)
            for index, step in enumerate(self.steps):
                for name, value in zip(step.outputs, self._run(step, values), strict=True):
                    values[name] = value
                    if trace is not None:
                        trace(name, value)
                for name in self._last_uses.get(index, ()):
                    del values[name]
            return {name: self._given(name, values[name]) for name in self.package.block.outputs}

    def _check_interface(self) -> None:
        """The function's inputs and outputs must be those that the model describes."""
        declared = {value.name for value in self.package.function.inputs}
        if declared != set(self.inputs) or not set(self.outputs) <= set(self.package.block.outputs):
            raise ArtifactError("the model describes other inputs or outputs than its program has")
        if len(self.package.description.state):
            raise UnsupportedError("has state, which nothing here keeps")

    def _folded(self, steps: Sequence[Step]) -> tuple[Step, ...]:
        """The steps that depend on the inputs; the results of the others become constants."""
        for step in steps:
            if step.kind.startswith(FOLDED):
                results = self._run(step, self.constants)
                self.constants.update(zip(step.outputs, results, strict=True))
        return tuple(step for step in steps if not step.kind.startswith(FOLDED))

    def _fed(self, inputs: Mapping[str, Any]) -> dict[str, Value]:
        if set(inputs) != set(self.inputs):
            takes, got = (", ".join(map(repr, names)) for names in (self.inputs, inputs))
            raise DataError(f"the model takes {takes}, not {got or 'nothing'}")
        values: dict[str, Value] = {}
        for declared in map(declared_result, self.package.function.inputs):
            array = features.fed(self.inputs[declared.name], inputs[declared.name])
            value = self._reader.widened(array)
            values[declared.name] = self._conforming("input", declared, value)
        return values

    def _run(self, step: Step, values: Mapping[str, Value]) -> list[Value]:
        arguments = dict(step.constants)
        for name, read in step.reads.items():
            held = [values[key] for key in read]
            arguments[name] = held[0] if len(held) == 1 else held
        try:
            results = step.run(**arguments)
        except FAILURES as error:
            why = " ".join(str(error).split())
            raise ArtifactError(f"{step.kind} {step.outputs[0]!r}: {why}") from error
        results = results if isinstance(results, tuple) else (results,)
        if len(results) != len(step.results):
            raise ArtifactError(
                f"{step.kind} {step.outputs[0]!r}: the program declares {len(step.results)} "
                f"results, there are {len(results)}"
            )
        conforming = zip(step.results, results, strict=True)
        return [self._conforming(step.kind, result, value) for result, value in conforming]

    def _conforming(self, kind: str, declared: Result, value: Value) -> Value:
        """`value` as the program declares it; raises ArtifactError where it cannot be that."""
        if isinstance(value, str | dict | list):
            return value
        if declared.data_type is None:
            raise ArtifactError(f"{kind} {declared.name!r}: numbers, not declared to be such")
        tensor = torch.as_tensor(value)
        if declared.shape is not None and not _fits(tensor.shape, declared.shape):
            raise ArtifactError(
                f"{kind} {declared.name!r}: computes a shape of {list(tensor.shape)}, "
                f"the program declares {list(declared.shape)}"
            )
        dtype = torch_type(declared.data_type)
        if not dtype.is_floating_point:
            return tensor.to(dtype)
        if dtype is torch.float16 and self.arithmetic is Arithmetic.DECLARED:
            tensor = tensor.to(torch.float16)
        return tensor.to(self.compute)

    def _given(self, name: str, value: Value) -> Any:
        plain = value.numpy() if torch.is_tensor(value) else value
        if name not in self.outputs:
            return plain
        try:
            return features.given(self.outputs[name], plain)
        except FAILURES as error:
            raise ArtifactError(f"output {name!r} is not what the model describes") from error


def open_program(path: Path | str, arithmetic: Arithmetic = Arithmetic.DECLARED) -> Program:
    """Read a package from disk and make it ready to run."""
    return Program(read_package(Path(path)), arithmetic)


def _fits(shape: Sequence[int], declared: Sequence[int | None]) -> bool:
    return len(shape) == len(declared) and all(
        want in (None, got) for got, want in zip(shape, declared, strict=True)
    )


@contextlib.contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Put the package's path before the message of an error inside."""
    try:
        yield
    except (ArtifactError, UnsupportedError) as error:
        if error.message.startswith(str(path)):
            raise
        raise type(error)(f"{path}: {error.message}", error.hint) from error
