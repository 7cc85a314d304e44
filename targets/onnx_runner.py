"""An ONNX artifact running in ONNX Runtime: one thread, any number of images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.errors import ArtifactError
from exporter.target import one_result
from targets.onnx_writer import QUANTIZED, UNSIGNED

if TYPE_CHECKING:
    from onnx import ModelProto

CHUNK = 8  # images per call of a model with an open batch dimension: layers() keeps them all
FATAL_ONLY = 4  # a severity of ONNX Runtime's log; errors reach us as exceptions


class OnnxRunner:
    """`exporter.target.Runner` over a checked model; `path` only names it in errors."""

    def __init__(self, model: ModelProto, path: Path) -> None:
        self._model = model
        self._path = path
        self._input = model.graph.input[0]
        self._session = self._open(model)

    def results(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """Float32 (n, 3, r, r) -> every output by its name."""
        return self._run(self._session, images)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Float32 (n, 3, r, r) -> the one output, such as float32 (n, classes)."""
        return one_result(self.results(images))

    def layers(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """Every tensor of the graph in execution order; uint8 codes come back as int8."""
        seen = {self._input.name: images}  # replaced by its codes in an int8 model
        labels = _label_names(self._model)
        for name, value in self._run(self._session_with_layers, images).items():
            tensor = name.removesuffix(QUANTIZED)
            if "/" in tensor:
                continue
            if value.dtype == np.uint8 and tensor not in labels:
                value = (value.astype(np.int16) - UNSIGNED).astype(np.int8)
            seen[tensor] = value
        return seen

    @cached_property
    def _session_with_layers(self) -> Any:
        """The same nodes and weights; every node's result is an output."""
        from onnx import ModelProto, ValueInfoProto

        model = ModelProto()
        model.CopyFrom(self._model)
        del model.graph.output[:]
        names = [name for node in model.graph.node for name in node.output]
        model.graph.output.extend(ValueInfoProto(name=name) for name in names)
        return self._open(model)

    def _open(self, model: ModelProto) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = FATAL_ONLY
        with self._artifact_errors():
            return onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )

    def _run(self, session: Any, images: np.ndarray) -> dict[str, np.ndarray]:
        """All outputs by name, for any number of images."""
        fixed = self._input.type.tensor_type.shape.dim[0].dim_value  # 0 when open
        chunk = fixed or CHUNK
        names = [output.name for output in session.get_outputs()]
        parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for start in range(0, len(images), chunk):
            batch = images[start : start + chunk]
            missing = fixed - len(batch) if fixed else 0
            full = np.pad(batch, ((0, missing), (0, 0), (0, 0), (0, 0))) if missing else batch
            with self._artifact_errors():
                values = session.run(names, {self._input.name: full})
            for name, value in zip(names, values, strict=True):
                parts[name].append(value[: len(batch)])
        return {name: np.concatenate(values) for name, values in parts.items()}

    @contextlib.contextmanager
    def _artifact_errors(self) -> Iterator[None]:
        """ONNX Runtime's own exceptions share no base class."""
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        known = (
            state.Fail,
            state.InvalidArgument,
            state.InvalidGraph,
            state.InvalidProtobuf,
            state.NotImplemented,
            state.RuntimeException,
        )
        try:
            yield
        except known as error:
            reason = str(error).splitlines()[0]
            raise ArtifactError(
                f"{self._path}: ONNX Runtime refuses it ({reason})", "export again"
            ) from None


def _label_names(model: ModelProto) -> set[str]:
    """Tensors whose bytes are classes, not codes: what an ArgMax leads to."""
    names: set[str] = set()
    for node in model.graph.node:
        if node.op_type == "ArgMax" or names.intersection(node.input):
            names.update(node.output)
    return names
