"""Run Core ML packages of MobileNetV2 1.0 at 160 px in the reference evaluator: ms per image.

`python benchmarks/coreml_evaluator.py`. One thread; weights are random, which changes no time.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from stages import machine

from exporter.fold import fold
from exporter.models import MobileNetV2
from exporter.quantize import quantize
from exporter.spec import ModelSpec, Precision, torchvision_preprocess
from exporter.target import ExportOptions
from targets import ios

SIDE, RUNS = 160, 20


def main() -> int:
    """Print one line per package and arithmetic."""
    torch.set_num_threads(1)
    spec = ModelSpec(resolution=SIDE, preprocess=torchvision_preprocess(SIDE))
    graph = fold(MobileNetV2(spec).eval())
    images = np.random.default_rng(0).uniform(-2, 2, (8, 3, SIDE, SIDE)).astype(np.float32)
    graphs = {Precision.INT8: quantize(graph, images)}
    pixels = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    print(f"machine: {machine()}; median of {RUNS} runs, one thread")
    with tempfile.TemporaryDirectory() as folder:
        for precision in Precision:
            path = Path(folder) / f"{precision}.mlpackage"
            ios.emit(graphs.get(precision, graph), precision, ExportOptions(), path)
            measure(path, pixels)
    return 0


def measure(path: Path, pixels: np.ndarray) -> None:
    """Time opening a package, and running it in every arithmetic."""
    from targets.mil import Arithmetic, open_program

    for arithmetic in Arithmetic:
        started = time.perf_counter()
        program = open_program(path, arithmetic)
        opened = time.perf_counter() - started
        seconds = []
        for _ in range(RUNS + 1):
            started = time.perf_counter()
            program(image=pixels)
            seconds.append(time.perf_counter() - started)
        median = 1000 * statistics.median(seconds[1:])
        print(f"{path.stem} {arithmetic}: {median:.1f} ms, opened in {1000 * opened:.0f} ms")


if __name__ == "__main__":
    sys.exit(main())
