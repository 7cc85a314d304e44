"""ONNX Runtime as its documentation quantizes statically: QDQ, min-max ranges, a scale per channel.

`s8s8` has its default types, `u8s8` unsigned activations; both follow `torch.onnx.export` and the
recommended pre-processing.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from recipe import Done, Job, main

if TYPE_CHECKING:
    import numpy as np


def export(job: Job) -> Done:
    """Export, optimize, calibrate and quantize."""
    with job.stage("imports"):
        import onnx
        import torch
        from onnxruntime import quantization as tool
        from onnxruntime.quantization.shape_inference import quant_pre_process
    exact, prepared = job.out / "exact.onnx", job.out / "prepared.onnx"
    path = job.out / f"model-int8-{job.variant}.onnx"
    with job.stage("export"):
        torch.onnx.export(
            job.network, (job.example(),), exact, dynamo=True, external_data=False, verbose=False
        )
    with job.stage("prepare"):
        quant_pre_process(str(exact), str(prepared))
    unsigned = job.variant == "u8s8"
    with job.stage("calibrate"):
        tool.quantize_static(
            str(prepared),
            str(path),
            Reader(job, onnx.load(prepared).graph.input[0].name),
            quant_format=tool.QuantFormat.QDQ,
            activation_type=tool.QuantType.QUInt8 if unsigned else tool.QuantType.QInt8,
            weight_type=tool.QuantType.QInt8,
            per_channel=True,
            calibrate_method=tool.CalibrationMethod.MinMax,
        )
    for intermediate in (exact, prepared):
        intermediate.unlink()
    packages = ("onnxruntime", "onnx", "onnxscript")
    return Done(files=(path,), verified="no", packages=packages)


class Reader:
    """The calibration pictures one by one, as the tool's CalibrationDataReader gives them."""

    def __init__(self, job: Job, name: str) -> None:
        self._rest = ({name: job.images[i : i + 1]} for i in range(len(job.images)))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next, or None."""
        return next(self._rest, None)


if __name__ == "__main__":
    sys.exit(main(__doc__, export, ("s8s8", "u8s8")))
