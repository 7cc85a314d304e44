"""A `.tflite` on the clock: LiteRT's interpreter with its default XNNPACK delegate."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import numpy as np

from targets.litert_runner import open_interpreter

PACKAGE = "ai-edge-litert"


class LitertSession:
    """`exporter.timing.TimedSession`; `run` is the interpreter's invoke."""

    def __init__(self, threads: int) -> None:
        import ai_edge_litert.interpreter  # noqa: F401 (so that loading is not importing)

        self.threads = threads
        self.runtime = f"LiteRT {importlib.metadata.version(PACKAGE)}, XNNPACK"

    def load(self, path: Path) -> None:
        """Planned, the delegate's weights packed, tensors allocated."""
        self._interpreter = open_interpreter(path.read_bytes(), path, self.threads)

    def feed(self, image: np.ndarray) -> None:
        """Codes where the model takes them."""
        (details,) = self._interpreter.get_input_details()
        values = image.transpose(0, 2, 3, 1)
        scale, zero_point = details["quantization"]
        if scale:
            limits = np.iinfo(details["dtype"])
            values = np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max)
        typed = np.ascontiguousarray(values.astype(details["dtype"]))
        self._interpreter.set_tensor(details["index"], typed)

    def run(self) -> None:
        """Results stay in the interpreter's tensors."""
        self._interpreter.invoke()

    def trace(self, runs: int) -> None:
        """Nothing: LiteRT's Python API offers no profiler."""
        del runs
