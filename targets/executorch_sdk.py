"""Using executorch without its noise, and without the compiler that nothing here calls.

It and its dependencies warn about what nothing here uses. Its packages `exir` and
`backends.xnnpack` import the whole compiler, seconds of it, when a module of theirs is imported:
the record types and serializers that a `.pte` is written with, or a warning's class for the
runtime. Inside `quiet` these two wait (`targets.waiting`).
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

from targets.waiting import waiting

# torchao names the CUDA extensions that its CPU wheel cannot load; torch names an enum.
LOUD_LOGGERS = ("torchao", "torch.utils._pytree", "executorch")
COMPILERS = ("executorch.exir", "executorch.backends.xnnpack")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Import and call executorch inside: warnings are off, errors still come through.

    Its wheel reads its own resources through deprecated functions of importlib, at import and at
    every serialization, and its passes use torch functions that torch has since deprecated.
    """
    for name in LOUD_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), waiting(COMPILERS):
        warnings.simplefilter("ignore")
        yield
