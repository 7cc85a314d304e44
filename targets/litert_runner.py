"""A `.tflite` artifact running in LiteRT: one thread, one image at a time, one XNNPACK node.

Maps, which lie as (n, h, w, c) in the file, come out as (n, c, h, w).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from exporter.errors import ArtifactError, TargetError
from exporter.target import one_result
from targets.litert_delegation import covers, delegate_nodes
from targets.litert_model import PROBABILITY
from targets.litert_reader import expose
from targets.litert_records import FlatModel, FlatTensor

LOGITS = "logits"
INPUT = "input"


class LitertRunner:
    """`exporter.target.Runner` over checked records; `path` only names the file in errors."""

    def __init__(self, data: bytes, model: FlatModel, path: Path) -> None:
        self._data = data
        self._model = model
        self._path = path
        (self._input,) = model.inputs.values()
        self._outputs = list(model.outputs.values())
        self._interpreter = self._open(self._outputs)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """The one result, such as float32 (n, classes), before the softmax if there is one."""
        return one_result(self.results(images))

    def results(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Float32 (n, 3, r, r) -> every output by the signature's name, codes as real values."""
        logits = _before_softmax(self._model)
        if logits is not None:
            return {LOGITS: self._run(self._interpreter_with_logits, [logits], images)[0]}
        values = self._run(self._interpreter, self._outputs, images)
        return dict(zip(self._model.outputs, values, strict=True))

    def outputs(self, images: np.ndarray) -> np.ndarray:
        """What an artifact with one output itself gives an app: logits, or probabilities."""
        return self._run(self._interpreter, self._outputs, images)[0]

    def layers(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """Every tensor of the graph in execution order, (n, c, h, w)."""
        places = _graph_tensors(self._model)
        values = self._run(self._interpreter_with_layers, list(places.values()), images, raw=True)
        first = self._model.tensors[self._input]
        seen = {INPUT: _quantize(images, first) if first.scale.size else images}
        seen.update(zip(places, values, strict=True))
        return {**seen, **self.results(images)}

    @cached_property
    def _interpreter_with_logits(self) -> Any:
        """The same file with the softmax's input as an output too."""
        logits = _before_softmax(self._model)
        return self._open([*self._outputs, *([] if logits is None else [logits])])

    @cached_property
    def _interpreter_with_layers(self) -> Any:
        """The same file with every tensor of the graph as an output."""
        return self._open(list(_graph_tensors(self._model).values()))

    def _open(self, outputs: Sequence[int]) -> Any:
        data = self._data
        if list(outputs) != self._outputs:
            data = expose(data, outputs)
        interpreter = open_interpreter(data, self._path)
        pieces = delegate_nodes(interpreter)
        if not covers(pieces, self._model, outputs):
            raise TargetError(
                f"{self._path}: LiteRT fell back to built-in kernels, which are slower and round "
                f"differently (XNNPACK took {len(pieces)} pieces)",
                "use the LiteRT version that this exporter was tested with",
            )
        return interpreter

    def _run(
        self, interpreter: Any, places: Sequence[int], images: np.ndarray, raw: bool = False
    ) -> list[np.ndarray]:
        """Tensors by index for every image; codes become float32 unless `raw`."""
        record = self._model.tensors[self._input]
        feed = images if not record.scale.size else _quantize(images, record)
        collected: list[list[np.ndarray]] = [[] for _ in places]
        for image in feed.transpose(0, 2, 3, 1):
            interpreter.set_tensor(self._input, np.ascontiguousarray(image[None]))
            interpreter.invoke()
            for place, values in zip(places, collected, strict=True):
                values.append(interpreter.get_tensor(place))
        joined = [_nchw(np.concatenate(values)) for values in collected]
        if raw:
            return joined
        records = [self._model.tensors[place] for place in places]
        return [_dequantize(v, r) for v, r in zip(joined, records, strict=True)]


def open_interpreter(data: bytes, path: Path, threads: int = 1) -> Any:
    """A LiteRT interpreter with its default delegate, tensors allocated."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_content=data, num_threads=threads)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ArtifactError(f"{path}: LiteRT refuses it ({reason})", "export again") from None
    return interpreter


def _before_softmax(model: FlatModel) -> int | None:
    """The tensor of logits in a model that ends in probabilities."""
    for op in model.operators:
        if op.kind == "SOFTMAX":
            return op.inputs[0]
    return None


def _graph_tensors(model: FlatModel) -> dict[str, int]:
    """Activations by the graph's names; ours have a slash, but for the image's codes."""
    places = {}
    results = {LOGITS, PROBABILITY, *model.outputs}
    written = (op.outputs[0] for op in model.operators)
    for place in written:
        name = model.tensors[place].name
        if name == f"{INPUT}/quantized":
            places[INPUT] = place
        elif "/" not in name and name not in results:
            places[name] = place
    return places


def _quantize(images: np.ndarray, record: FlatTensor) -> np.ndarray:
    """Float32 -> codes, as the delegate does it: times the reciprocal, rounded to even."""
    codes = np.rint(images * (np.float32(1.0) / record.scale[0])) + record.zero_point[0]
    limits = np.iinfo(record.dtype)
    return np.asarray(np.clip(codes, limits.min, limits.max).astype(record.dtype))


def _dequantize(values: np.ndarray, record: FlatTensor) -> np.ndarray:
    if not record.scale.size:
        return values
    centered = values.astype(np.int32) - record.zero_point[0].astype(np.int32)
    return np.asarray(centered.astype(np.float32) * record.scale[0])


def _nchw(values: np.ndarray) -> np.ndarray:
    return values.transpose(0, 3, 1, 2) if values.ndim == 4 else values
