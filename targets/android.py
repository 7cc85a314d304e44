"""Android (and any ExecuTorch host): a `.pte` that is one XNNPACK delegate."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.errors import ArtifactError, UnsupportedError
from exporter.files import write_atomic
from exporter.graph import QuantizedGraph
from exporter.spec import Precision
from exporter.target import (
    Contents,
    ExportOptions,
    LayerInfo,
    Lowering,
    Runner,
    TensorInfo,
    one_result,
    require,
)
from exporter.timing import TimedSession
from targets.executorch_sdk import quiet

if TYPE_CHECKING:
    from targets.pte import Parsed

# Versions on which the direct emitter's bytes were compared with the stock lowering's.
VERIFIED_VERSIONS = ("1.5",)
CORE_ML = "CoreMLBackend"
DTYPES = {"FLOAT": "float32", "BYTE": "uint8"}
MOST_NAMED = 4  # kernels outside of a delegate
CONSTANTS = ("filter_id", "bias_id", "input2_id")  # fields of a node that may name one


def check() -> None:
    """Raise MissingDependencyError unless executorch is installed."""
    require("android", "executorch", cure="install mnv2-export again with its dependencies")


def check_options(precision: Precision, options: ExportOptions) -> None:
    """Refuse fp16: XNNPACK's delegate is written in int8 or fp32."""
    del options  # each fits each
    if precision is Precision.FP16:
        raise UnsupportedError(
            "ExecuTorch programs are written in fp32 or int8",
            "export fp32 or int8, or take another target for fp16",
        )


def emit(
    graph: QuantizedGraph, precision: Precision, options: ExportOptions, path: Path
) -> tuple[str, ...]:
    """Write the `.pte`; see `exporter.target.Backend`."""
    check_options(precision, options)
    lowering, notes = choose_lowering(options.lowering)
    if lowering is Lowering.DIRECT:
        from targets.pte import write_program

        write_atomic(path, write_program(graph))
    else:
        from targets.stock_lowering import lower

        write_atomic(path, lower(graph))
    return notes


def choose_lowering(wanted: Lowering) -> tuple[Lowering, tuple[str, ...]]:
    """The wanted lowering, or the stock one where the direct emitter was not verified."""
    version = importlib.metadata.version("executorch")
    if wanted is Lowering.DIRECT and ".".join(version.split(".")[:2]) not in VERIFIED_VERSIONS:
        verified = ", ".join(VERIFIED_VERSIONS)
        return Lowering.STOCK, (
            f"executorch {version} is not verified for direct emission (verified: {verified}): "
            "used the stock lowering, which takes longer",
        )
    return wanted, ()


