"""What operations without weights compute in real numbers, on torch, in any float type.

The golden runs them in float32; tolerances, calibration and training take them from here too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from exporter.detection.nms import exact_nms
from exporter.graph import (
    Add,
    ArgMax,
    Concat,
    DecodeBoxes,
    Dequantize,
    Input,
    Nms,
    Op,
    Output,
    Permute,
    Pool,
    Reshape,
    Resize,
    Sigmoid,
    no_rule,
)


def real_step(op: Op, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """One operation on tensors of any batch; raises UnsupportedError for one with weights."""
    x = inputs[0]
    if isinstance(op, Input | Output | Dequantize):
        return x
    if isinstance(op, Add):
        return x + inputs[1]
    if isinstance(op, Pool):
        return x.mean((2, 3), keepdim=True)
    if isinstance(op, Resize):
        return F.interpolate(x, list(op.size), mode="bilinear", align_corners=False)
    if isinstance(op, Sigmoid):
        return torch.sigmoid(x)
    if isinstance(op, Reshape | Permute | Concat):
        return rearranged(op, inputs)
    if isinstance(op, DecodeBoxes):
        return decoded(op, x)
    if isinstance(op, ArgMax):
        return x.argmax(1).to(torch.uint8)
    if isinstance(op, Nms):
        return suppressed(op, inputs[0], inputs[1])
    raise no_rule(op, "real arithmetic")


def rearranged(op: Reshape | Permute | Concat, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """The same values elsewhere: of codes too."""
    if isinstance(op, Concat):
        return torch.cat(list(inputs), op.axis)
    if isinstance(op, Permute):
        return inputs[0].permute(op.order).contiguous()
    return inputs[0].reshape(len(inputs[0]), *op.shape[1:])


def decoded(op: DecodeBoxes, offsets: torch.Tensor) -> torch.Tensor:
    """SSD's offsets -> corners, every step rounded to the type of `offsets`."""
    anchors = torch.from_numpy(op.anchors).to(offsets.dtype)
    center_step, size_step = (np.float32(v) for v in (op.center_variance, op.size_variance))
    center = offsets[..., :2] * float(center_step) * anchors[:, 2:] + anchors[:, :2]
    half = torch.exp(offsets[..., 2:] * float(size_step)) * anchors[:, 2:] * 0.5
    return torch.cat([center - half, center + half], -1)


def suppressed(op: Nms, boxes: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Image by image; with no limit on candidates where the runtime's own NMS has none."""
    rows = []
    for image_boxes, image_scores in zip(boxes, scores, strict=True):
        found = exact_nms(image_boxes, image_scores, op.spec)
        rows.append(torch.cat([found.boxes, found.scores[:, None], found.classes[:, None]], 1))
    return torch.stack(rows)
