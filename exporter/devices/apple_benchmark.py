"""One Core ML package through Core ML's own benchmarker, on this Mac or on a connected device.

`coremltools.models.ml_program.experimental.perf_utils` measures: Core ML's own clock around a
load and around each prediction, and the share of every operation that Core ML's plan estimates.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exporter.devices.apple_devices import told
from exporter.devices.apple_sdk import coremltools
from exporter.latency.records import Latency, Settings
from exporter.latency.statistics import summarize

COSTED = 1  # predictions behind the shares of operations, which come from the plan
UNITS = {"NeuralEngine": "Neural Engine", "GPU": "GPU", "CPU": "CPU"}  # in a class name: its name


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation of the program as Core ML plans it."""

    output: str  # its first result's name
    kind: str
    share: float  # of a prediction, by Core ML's estimate
    unit: str  # where Core ML would rather run it; "" where it does not say


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What was measured of one package."""

    latency: Latency
    operations: tuple[Operation, ...] = ()  # empty unless asked for
    unplanned: str = ""  # why there are none, though they were asked for

    def placement(self) -> str:
        """How many operations run where."""
        counts = Counter(operation.unit for operation in self.operations if operation.unit)
        return ", ".join(f"{count} on the {unit}" for unit, count in counts.most_common())


async def benchmark(package: Path, settings: Settings, device: Any | None) -> Benchmark:
    """Load, predict once, warm up, then `settings.iterations` timed predictions.

    Without a device this Mac is measured, on pictures; the app on a device takes arrays only.
    Raises whatever coremltools raises.
    """
    model = _opened(package, as_arrays=device is not None)
    from coremltools.models.ml_program.experimental.perf_utils import MLModelBenchmarker

    measure = MLModelBenchmarker(model=model, device=device)
    given = inputs(model.get_spec().description)
    try:
        latency = await _latency(measure, given, settings)
        if not settings.layers:
            return Benchmark(latency=latency)
        try:
            found = await measure.benchmark_operation_execution(dict(given), iterations=COSTED)
        except Exception as error:  # plans came with macOS 14.4 and iOS 17.4
            return Benchmark(latency=latency, unplanned=told(error))
        return Benchmark(latency=latency, operations=_operations(found))
    finally:
        await _unload(measure)


async def _latency(measure: Any, given: dict[str, Any], settings: Settings) -> Latency:
    """Each call gets its own dictionary: coremltools changes what it is given."""
    load = await measure.benchmark_load(iterations=1)
    first = await measure.benchmark_predict(dict(given), iterations=1)
    if settings.warmup:
        await measure.benchmark_predict(dict(given), iterations=settings.warmup)
    steady = await measure.benchmark_predict(dict(given), iterations=settings.iterations)
    return summarize(steady.samples, load_ms=load.samples[0], first_ms=first.samples[0])


async def _unload(measure: Any) -> None:
    """The benchmarker keeps its model; one on a device must be let go before the app stops."""
    if measure._loaded_model is not None:
        with contextlib.suppress(Exception):  # the device may be gone, and that is told elsewhere
            await measure._loaded_model.unload()


def inputs(description: Any) -> dict[str, Any]:
    """A picture, or an array, for every input; coremltools' own random ones know no pictures."""
    from PIL import Image

    random = np.random.default_rng(0)
    given: dict[str, Any] = {}
    for feature in description.input:
        kind = feature.type.WhichOneof("Type")
        if kind == "imageType":
            size = feature.type.imageType.height, feature.type.imageType.width, 3
            given[feature.name] = Image.fromarray(random.integers(0, 256, size, dtype=np.uint8))
        else:
            shape = tuple(feature.type.multiArrayType.shape)
            given[feature.name] = random.integers(0, 256, shape).astype(np.float32)
    return given


def _opened(package: Path, *, as_arrays: bool) -> Any:
    """Read but not loaded: the benchmarker loads it, and times that."""
    from exporter.devices.apple_arrays import arrays_only

    model = coremltools().models.MLModel(str(package), skip_model_load=True)
    if not as_arrays:
        return model
    spec = arrays_only(model.get_spec())
    return coremltools().models.MLModel(spec, weights_dir=model.weights_dir, skip_model_load=True)


def _operations(found: Sequence[Any]) -> tuple[Operation, ...]:
    """Those that Core ML gives a cost, their shares made to sum to one.

    coremltools lists an operation once for each of its results.
    """
    known = {
        info.spec.outputs[0].name: (info, info.measurement.statistics.median)
        for info in found
        if info.measurement.statistics is not None
    }
    total = sum(ms for _, ms in known.values())
    return tuple(
        Operation(
            output=info.spec.outputs[0].name,
            kind=info.spec.type,
            share=ms / total if total else 0.0,
            unit=_unit(info.compute_device_usage),
        )
        for info, ms in known.values()
        if ms > 0.0
    )


def _unit(usage: Any) -> str:
    """Records differ between a Mac and a device; the names of their classes tell the same."""
    if usage is None:
        return ""
    name = type(usage.preferred_compute_device).__name__
    return next((unit for part, unit in UNITS.items() if part in name), "")
