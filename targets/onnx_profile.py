"""An `.onnx` on the clock: ONNX Runtime with bound input and outputs, and its profiler."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from exporter.timing import Trace, TraceFormat
from targets.onnx_runner import FATAL_ONLY

PROVIDER = "CPUExecutionProvider"


class OnnxSession:
    """`exporter.timing.TimedSession`; `run` is the session's own, on bound memory."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.runtime = f"ONNX Runtime {onnxruntime.__version__}, CPU"

    def load(self, path: Path) -> None:
        """Parsed, optimized as ONNX Runtime does by default, weights packed."""
        self._path = path
        self._session = self._open()

    def feed(self, image: np.ndarray) -> None:
        """A model of a fixed batch gets the image that often."""
        self._input = self._session.get_inputs()[0]
        batch = self._input.shape[0]
        times = batch if isinstance(batch, int) else 1
        self._image = np.ascontiguousarray(np.repeat(image, times, axis=0))
        self._bound = self._bind(self._session)

    def run(self) -> None:
        """Results are allocated by the runtime, and not copied to numpy."""
        self._session.run_with_iobinding(self._bound)

    def trace(self, runs: int) -> Trace:
        """In a second session: profiling is decided when one is made."""
        with tempfile.TemporaryDirectory() as folder:
            session = self._open(Path(folder) / "trace")
            bound = self._bind(session)
            for _ in range(runs):
                session.run_with_iobinding(bound)
            data = Path(session.end_profiling()).read_bytes()
        return Trace(format=TraceFormat.ONNXRUNTIME, data=data)

    def _open(self, profile: Path | None = None) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = FATAL_ONLY
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile)
        return onnxruntime.InferenceSession(str(self._path), options, providers=[PROVIDER])

    def _bind(self, session: Any) -> Any:
        bound = session.io_binding()
        bound.bind_cpu_input(self._input.name, self._image)
        for output in session.get_outputs():
            bound.bind_output(output.name)
        return bound
