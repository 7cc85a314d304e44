"""The preprocessing contract of a model, step by step with its numbers."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.manifest import Manifest
from exporter.report.records import Contract
from exporter.spec import ChannelOrder, Preprocess, ResizeRule


def contract(manifest: Manifest) -> Contract:
    """What an app must do with a photo."""
    normalize = manifest.normalize
    return Contract(
        steps=tuple(_steps(manifest.spec.preprocess)),
        expression=str(normalize["expression"]),
        scale=tuple(float(v) for v in normalize["scale"]),
        bias=tuple(float(v) for v in normalize["bias"]),
        input_quantization=manifest.input_quantization,
    )


def _steps(rules: Preprocess) -> Iterator[str]:
    size, crop = rules.resize_size, rules.crop_size
    yield "Decode, apply the EXIF orientation, convert to 8-bit RGB."
    if rules.resize_rule is ResizeRule.STRETCH:
        goal = f"Stretch to {size} × {size} px"
    else:
        goal = f"Scale the shorter side to {size} px, keeping the aspect ratio"
    yield (
        f"{goal}: {rules.resize_filter}, antialiased, width first, then height, "
        "each rounded to 8 bits."
    )
    if rules.resize_rule is ResizeRule.SHORTEST:
        yield f"Crop the center to {crop} × {crop} px."
    if rules.channel_order is ChannelOrder.BGR:
        yield "Reorder the channels to BGR; up to here pixels are RGB."
    else:
        yield "Keep the channels in RGB order."
    low, high = rules.value_range
    text = f"Map 0…255 to {low:g}…{high:g}".replace("-", "−")
    if any(rules.mean) or any(s != 1 for s in rules.std):
        means, stds = (", ".join(f"{v:g}" for v in vs) for vs in (rules.mean, rules.std))
        text += f", subtract the mean ({means}) and divide by the deviation ({stds})"
    yield f"{text}; in one float32 step per channel."
    yield f"Lay out as (1, 3, {crop}, {crop}): batch, channel, height, width."
