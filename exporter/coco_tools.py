"""pycocotools, where it is installed (the extra `coco`): COCO's own masks and evaluation."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from exporter.errors import MissingDependencyError


def coco_tools(module: str, what: str) -> Any:
    """`pycocotools.<module>`; raises MissingDependencyError naming `what` needs it."""
    check_coco_tools(what)
    return importlib.import_module(f"pycocotools.{module}")


def check_coco_tools(what: str) -> None:
    """Raise MissingDependencyError before any work is done."""
    if importlib.util.find_spec("pycocotools") is None:
        raise MissingDependencyError(
            f"{what} needs the package pycocotools", "pip install 'mnv2-export[coco]'"
        )
