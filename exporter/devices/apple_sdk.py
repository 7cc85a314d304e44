"""coremltools as its benchmarker needs it: imported without the packages that it only tries out."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

from exporter.errors import MissingDependencyError

# For converters that nothing here uses; they are most of the time that the import takes.
UNUSED = ("executorch", "sklearn", "torchao")
NAME = "coremltools"


def coremltools() -> Any:
    """The package, with its experimental tools; raises MissingDependencyError without it."""
    if NAME not in sys.modules:
        _import()
    return sys.modules[NAME]


def _import() -> None:
    """What is not there to be imported, coremltools does without."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # read once, when tqdm is first imported
    hidden: dict[str, Any] = dict.fromkeys(name for name in UNUSED if name not in sys.modules)
    sys.modules.update(hidden)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import coremltools  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"Core ML's tools need {NAME} ({error})", "install mnv2-export with its dependencies"
        ) from None
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
