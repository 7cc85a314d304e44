"""Emit MobileNetV2 1.0 at 224 px with 1000 classes for every target: seconds and bytes.

`python benchmarks/emission.py`. Weights are random, which changes neither figure; SDKs are
imported before the clock starts. Published sizes: fp32 14.0 MB, int8 3.4-3.7 MB.
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

from exporter.files import size
from exporter.fold import fold
from exporter.models import MobileNetV2
from exporter.quantize import quantize
from exporter.spec import ModelSpec, Precision
from exporter.target import ExportOptions
from targets import TargetName, get

RUNS = 5


def main() -> int:
    """Print one line per artifact."""
    torch.set_num_threads(1)
    spec = ModelSpec()
    graph = fold(MobileNetV2(spec).eval())
    images = np.random.default_rng(0).uniform(-2, 2, (8, 3, 224, 224)).astype(np.float32)
    graphs = {Precision.INT8: quantize(graph, images)}
    print(f"machine: {machine()}; median of {RUNS} emissions")
    with tempfile.TemporaryDirectory() as folder:
        for name in TargetName:
            target = get(name)
            for precision in target.info.precisions:
                path = Path(folder) / f"model-{precision}{target.info.suffix}"
                seconds = []
                for _ in range(RUNS + 1):  # the first one imports the SDK
                    started = time.perf_counter()
                    target.backend.emit(
                        graphs.get(precision, graph), precision, ExportOptions(), path
                    )
                    seconds.append(time.perf_counter() - started)
                median = statistics.median(seconds[1:])
                print(f"{name} {precision}: {median:.2f} s, {size(path):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
