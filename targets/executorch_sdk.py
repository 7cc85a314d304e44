"""Using executorch without its noise: it and its dependencies warn about what nothing here uses."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

# torchao names the CUDA extensions that its CPU wheel cannot load; torch names an enum.
LOUD_LOGGERS = ("torchao", "torch.utils._pytree", "executorch")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Import and call executorch inside: warnings are off, errors still come through.

    Its wheel reads its own resources through deprecated functions of importlib, at import and at
    every serialization, and its passes use torch functions that torch has since deprecated.
    """
    for name in LOUD_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
