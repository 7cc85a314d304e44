"""Every target: one static row each and one module each. Adding one starts here."""

from __future__ import annotations

import importlib
from enum import StrEnum
from typing import cast

from exporter.spec import Precision, Rules
from exporter.target import Backend, Target, TargetInfo


class TargetName(StrEnum):
    """The names that `--target` takes."""

    ANDROID = "android"
    IOS = "ios"
    ONNX = "onnx"
    LITERT = "litert"
    TORCHSCRIPT = "torchscript"


FP32, FP16, INT8 = Precision.FP32, Precision.FP16, Precision.INT8

TARGETS: dict[TargetName, TargetInfo] = {
    TargetName.ANDROID: TargetInfo(
        name="android",
        format="ExecuTorch XNNPACK",
        suffix=".pte",
        precisions=(INT8, FP32),
        rules=Rules.XNNPACK,
        runs_on="Android, iOS, Linux, macOS, Windows",
        parity="executed by ExecuTorch",
    ),
    TargetName.IOS: TargetInfo(
        name="ios",
        format="Core ML ML program",
        suffix=".mlpackage",
        precisions=(INT8, FP16, FP32),
        rules=Rules.XNNPACK,
        runs_on="iOS 15+ (int8: iOS 17+), macOS",
        parity="program and weights, reference evaluator",
        alternatives=(".coreml.pte",),
        native_nms=True,
    ),
    TargetName.ONNX: TargetInfo(
        name="onnx",
        format="ONNX",
        suffix=".onnx",
        precisions=(INT8, FP16, FP32),
        rules=Rules.ORT,
        runs_on="ONNX Runtime on Android, iOS, web, desktop",
        parity="executed by ONNX Runtime",
        native_nms=True,
    ),
    TargetName.LITERT: TargetInfo(
        name="litert",
        format="LiteRT",
        suffix=".tflite",
        precisions=(INT8, FP16, FP32),
        rules=Rules.XNNPACK,
        runs_on="LiteRT on Android, iOS, web, desktop",
        parity="executed by LiteRT",
        extra="litert",
    ),
    TargetName.TORCHSCRIPT: TargetInfo(
        name="torchscript",
        format="TorchScript",
        suffix=".pt",
        precisions=(INT8, FP32),
        rules=Rules.XNNPACK,
        runs_on="libtorch (C++, Java), PyTorch",
        parity="executed by TorchScript",
        companions=(".ptl",),
    ),
}


def get(name: TargetName) -> Target:
    """The row and the module of a target; importing a module loads no SDK."""
    module = importlib.import_module(f"targets.{name}")
    return Target(info=TARGETS[name], backend=cast(Backend, module))
