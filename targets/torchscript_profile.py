"""PyTorch on the clock: a TorchScript file in its interpreter, and a float graph in eager mode."""

from __future__ import annotations

import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from exporter.graph import QuantizedGraph
from exporter.timing import Trace, TraceFormat
from targets.torchscript_network import network, steps

LITE_SUFFIX = ".ptl"


class _TorchSession:
    """One tensor in, whatever comes out is dropped; torch computes with the threads asked for."""

    runtime: str
    _function: Any

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        self.threads = torch.get_num_threads()

    def feed(self, image: np.ndarray) -> None:
        """Contiguous, as torch reads images by default."""
        self._image = torch.from_numpy(np.ascontiguousarray(image))

    def run(self) -> None:
        """Without what autograd would keep."""
        with torch.inference_mode():
            self._function(self._image)


class TorchScriptSession(_TorchSession):
    """`exporter.timing.TimedSession` of a `.pt`, or of a `.ptl` in the lite interpreter."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.runtime = f"PyTorch {torch.__version__}, TorchScript"

    def load(self, path: Path) -> None:
        """The program and its constants; a `.pt` is optimized in its first runs."""
        load: Any = torch.jit.load
        if path.suffix == LITE_SUFFIX:
            from torch.jit.mobile import _load_for_lite_interpreter

            load = _load_for_lite_interpreter
            self.runtime = f"PyTorch {torch.__version__}, lite interpreter"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self._function = load(str(path))

    def trace(self, runs: int) -> None:
        """Nothing: its profiler does not say which layer an operation belongs to."""
        del runs


class EagerSession(_TorchSession):
    """`exporter.timing.TimedSession` of a graph, batch norm folded, as torch runs any module."""

    def __init__(self, graph: QuantizedGraph, threads: int) -> None:
        super().__init__(threads)
        self._graph = graph
        self.runtime = f"PyTorch {torch.__version__}, eager"

    def load(self, path: Path) -> None:
        """The network; the file was read before."""
        del path
        self._function = network(self._graph)

    def trace(self, runs: int) -> Trace:
        """Every operation of the graph between two looks at the clock."""
        plan = steps(self._graph)
        traced = []
        with torch.inference_mode():
            for _ in range(runs):
                values: dict[str, torch.Tensor] = {}
                rows = []
                for op, step in plan:
                    inputs = [values[name] for name in op.inputs] or [self._image]
                    started = time.perf_counter()
                    values[op.output] = step(*inputs)
                    rows.append((op.output, 1e3 * (time.perf_counter() - started)))
                traced.append(rows)
        return Trace(format=TraceFormat.LAYERS, data=json.dumps(traced).encode())
