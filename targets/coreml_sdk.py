"""Importing coremltools without its noise and without the packages that it only tries out.

coremltools imports scikit-learn, SciPy, torchao and ExecuTorch when it finds them, each under its
own `try`, for converters that are not used here. They cost most of its import time and of its
warnings, so while it is imported they look as if they were not installed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from exporter.errors import MissingDependencyError
from targets.waiting import waiting

# Names of a package's input and outputs; the probabilities dictionary is `classLabel_probs`.
IMAGE = "image"
LOGITS = "logits"
PROBABILITIES = "probabilities"
LABEL = "classLabel"
LABELS = "labels"  # of a segmenter: a number for every pixel
# Between the parts of a detector's pipeline, and what it gives; Vision looks for the latter two.
RAW_CONFIDENCE, RAW_COORDINATES = "raw_confidence", "raw_coordinates"
CONFIDENCE, COORDINATES = "confidence", "coordinates"

OPTIONAL = ("executorch", "scipy", "sklearn", "torchao")
COMPRESSORS = ("coremltools.optimize.torch",)  # imports torch.distributed; not called here
LOGGER = "coremltools"


def coremltools() -> Any:
    """The package, imported on first use; raises MissingDependencyError without it."""
    if LOGGER in sys.modules:
        return sys.modules[LOGGER]
    os.environ.setdefault("TQDM_DISABLE", "1")  # read once, when tqdm is first imported
    try:
        with quiet(), _hidden(OPTIONAL), waiting(COMPRESSORS):
            import coremltools
    except ImportError as error:
        raise MissingDependencyError(
            f"the ios target needs coremltools ({error})", "pip install coremltools"
        ) from None
    return coremltools


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Errors only: coremltools warns of untested versions and, off macOS, of Apple's frameworks.

    It also leaves a temporary folder to the garbage collector, which Python reports.
    """
    logger = logging.getLogger(LOGGER)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Implicitly cleaning up", ResourceWarning)
            yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Let `import name` fail for packages that nothing has imported yet."""
    absent = [name for name in names if name not in sys.modules]
    blocked: dict[str, Any] = dict.fromkeys(absent)  # None is Python's own "cannot be imported"
    sys.modules.update(blocked)
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)
