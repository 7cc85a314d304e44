"""Where `check.sh` puts the programs, and how a test runs one."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporter.files import sha256
from exporter.spec import Preprocess

ROOT = Path(os.environ["MNV2_CHECKS"])
WORK = ROOT / "cpp"
BUILDS = ROOT / "builds"
SANITIZED = WORK / "checks" / "app" / "mnv2_runner"  # takes any model folder
TIMEOUT_S = 120


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a program said; `error` is one line without the program's name."""

    code: int
    output: str
    error: str

    @property
    def json(self) -> Any:
        """Its output as one document."""
        return json.loads(self.output)


def run(program: Sequence[object] | Path, *arguments: object, cwd: Path | None = None) -> Done:
    """Run to the end; a crash, a sanitizer's report or more than one line of error is a failure."""
    start = [program] if isinstance(program, Path) else list(program)
    found = subprocess.run(
        [str(word) for word in (*start, *arguments)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=TIMEOUT_S,
        cwd=cwd,
        check=False,
    )
    assert 0 <= found.returncode <= 9, found.stderr
    error = found.stderr.removesuffix("\n")
    if found.returncode > 1:
        assert error.startswith("mnv2_runner: "), error
    assert "\n" not in error, error
    return Done(
        code=found.returncode, output=found.stdout, error=error.removeprefix("mnv2_runner: ")
    )


def app(name: str) -> Path:
    """The runner of an app that `mnv2-export sample` made."""
    return WORK / "apps" / name / "build" / "mnv2_runner"


def model_of(name: str) -> Path:
    """That app's model folder."""
    return WORK / "apps" / name / "model"


def manifest_of(name: str) -> dict[str, Any]:
    """That app's manifest."""
    manifest: dict[str, Any] = json.loads((model_of(name) / "manifest.json").read_text())
    return manifest


def vouch_for_golden(model: Path) -> Path:
    """Have the manifest state the digest of a golden folder that was changed on purpose."""
    path = model / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["golden_sha256"] = sha256(model / "golden")
    path.write_text(json.dumps(manifest))
    return model


def write_contract(folder: Path, contract: Preprocess) -> Path:
    """A manifest with this preprocessing, for a runner that stops before the network."""
    scale, bias = contract.affine()
    manifest = manifest_of("classification")
    manifest["spec"]["preprocess"] = contract.to_json()
    manifest["spec"]["resolution"] = contract.crop_size
    manifest["normalize"] |= {"scale": scale.tolist(), "bias": bias.tolist()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def pixels_of(
    program: Sequence[object] | Path, folder: Path, contract: Preprocess, images: Sequence[Path]
) -> np.ndarray:
    """What a runner makes of images up to the crop: uint8 (n, h, w, 3)."""
    model = write_contract(folder / "contract", contract)
    dump = folder / "pixels"
    done = run(program, "--model", model, "--dump-pixels", dump, *images)
    assert done.code == 0, done.error
    side = contract.crop_size
    return np.fromfile(dump, np.uint8).reshape(len(images), side, side, 3)


@pytest.fixture(scope="session")
def photos() -> list[Path]:
    """Real photos that installed packages ship."""
    import matplotlib

    found = [Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"]
    assert found[0].is_file()
    return found
