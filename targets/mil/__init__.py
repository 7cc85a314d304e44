"""A reference evaluator of Core ML's ML programs: any `.mlpackage` that is simple enough, anywhere.

Read in this order:

- `values`: the constants of a program, in the model file or in its weight file
- `package`: a `.mlpackage` on disk, every reference in it followed and checked
- `rules`: one function per operation, its parameters being the operation's own
- `features`: what goes in and comes out: images, arrays, class labels
- `loops`: operations that are run again and again
- `program`: the interpreter
- `patterns`, `integers`: int8 layers computed as the integers that they stand for
- `standalone`: a package run by itself, on files
- `lint`: what can be said of a program without running it

A package is untrusted input: nothing in it is executed but the operations that `rules` lists.

    from targets.mil import open_program
    outputs = open_program("model.mlpackage")(image=Image.open("photo.jpg"))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from targets.coreml_sdk import coremltools

if TYPE_CHECKING:
    from targets.mil.program import Arithmetic, Program, open_program

__all__ = ["Arithmetic", "Program", "open_program"]

coremltools()  # every module here reads its protocol buffers: imported once, without its noise


def __getattr__(name: str) -> Any:
    """The names above, when first used: `program` needs torch, and reading a package does not."""
    if name not in __all__:
        raise AttributeError(f"module 'targets.mil' has no attribute {name!r}")
    return getattr(importlib.import_module("targets.mil.program"), name)
