"""Each alternative's environment, and its export in a process of its own, on the clock."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alternatives_inputs import Inputs

RECIPES = Path(__file__).parent / "stock"
STAMP = "installed.txt"  # in an environment: the requirements that it was made of
LIMIT_SECONDS = 600.0
QUIET = {"OMP_NUM_THREADS": "1", "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """One way to make one artifact."""

    name: str  # what a person calls it
    recipe: str  # a script in benchmarks/stock; empty for mnv2-export
    variant: str  # the recipe's, or mnv2-export's target
    rival: str = ""  # whose latency it is compared with: the name of another

    @property
    def slug(self) -> str:
        """Of its folders."""
        return f"{self.recipe or 'mnv2-export'}-{self.variant}"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What came of one export."""

    file: Path | None
    wall_s: float
    cpu_s: float
    stages: Mapping[str, float]
    versions: Mapping[str, str]
    verified: str = ""
    notes: tuple[str, ...] = ()
    failure: str = ""  # why there is no file


def environment(recipe: str, folder: Path, given: Mapping[str, Path]) -> tuple[Path | None, str]:
    """The interpreter for a recipe, made if need be, or why there is none."""
    if not recipe:
        return Path(sys.executable), ""
    if recipe in given:
        return given[recipe], ""
    wanted = (RECIPES / f"{recipe}.txt").read_text()
    home = folder / recipe
    stamp, python = home / STAMP, home / "bin" / "python"
    if stamp.exists() and stamp.read_text() == wanted:
        return python, ""
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    install = [python, "-m", "pip", "install", "-q", "-r", RECIPES / f"{recipe}.txt"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        return None, f"does not install: {last_line(done.stderr)}"
    stamp.write_text(wanted)
    return python, ""


def resumed(record: Path) -> Exported | None:
    """What an earlier run noted of this export, if what it wrote is still there."""
    if not record.exists():
        return None
    data = json.loads(record.read_text())
    if data["failure"] or not Path(data["file"]).exists():
        return None
    return Exported(**{**data, "file": Path(data["file"]), "notes": tuple(data["notes"])})


def note(exported: Exported, record: Path) -> None:
    """For `resumed`."""
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(dataclasses.asdict(exported), default=str))


def export(alternative: Alternative, python: Path, inputs: Inputs, out: Path) -> Exported:
    """Run it once, from nothing."""
    shutil.rmtree(out, ignore_errors=True)
    before, started = children_cpu(), time.perf_counter()
    try:
        done = subprocess.run(
            command(alternative, python, inputs, out),
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_SECONDS,
            env={**os.environ, **QUIET},
        )
        failure = last_line(done.stderr) if done.returncode else ""
    except subprocess.TimeoutExpired:
        failure = f"took more than {LIMIT_SECONDS:.0f} s"
    wall, cpu = time.perf_counter() - started, children_cpu() - before
    if failure:
        return Exported(file=None, wall_s=wall, cpu_s=cpu, stages={}, versions={}, failure=failure)
    read = read_recipe if alternative.recipe else read_build
    return read(json.loads(done.stdout), out, wall, cpu)


def command(alternative: Alternative, python: Path, inputs: Inputs, out: Path) -> list[str]:
    """Of a recipe, or of mnv2-export with its defaults."""
    if alternative.recipe:
        script = RECIPES / f"{alternative.recipe}.py"
        arguments = [script, inputs.stock_checkpoint, inputs.calibration, out]
        arguments += ["--resolution", inputs.spec.resolution, "--variant", alternative.variant]
    else:
        arguments = ["-m", "exporter", "build", inputs.checkpoint, "--out", out, "--json"]
        arguments += ["--calibration", inputs.calibration, "--target", alternative.variant]
    return [str(part) for part in (python, *arguments)]


def read_recipe(document: dict[str, Any], out: Path, wall: float, cpu: float) -> Exported:
    """What a recipe printed."""
    return Exported(
        file=out / document["files"][0],
        wall_s=wall,
        cpu_s=cpu,
        stages=document["seconds"],
        versions=document["versions"],
        verified=document["verified"],
        notes=tuple(document["notes"]),
    )


def read_build(document: dict[str, Any], out: Path, wall: float, cpu: float) -> Exported:
    """What `mnv2-export build --json` printed."""
    (artifact,) = document["manifest"]["artifacts"]
    parity, by = artifact["parity"], artifact["parity"]["by"]
    how = f"{parity['outcome']}, {parity['max_lsb']} LSB on {parity['images']} images"
    how += f" ({by})" if by else ""
    stages = {name: sum(filter(None, part.values())) for name, part in document["seconds"].items()}
    return Exported(
        file=out / artifact["path"],
        wall_s=wall,
        cpu_s=cpu,
        stages=stages,
        versions=document["manifest"].get("versions", {}),
        verified=how,
    )


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's files with their names."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    total = hashlib.sha256()
    for file in files:
        total.update(str(file.relative_to(path)).encode() + b"\0" + file.read_bytes())
    return total.hexdigest()


def children_cpu() -> float:
    """Seconds of processor time of every child that has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line.split(":")[0]]
    return (errors or lines or ["no reason given"])[-1]