class PteRunner:
    """A `.pte` in the ExecuTorch runtime; it takes one image at a time."""

    def __init__(self, path: Path) -> None:
        # Of a damaged name the native loader makes an abort, not an exception.
        self.names = [output.name for output in describe(path).outputs]
        with quiet():
            from executorch.runtime import Runtime

            try:
                self.program = Runtime.get().load_program(path)
                self.method: Any = self.program.load_method("forward")
            except RuntimeError as error:
                raise ArtifactError(f"{path}: ExecuTorch cannot load it ({error})") from None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """The one result, such as float32 (n, classes) logits."""
        return one_result(self.results(images))

    def results(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Float32 (n, 3, r, r) -> every result by the name that the program states."""
        import torch

        batch = torch.from_numpy(np.ascontiguousarray(images))
        # The runtime reuses its output buffers, so every result is cloned before the next call.
        rows = [[y.clone() for y in self.method.execute([image[None]])] for image in batch]
        columns = zip(*rows, strict=True)
        return {
            name: np.asarray(torch.cat(column).numpy())
            for name, column in zip(self.names, columns, strict=True)
        }

    def layers(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """Nothing: a delegate shows no values from inside."""
        del images
        return {}


def load(path: Path) -> Runner:
    """Open a `.pte` to run it; see `exporter.target.Backend`."""
    return PteRunner(path)


def timed_session(threads: int) -> TimedSession:
    """A `.pte` on the clock; see `exporter.timing.Timed`."""
    from targets.android_profile import ExecutorchSession

    return ExecutorchSession(threads)


def describe(path: Path) -> Contents:
    """What is inside a `.pte`, without running it; see `exporter.target.Backend`."""
    from targets.pte import damage_is_an_artifact_error, parse

    parsed = parse(path)
    with damage_is_an_artifact_error(path):
        if any(d.id == CORE_ML for d in parsed.program.execution_plan[0].delegates):
            raise ArtifactError(
                f"{path}: calls the Core ML delegate, which no Android has",
                "let its name end in .coreml.pte, as `build --target ios --format pte` names it",
            )
        return _contents(parsed, path)


def _contents(parsed: Parsed, path: Path) -> Contents:
    from targets.pte import kernel_calls, result_names

    plan = parsed.program.execution_plan[0]
    layers = tuple(layer for graph in parsed.delegates for layer in _layers(graph, parsed))
    ops = Counter(layer.op for layer in layers)
    outside = kernel_calls(plan)
    return Contents(
        format="ExecuTorch program (.pte)",
        size_bytes=path.stat().st_size,
        inputs=_tensors(plan, plan.inputs, ["input"] * len(plan.inputs)),
        outputs=_tensors(plan, plan.outputs, result_names(parsed.program)),
        ops=dict(ops + Counter(outside)),
        delegation=_delegation(plan, outside),
        layers=layers,
        undelegated=len(outside),
        notes=("a .pte carries no labels or preprocessing: they are in manifest.json beside it",),
    )


def _delegation(plan: Any, outside: list[str]) -> str:
    names = ", ".join(d.id for d in plan.delegates) or "no delegate"
    count = f"{len(plan.delegates)} delegate{'' if len(plan.delegates) == 1 else 's'} ({names})"
    if not outside:
        return f"{count}, nothing outside"
    if len(outside) > MOST_NAMED:
        return f"{count}; outside it: {len(outside)} kernels, {outside[0]} to {outside[-1]}"
    return f"{count}; outside it: {', '.join(outside)}"


def _tensors(plan: Any, indices: list[int], names: Sequence[str]) -> tuple[TensorInfo, ...]:
    tensors = [plan.values[i].val for i in indices]
    return tuple(
        TensorInfo(name=name, shape=tuple(t.sizes), dtype=_dtype(t))
        for t, name in zip(tensors, names, strict=True)
    )


def _dtype(tensor: Any) -> str:
    name = str(tensor.scalar_type.name)
    return DTYPES.get(name, name.lower())


def _layers(graph: dict[str, Any], parsed: Parsed) -> list[LayerInfo]:
    """One row per XNNPACK node; its constants are the values that refer to named data."""
    sizes = [_constant_size(value, graph, parsed) for value in graph["xvalues"]]
    rows = []
    for index, node in enumerate(graph["xnodes"]):
        fields = node["xnode_union"]
        constants = sum(sizes[fields[k]] for k in CONSTANTS if k in fields)
        op = node["xnode_union_type"].removeprefix("XNN").lstrip("_")
        rows.append(LayerInfo(name=f"{index}", op=op, size_bytes=constants))
    return rows


def _constant_size(value: dict[str, Any], graph: dict[str, Any], parsed: Parsed) -> int:
    """Bytes of a value's data and of its per-channel scales."""
    record = value["xvalue_union"]
    tensor = record.get("tensor_value", record)
    buffers = [tensor.get("constant_buffer_idx", 0)]
    buffers.append(record.get("quant_params", {}).get("scale_buffer_idx", 0))
    keys = [graph["constant_data"][i].get("named_key", "") for i in buffers if i]
    return sum(parsed.constant_sizes.get(key, 0) for key in keys)
