"""The one interface of the recipes: `python NAME.py CHECKPOINT CALIBRATION OUT [--resolution 224]`.

Each is a script for an environment of its own (`NAME.txt` beside it lists the packages) and does
what its tool's documentation says for this case. It prints one JSON document:

    seconds    wall time of each stage, imports among them
    files      what was written, below OUT
    versions   of the packages that did the work
    verified   what the tool itself checks of the file that it wrote
    notes      what a reader of its figures must know

Whatever the tools print goes to standard error.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

CALIBRATION_IMAGES = 96


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """What a recipe is given, and where it notes what it did."""

    network: torch.nn.Module
    images: np.ndarray  # float32 (n, 3, r, r), to calibrate with
    out: Path
    variant: str
    seconds: dict[str, float]
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the wall time of its body to the stage."""
        with timed(self.seconds, name):
            yield

    def example(self) -> torch.Tensor:
        """One picture, to trace the network with."""
        import torch

        return torch.from_numpy(self.images[:1].copy())


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a recipe says about its work."""

    files: tuple[Path, ...]
    verified: str
    packages: tuple[str, ...]


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Adds the wall time of its body to `seconds[name]`."""
    started = time.perf_counter()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started


def main(
    description: str, export: Callable[[Job], Done], variants: tuple[str, ...] = ("int8",)
) -> int:
    """Parse, run one recipe, print its document; the first variant is the default."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("calibration", type=Path, help=f"a folder of {CALIBRATION_IMAGES} pictures")
    parser.add_argument("out", type=Path)
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--variant", choices=variants, default=variants[0])
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with everything_to_stderr():
        document = run(arguments, export)
    print(json.dumps(document, indent=2))
    return 0


def run(arguments: argparse.Namespace, export: Callable[[Job], Done]) -> dict[str, object]:
    """The document of one recipe."""
    seconds: dict[str, float] = {}
    with timed(seconds, "imports"):
        import network
        import torch
    # A recipe may have the name of the package that it calls, which must be found from here on.
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != Path(__file__).parent]
    torch.manual_seed(0)
    with timed(seconds, "checkpoint"):
        model = network.load(arguments.checkpoint)
    with timed(seconds, "images"):
        how = network.describe(arguments.checkpoint)
        images = network.load_images(
            arguments.calibration, CALIBRATION_IMAGES, arguments.resolution, how
        )
    job = Job(
        network=model, images=images, out=arguments.out, variant=arguments.variant, seconds=seconds
    )
    done = export(job)
    return {
        "seconds": seconds,
        "files": [str(path.relative_to(arguments.out)) for path in done.files],
        "images": len(images),
        "versions": versions(("torch", *done.packages)),
        "verified": done.verified,
        "notes": job.notes,
    }


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Of the packages that are installed."""
    return {package: importlib.metadata.version(package) for package in packages}


@contextmanager
def everything_to_stderr() -> Iterator[None]:
    """Standard output is for the document alone; native code writes to it too."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
