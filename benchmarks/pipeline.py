"""Where a cold build's time goes, and how much less it is: `python benchmarks/pipeline.py`.

Makes a MobileNetV2 1.0 at 224 px and 96 photo files, then measures three things: imports, each in
a fresh process; the stages of a build in one process; and, several times in turn, the whole command
against the stock tools' own recipes for the same formats (`stock/`), one after another. Nothing is
cached. Fails when the median ratio of wall times is above the goal.

A recipe runs in this interpreter, or in that of `--python NAME=PATH`; one whose packages
are missing there is left out, and the build still writes its format.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages import machine

GOAL = 0.30  # of the stock tools' wall time
IMAGES = 96
PICTURE = (320, 256)
TARGETS = ("android", "onnx", "litert", "ios")
RECIPES = ("executorch_pt2e", "onnxruntime_static", "litert_torch", "coremltools_linear")
STOCK = Path(__file__).parent / "stock"
IMPORTS = {
    "python alone": "pass",
    "the command line": "import exporter.cli",
    "torch": "import torch",
    "torch, ONNX": "import torch, onnx",
    "torch, ONNX Runtime": "import torch, onnxruntime",
    "torch, LiteRT": "import torch, ai_edge_litert.interpreter",
    "torch, executorch.exir": "import torch, executorch.exir",
    "torch, what a .pte takes of it": "import torch\n"
    "from targets.executorch_sdk import quiet\n"
    "with quiet(): import targets.pte_heads, targets.xnnpack, executorch.runtime",
    "torch, coremltools": "import torch, coremltools",
    "torch, what a package takes of it": "import torch\n"
    "import targets.mil.program, targets.coreml_package, targets.coreml_proof",
}


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Seconds of a process and its children."""

    wall: float
    cpu: float

    def __add__(self, other: Spent) -> Spent:
        return Spent(wall=self.wall + other.wall, cpu=self.cpu + other.cpu)


def main() -> int:
    """Measure, print, and fail above the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of builds against stock tools")
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--stages-of", nargs=3, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stages_of:
        print(json.dumps(stages_of(*arguments.stages_of)))
        return 0
    pythons = dict(pair.split("=", 1) for pair in arguments.python)
    print(f"machine: {machine()}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, photos = make_inputs(Path(folder))
        print_imports()
        print_stages(checkpoint, photos, Path(folder))
        ours, stock = compete(checkpoint, photos, Path(folder), pythons, arguments.rounds)
    return verdict(ours, stock)


def make_inputs(folder: Path) -> tuple[Path, Path]:
    """A checkpoint of seeded weights, its batch norm measured on photos, and 96 photo files."""
    import numpy as np
    import torch
    from PIL import Image
    from sklearn.datasets import load_sample_images

    from exporter.models import make_network
    from exporter.published import default_spec
    from exporter.tasks import Task

    random = np.random.Generator(np.random.PCG64(0))
    sources = [Image.fromarray(image) for image in load_sample_images().images]
    photos, checkpoint, pixels = folder / "photos", folder / "model.pth", []
    photos.mkdir()
    for i in range(IMAGES):
        photo = sources[i % len(sources)]
        side = int(random.integers(200, min(photo.size)))
        x, y = (int(random.integers(0, length - side + 1)) for length in photo.size)
        picture = photo.crop((x, y, x + side, y + side)).resize(PICTURE)
        picture.save(photos / f"{i:03}.jpg", quality=92)
        pixels.append(np.asarray(picture.resize((224, 224)), np.float32) / 127.5 - 1)
    torch.manual_seed(0)
    network = make_network(default_spec(Task.CLASSIFICATION))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.from_numpy(np.stack(pixels[:8]).transpose(0, 3, 1, 2).copy()))
    torch.save(network.state_dict(), checkpoint)
    return checkpoint, photos


def run(command: Sequence[str | Path]) -> tuple[Spent, subprocess.CompletedProcess[str]]:
    """A command to its end, whatever its exit status."""
    before, started = children_cpu(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    return Spent(wall=time.perf_counter() - started, cpu=children_cpu() - before), done


def environment() -> dict[str, str]:
    """This process's, with the library and the recipes on their own terms about threads."""
    return {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "PYTHONWARNINGS")}


