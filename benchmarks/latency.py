"""Host latency and size of the three networks at width 1.0, fp32 and int8: one thread, one image.

`python benchmarks/latency.py [--rounds 15] [--task detection]`. MobileNetV2 at 224 px with 1000
classes, SSDLite at 320 with 81 (decoded scores and boxes), Mobile DeepLabv3 at 513 with 21 (logits
of every pixel, and the small ones). Weights are random with measured batch norm statistics, so
activations are of a trained network's size. In every round each artifact runs once in turn, so that
a busy machine slows all of them; what is printed is the median over rounds, and int8 against fp32
as the median of the rounds' ratios. Times include handing the image over and copying the results
out, as `predict` does.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from stages import machine
from torch import nn

from exporter.ends import with_ends
from exporter.files import size
from exporter.fold import fold_core
from exporter.graph import QuantizedGraph
from exporter.models import make_network
from exporter.outputs import Ends, Outputs
from exporter.published import default_spec
from exporter.quantize import quantize
from exporter.spec import Precision
from exporter.target import ExportOptions, Runner
from exporter.tasks import Task
from targets import TargetName, get
from targets.executorch_sdk import quiet

RUNTIMES = (TargetName.ANDROID, TargetName.ONNX, TargetName.LITERT)
PRECISIONS = (Precision.FP32, Precision.INT8)
ENDS = {
    Task.CLASSIFICATION: (Outputs.LOGITS,),
    Task.DETECTION: (Outputs.DECODED,),
    Task.SEGMENTATION: (Outputs.LOGITS, Outputs.LOWRES_LOGITS),
}
STATISTICS_IMAGES, CALIBRATION_IMAGES = 4, 4
WARM_UP = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """An artifact that is timed."""

    name: str
    precision: Precision
    size_bytes: int
    runner: Runner
    image: np.ndarray
    milliseconds: list[float]

    def run(self) -> None:
        """Once, on the clock."""
        started = time.perf_counter()
        self.runner.results(self.image)
        self.milliseconds.append(1e3 * (time.perf_counter() - started))


def graphs(task: Task) -> tuple[dict[Precision, QuantizedGraph], np.ndarray]:
    """The float and the int8 graph as they end in weights, and an image."""
    spec = default_spec(task)
    torch.manual_seed(0)
    network = make_network(spec)
    images = np.random.Generator(np.random.PCG64(0)).uniform(
        -1, 1, (STATISTICS_IMAGES, 3, spec.resolution, spec.resolution)
    )
    images = images.astype(np.float32)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.from_numpy(images))
    core = fold_core(network.eval())
    return {
        Precision.FP32: core,
        Precision.INT8: quantize(core, images[:CALIBRATION_IMAGES]),
    }, images[:1]


def subjects(task: Task, folder: Path) -> list[Subject]:
    """Every artifact of a task."""
    cores, image = graphs(task)
    found = []
    for outputs in ENDS[task]:
        for target in RUNTIMES:
            backend = get(target).backend
            for precision in PRECISIONS:
                graph = with_ends(cores[precision], Ends(outputs=outputs))
                spec, suffix = graph.spec, get(target).info.suffix
                path = folder / f"{task}-{outputs}-{precision}{suffix}"
                backend.emit(graph, precision, ExportOptions(), path)
                found.append(
                    Subject(
                        name=f"{spec.network} {spec.resolution} px, {outputs}, {suffix}",
                        precision=precision,
                        size_bytes=size(path),
                        runner=backend.load(path),
                        image=image,
                        milliseconds=[],
                    )
                )
    return found


def main() -> int:
    """Print one line per runtime and result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--task", type=Task, choices=list(Task), action="append")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with quiet():
        from executorch.extension.pybindings import portable_lib

        portable_lib._unsafe_reset_threadpool(1)  # it takes every core by default
    print(f"machine: {machine()}; one thread, medians of {arguments.rounds} interleaved rounds")
    with tempfile.TemporaryDirectory() as folder:
        for task in arguments.task or list(Task):
            timed = subjects(task, Path(folder))
            for turn in range(WARM_UP + arguments.rounds):
                for subject in timed:
                    subject.run()
                    if turn < WARM_UP:
                        subject.milliseconds.clear()
            for exact, integers in zip(timed[::2], timed[1::2], strict=True):
                print(line(exact, integers))
    return 0


def line(exact: Subject, integers: Subject) -> str:
    """Both precisions of one artifact."""
    parts = [
        f"{s.precision} {statistics.median(s.milliseconds):.1f} ms {s.size_bytes / 1e6:.2f} MB"
        for s in (exact, integers)
    ]
    pairs = zip(integers.milliseconds, exact.milliseconds, strict=True)
    ratio = statistics.median(a / b for a, b in pairs)
    return f"{exact.name}: {', '.join(parts)}; int8 takes {ratio:.2f} of fp32's time"


if __name__ == "__main__":
    sys.exit(main())
