"""What the command line takes as text or files, read and checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from exporter.errors import DataError, UnsupportedError
from exporter.spec import Preprocess, keras_preprocess, torchvision_preprocess
from exporter.target import ExportOptions
from exporter.tasks import Task

PRESETS: dict[str, Callable[[int], Preprocess]] = {
    "torchvision": torchvision_preprocess,
    "keras": keras_preprocess,
}
DYNAMIC = "dynamic"
OWNERS = {
    "lowering": "android",
    "io": "litert",
    "softmax": "litert",
    "format": "ios",
    "deployment_target": "ios",
    "batch": "onnx",
}


def read_labels(path: Path) -> tuple[str, ...]:
    """One label per line, in the order of the model's outputs; raises DataError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such labels file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a text file ({error})", "save it as UTF-8") from None
    labels = [line.strip() for line in text.split("\n")]
    while labels and not labels[-1]:
        labels.pop()
    if not labels:
        raise DataError(f"{path}: no labels in it", "write one label per line")
    if "" in labels:
        line = labels.index("") + 1
        raise DataError(f"{path}: line {line} is empty", "every output needs a label")
    return tuple(labels)


def read_preprocess(text: str) -> Preprocess | Callable[[int], Preprocess]:
    """A preset by its name (for any resolution), or a contract from a JSON file of its fields."""
    if text in PRESETS:
        return PRESETS[text]
    path = Path(text)
    try:
        return Preprocess.from_json(json.loads(path.read_text()))
    except FileNotFoundError:
        names = " or ".join(repr(name) for name in PRESETS)
        raise DataError(f"--preprocess {text}: neither {names} nor a file") from None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: not a preprocessing contract ({error!r})",
            "take the `preprocess` object of a manifest.json as a template",
        ) from None


def read_batch(text: str) -> int | None:
    """A positive batch size, or None for 'dynamic'; raises UnsupportedError."""
    if text == DYNAMIC:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UnsupportedError(f"--batch {text}: give a positive number or '{DYNAMIC}'")
    return int(text)


def choose_demo(demo: Task | None, checkpoint: Path | None) -> Task:
    """Which embedded demo stands in for a checkpoint; UnsupportedError where there is one."""
    if demo is not None and checkpoint is not None:
        raise UnsupportedError(
            f"--demo {demo} and the checkpoint {checkpoint.name} cannot both be built",
            "leave one of them out",
        )
    return demo or Task.CLASSIFICATION


def check_ownership(options: ExportOptions, targets: Sequence[str]) -> None:
    """Refuse an option that none of the targets to be built has; raises UnsupportedError."""
    defaults = ExportOptions()
    for field, owner in OWNERS.items():
        if getattr(options, field) != getattr(defaults, field) and owner not in targets:
            flag = "--" + field.replace("_", "-")
            raise UnsupportedError(
                f"{flag} is an option of {owner}, which is not built", f"add --target {owner}"
            )