def children_cpu() -> float:
    """CPU seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def print_imports() -> None:
    """The best of three fresh processes for each: noise only adds."""
    print("\nimports, in a fresh process each (best of 3)\n\n| | CPU-s | wall s |\n|---|---|---|")
    for name, code in IMPORTS.items():
        tries = [run([sys.executable, "-c", code]) for _ in range(3)]
        if any(done.returncode for _, done in tries):
            print(f"| {name} | not installed | |")
            continue
        cpu, wall = (min(getattr(spent, k) for spent, _ in tries) for k in ("cpu", "wall"))
        print(f"| {name} | {cpu:.2f} | {wall:.2f} |", flush=True)


def print_stages(checkpoint: Path, photos: Path, folder: Path) -> None:
    """One build in one process."""
    command = [sys.executable, __file__, "--stages-of", checkpoint, photos, folder / "staged"]
    spent, done = run(command)
    if done.returncode:
        raise SystemExit(done.stderr)
    print("\nstages of a build in one process\n\n| | CPU-s | wall s |\n|---|---|---|")
    for name, (cpu, wall) in json.loads(done.stdout).items():
        print(f"| {name} | {cpu:.2f} | {wall:.2f} |")
    print(f"| all, with the interpreter | {spent.cpu:.2f} | {spent.wall:.2f} |", flush=True)


def stages_of(checkpoint: Path, photos: Path, out: Path) -> dict[str, tuple[float, float]]:
    """CPU and wall seconds from one event of a build to the next, by what has just ended."""
    from exporter.memory import keep_pages

    keep_pages()  # as the command line does
    clock = time.process_time(), time.perf_counter()
    found: dict[str, tuple[float, float]] = {}

    def ended(name: str) -> None:
        nonlocal clock
        now = time.process_time(), time.perf_counter()
        before = found.get(name, (0.0, 0.0))
        found[name] = before[0] + now[0] - clock[0], before[1] + now[1] - clock[1]
        clock = now

    from exporter.events import ArtifactChecked, StageFinished
    from exporter.pipeline import BuildRequest, build, jobs_for
    from exporter.quiet import quiet
    from exporter.reference import Request
    from exporter.spec import Precision
    from targets import TargetName, get

    ended("imports")
    targets = [get(TargetName(name)) for name in TARGETS]
    request = Request(checkpoint=checkpoint, calibration=(photos,))
    jobs = jobs_for(targets, [Precision.INT8])
    with quiet((Exception,)):
        for event in build(BuildRequest(request=request, jobs=jobs, out=out)):
            if isinstance(event, StageFinished):
                ended(event.stage)
            elif isinstance(event, ArtifactChecked):
                ended(f"{event.record.path}, written and proved")
    ended("the rest")
    return found


def compete(
    checkpoint: Path, photos: Path, folder: Path, pythons: Mapping[str, str], rounds: int
) -> tuple[list[Spent], list[dict[str, Spent]]]:
    """Rounds of our build and of every recipe, the order turned around each time."""
    ours: list[Spent] = []
    stock: list[dict[str, Spent]] = []
    recipes = list(RECIPES)
    for turn in range(rounds):
        sides = (build_ours, build_stock) if turn % 2 == 0 else (build_stock, build_ours)
        found: dict[str, Spent] = {}
        for side in sides:
            if side is build_ours:
                ours.append(build_ours(checkpoint, photos, folder / f"ours{turn}"))
            else:
                found = build_stock(checkpoint, photos, folder / f"stock{turn}", recipes, pythons)
        recipes = list(found)  # what could not run is not tried again
        stock.append(found)
    return ours, stock


def build_ours(checkpoint: Path, photos: Path, out: Path) -> Spent:
    """All formats by one command, proved."""
    command = [sys.executable, "-m", "exporter", "build", checkpoint, "--calibration", photos]
    targets = [part for name in TARGETS for part in ("--target", name)]
    options = ["--precision", "int8", "--json", "--out", out]
    spent, done = run([*command, *targets, *options])
    if done.returncode:
        raise SystemExit(f"our build failed: {done.stderr or done.stdout}")
    return spent


def build_stock(
    checkpoint: Path, photos: Path, out: Path, recipes: Sequence[str], pythons: Mapping[str, str]
) -> dict[str, Spent]:
    """One recipe after another; what cannot run here is said and left out."""
    found = {}
    for name in recipes:
        python = pythons.get(name, sys.executable)
        spent, done = run([python, STOCK / f"{name}.py", checkpoint, photos, out / name])
        if done.returncode:
            print(f"{name}: left out: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
            continue
        found[name] = spent
    return found


def verdict(ours: Sequence[Spent], stock: Sequence[Mapping[str, Spent]]) -> int:
    """The table of all rounds, and whether the goal is met."""
    always = [name for name in stock[0] if all(name in found for found in stock)] if stock else []
    if not always:
        print("no stock tool ran: nothing to compare with")
        return 1
    print("\n| | CPU-s | wall s |\n|---|---|---|")
    for name in always:
        print_row(name, [found[name] for found in stock])
    stock = [{name: found[name] for name in always} for found in stock]
    sums = [sum(found.values(), Spent(wall=0.0, cpu=0.0)) for found in stock]
    print_row("stock tools, one after another", sums)
    print_row("mnv2-export build, all formats, proved", ours)
    ratios = [mine.wall / theirs.wall for mine, theirs in zip(ours, sums, strict=True)]
    ratio = statistics.median(ratios)
    told = ", ".join(f"{r:.1%}" for r in ratios)
    word = "PASS" if ratio <= GOAL else "FAIL"
    print(f"\n{word}: {ratio:.1%} of the stock tools' wall time ({told}); goal {GOAL:.0%}")
    return int(ratio > GOAL)


def print_row(name: str, rounds: Sequence[Spent]) -> None:
    """Medians."""
    cpu, wall = (statistics.median(getattr(s, k) for s in rounds) for k in ("cpu", "wall"))
    print(f"| {name} | {cpu:.1f} | {wall:.1f} |")


if __name__ == "__main__":
    sys.exit(main())
