"""Where a run computes, and in which arithmetic."""

from __future__ import annotations

import torch

from exporter.errors import UnsupportedError
from exporter.training.settings import Arithmetic, Device


def pick_device(choice: Device) -> torch.device:
    """The device that was asked for, or the best one here."""
    offered = {
        Device.CUDA: torch.cuda.is_available(),
        Device.MPS: torch.backends.mps.is_available(),
        Device.CPU: True,
    }
    if choice is Device.AUTO:
        return torch.device(next(name for name, there in offered.items() if there))
    if not offered[choice]:
        raise UnsupportedError(
            f"--device {choice}: PyTorch finds none on this machine",
            "use --device auto, or install a PyTorch that is built for it",
        )
    return torch.device(choice)


def pick_precision(choice: Arithmetic, device: torch.device) -> Arithmetic:
    """Half the bits where that is faster and the device has them; else float32."""
    if choice is Arithmetic.FP16 and device.type == "cpu":
        raise UnsupportedError("--precision fp16 needs a GPU", "use bf16 or fp32")
    if choice is not Arithmetic.AUTO:
        return choice
    if device.type != "cuda":
        return Arithmetic.FP32
    return Arithmetic.BF16 if torch.cuda.is_bf16_supported() else Arithmetic.FP16


def autocast(device: torch.device, precision: Arithmetic) -> torch.autocast:
    """The context that forward passes run in."""
    dtype = torch.float16 if precision is Arithmetic.FP16 else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision is not Arithmetic.FP32)
