"""Accuracy and latency of artifacts whoever made them, each by the runtime that its users have."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from exporter.latency.records import Median
from exporter.latency.statistics import median_interval
from targets.executorch_sdk import quiet

PACKAGE = ".mlpackage"
CHANNELS = 3
BLOCK = 10  # inferences of one artifact in a row: caches and frequencies are its own
WARM_UP = 3  # rounds


@dataclass(frozen=True, kw_only=True)
class Model:
    """A file in its runtime."""

    fit: Callable[[np.ndarray], Any]  # float32 (1, 3, r, r) -> what the file takes; not timed
    run: Callable[[Any], np.ndarray]  # -> float32 (1, classes)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Float32 (1, 3, r, r) -> (1, classes)."""
        return self.run(self.fit(image))


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One artifact among others that ran in turn with it."""

    ms: Median  # of the rounds' medians
    ratio: Median | None  # to its rival in the same round


def open_model(path: Path) -> Model:
    """The file in its own runtime, on one thread, with that runtime's defaults."""
    return {".pte": executorch, ".onnx": onnxruntime, ".tflite": litert}[path.suffix](path)


def executorch(path: Path) -> Model:
    """ExecuTorch with the kernels of its wheel."""
    with quiet():
        from executorch.extension.pybindings import portable_lib

        portable_lib._unsafe_reset_threadpool(1)  # it takes every core by default
        program = portable_lib._load_for_executorch(str(path))

    # The result is copied: the next call writes into the same memory.
    return Model(
        fit=torch.from_numpy, run=lambda image: np.array(program.forward((image,))[0], np.float32)
    )


def onnxruntime(path: Path) -> Model:
    """ONNX Runtime's CPU provider, every graph optimization on."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return Model(fit=lambda image: image, run=lambda image: session.run(None, {name: image})[0])


def litert(path: Path) -> Model:
    """LiteRT with its default XNNPACK delegate."""
    with quiet():
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
    (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    channels_last = given["shape"][-1] == CHANNELS

    def fit(image: np.ndarray) -> np.ndarray:
        image = image.transpose(0, 2, 3, 1) if channels_last else image
        return np.ascontiguousarray(quantized(image, given))

    def run(image: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(given["index"], image)
        interpreter.invoke()
        return dequantized(interpreter.get_tensor(result["index"]), result)

    return Model(fit=fit, run=run)


def quantized(values: np.ndarray, tensor: Mapping[str, Any]) -> np.ndarray:
    """As the file's input is stored; float32 as it is."""
    if tensor["dtype"] is np.float32:
        return values
    scale, zero_point = tensor["quantization"]
    range_of = np.iinfo(tensor["dtype"])
    codes = np.rint(values / np.float32(scale)) + zero_point
    return codes.clip(range_of.min, range_of.max).astype(tensor["dtype"])


def dequantized(codes: np.ndarray, tensor: Mapping[str, Any]) -> np.ndarray:
    """The inverse."""
    if tensor["dtype"] is np.float32:
        return codes
    scale, zero_point = tensor["quantization"]
    return (codes.astype(np.float32) - zero_point) * np.float32(scale)


def logits(path: Path, images: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Float32 (n, classes) for all pictures; Core ML's packages by the reference evaluator."""
    if path.suffix == PACKAGE:
        return package_logits(path, images, pixels)
    model = open_model(path)
    return np.concatenate([model(images[i : i + 1]) for i in range(len(images))])


def package_logits(path: Path, images: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """A package takes pictures or tensors; the network's output is the one array among its own."""
    from targets.mil import open_program

    program = open_program(path)
    ((name, feature),) = program.inputs.items()
    takes_pictures = feature.type.WhichOneof("Type") == "imageType"
    rows = []
    for image, picture in zip(images, pixels, strict=True):
        given: Any = Image.fromarray(picture) if takes_pictures else image[None]
        arrays = [v for v in program(**{name: given}).values() if isinstance(v, np.ndarray)]
        rows.append(arrays[0].reshape(1, -1).astype(np.float32))
    return np.concatenate(rows)


def race(
    models: Mapping[str, Model], rivals: Mapping[str, str], image: np.ndarray, rounds: int
) -> dict[str, Timed]:
    """Every artifact in turn, round after round, forwards and backwards by turns.

    What slows the machine for a while slows all of a round, so a ratio within rounds is known
    better than either time.
    """
    times: dict[str, list[float]] = {name: [] for name in models}
    names = list(models)
    fitted = {name: model.fit(image) for name, model in models.items()}
    for turn in range(WARM_UP + rounds):
        for name in names if turn % 2 else reversed(names):
            value = block_ms(models[name], fitted[name])
            if turn >= WARM_UP:
                times[name].append(value)
    return {name: timed(times, name, rivals.get(name, "")) for name in names}


def block_ms(model: Model, fitted: Any) -> float:
    """The median of a few inferences in a row, the first not among them."""
    model.run(fitted)
    values = []
    for _ in range(BLOCK):
        started = time.perf_counter()
        model.run(fitted)
        values.append(1e3 * (time.perf_counter() - started))
    return statistics.median(values)


def timed(times: Mapping[str, Sequence[float]], name: str, rival: str) -> Timed:
    """Medians with their 95 % intervals."""
    own = np.asarray(times[name])
    ratio = median_interval(own / np.asarray(times[rival])) if rival in times else None
    return Timed(ms=median_interval(own), ratio=ratio)
