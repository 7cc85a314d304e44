"""Pictures of a run, drawn with matplotlib where it is installed (the extra `plots`)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from exporter.errors import TrainingError
from exporter.files import staged
from exporter.verdicts import BY_LABELS

NAMES = {  # of a score's figures, all of them shares
    "top1": "top-1",
    "top5": "top-5",
    "map50": "mAP50",
    "map": "mAP",
    "miou": "mIoU",
    "pixels": "pixels",
}
CURE = "pip install 'mnv2-export[plots]'"
NAMED = 40  # classes whose names still fit beside a matrix


def available() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_curve(path: Path, rows: list[dict[str, Any]]) -> None:
    """Loss and learning rate by update, the score by epoch, from the lines of metrics.jsonl.

    Integers have their SQNR to the float model beside it; their training loss is no cross-entropy.
    """
    train = [row for row in rows if row["kind"] == "train"]
    val = [row for row in rows if row["kind"] == "val"]
    integers = any(row.get("quality") for row in val)
    figures = [name for name in NAMES if any(row.get(name) is not None for row in val)]
    ratios = (3, *(3 for _ in figures[:1]), *(3 for _ in range(integers)), 1)
    figure = _figure(9.0, 0.5 + sum(ratios))
    panels = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios)
    loss, lr = panels[0], panels[-1]
    steps, epochs = [row["step"] for row in train], [row["step"] for row in val]
    loss.plot(steps, [row["loss"] for row in train], label="training")
    if not integers:
        loss.plot(epochs, [row["loss"] for row in val], "o-", label="validation")
    loss.set_ylabel("cross-entropy" if "top1" in figures and not integers else "loss")
    if figures:
        _draw_score(panels[1], val, figures)
    if integers:
        ratio = [row["quality"]["sqnr_db"] for row in val]
        panels[2].plot(epochs, ratio, "o-", color="C2", label="SQNR to float")
        panels[2].set_ylabel("dB")
    lr.plot(steps, [row["lr"] for row in train], color="0.4")
    lr.set_ylabel("lr")
    lr.set_xlabel("updates")
    for axes in panels[:-1]:
        axes.legend(frameon=False)
        axes.grid(alpha=0.3)
    _save(figure, path)


def _draw_score(axes: Any, val: list[dict[str, Any]], figures: list[str]) -> None:
    scored = [row for row in val if row.get(figures[0]) is not None]
    epochs = [row["step"] for row in scored]
    for key in figures:
        axes.plot(epochs, [100 * row[key] for row in scored], "o-", label=NAMES[key])
    decides = next(name for name in figures if name in BY_LABELS.values())
    for row in [row for row in scored if row["best"]][-1:]:
        label = f"best, {NAMES[decides]} {row[decides]:.1%}"
        axes.axvline(row["step"], color="0.6", linestyle=":", label=label)
    axes.set_ylabel("validation, %")


def draw_confusion(path: Path, counts: np.ndarray, labels: tuple[str, ...]) -> None:
    """Shares of each true class (a row) by guess; `counts` is int64 (classes, classes).

    Of images, or of pixels.
    """
    size = min(14.0, 4.0 + 0.25 * len(labels))
    figure = _figure(size, size)
    axes = figure.subplots()
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    image = axes.imshow(shares, vmin=0.0, vmax=1.0, cmap="Blues", interpolation="nearest")
    axes.set_xlabel("guess")
    axes.set_ylabel("true class")
    if len(labels) <= NAMED:
        # Matplotlib would read dollar signs as mathematics.
        names = [label.replace("$", r"\$") for label in labels]
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
    right = float(np.trace(counts)) / max(1, int(counts.sum()))
    axes.set_title(f"{right:.1%} of {int(counts.sum()):,} right")
    figure.colorbar(image, ax=axes, fraction=0.046, label="share of the true class")
    _save(figure, path)


def _figure(width: float, height: float) -> Any:
    """Without pyplot, which would look for a screen and keep every figure."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: Path) -> None:
    try:
        with staged(path) as temporary:
            figure.savefig(temporary, dpi=110)
    except OSError as error:
        reason = error.strerror or str(error)
        raise TrainingError(
            f"{path}: cannot be written ({reason})", "the run itself is complete"
        ) from None
