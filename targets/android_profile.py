"""A `.pte` on the clock: ExecuTorch's runtime alone, and its ETDump."""

from __future__ import annotations

import importlib.metadata
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from exporter.timing import Trace, TraceFormat
from targets.executorch_sdk import quiet

METHOD = "forward"


class ExecutorchSession:
    """`exporter.timing.TimedSession`; `run` is the method's own execute, on inputs set before.

    The extension module is imported by itself: the package around it imports the whole exporter,
    which no run needs.
    """

    def __init__(self, threads: int) -> None:
        with quiet():
            from executorch.extension.pybindings import _C

        self._sdk: Any = _C
        self._sdk._unsafe_reset_threadpool(threads)
        self.threads = int(self._sdk._threadpool_get_thread_count())
        self.runtime = f"ExecuTorch {importlib.metadata.version('executorch')}, XNNPACK"

    def load(self, path: Path) -> None:
        """The program, its method, and the delegate's packed weights."""
        self._path = path
        self._program = self._sdk._load_program(str(path))
        self._method = self._program.load_method(METHOD)

    def feed(self, image: np.ndarray) -> None:
        """The method points at this tensor's memory."""
        self._image = torch.from_numpy(np.ascontiguousarray(image))
        self._method.set_inputs([self._image])

    def run(self) -> None:
        """Outputs stay in the method's arena."""
        self._method.execute()

    def trace(self, runs: int) -> Trace:
        """Loaded once more: whether events are kept is decided at loading."""
        program = self._sdk._load_program(str(self._path), enable_etdump=True)
        method = program.load_method(METHOD)
        method.set_inputs([self._image])
        for _ in range(runs):
            method.execute()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.etdp"
            program.write_etdump_result_to_file(str(path), None)
            return Trace(format=TraceFormat.ETDUMP, data=path.read_bytes())
