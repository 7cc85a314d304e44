"""The wheel, installed away from the repository, runs the main job."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from exporter.sample import SampleRequest, make_sample
from exporter.sample_kinds import SampleKind

ROOT = Path(__file__).parents[1]
NOT_SOURCES = shutil.ignore_patterns(
    ".git", ".venv", ".checks", ".*_cache", "build", "dist", "*.egg-info", "__pycache__", "shared",
    "node_modules",
)  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy: setuptools leaves `build/` and `*.egg-info` beside the sources."""
    out = tmp_path_factory.mktemp("wheel")
    sources = shutil.copytree(ROOT, out / "sources", ignore=NOT_SOURCES)
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", out, sources]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_what_it_needs_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    information = next(t for t in tops if t.endswith(".dist-info"))
    assert tops == {"app_samples", "exporter", "targets", information}
    for network in ("mobilenetv2_035_96", "ssdlite_035_160", "deeplabv3_035_161"):
        assert f"exporter/demo/{network}.safetensors" in names
    assert "exporter/demo/NOTICE.txt" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    sources = {p.relative_to(ROOT).as_posix() for p in (ROOT / "exporter").rglob("*.py")}
    assert sources <= set(names)
    assert wheel.stat().st_size < 5_000_000  # three demo networks are 3.3 MB of it


def test_the_installed_wheel_builds(wheel: Path, tmp_path: Path) -> None:
    """A venv of its own that borrows only this one's dependencies, run from an empty folder."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    site = next((home / "lib").glob("python*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    dependencies = next(p for p in sys.path if p.endswith("site-packages"))
    (site / "dependencies.pth").write_text(dependencies + "\n")
    run = [str(home / "bin" / "python"), "-m", "exporter"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    where = "import exporter; print(exporter.__file__)"
    located = subprocess.run(
        [run[0], "-c", where], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert str(home) in located.stdout
    shown = subprocess.run(
        [*run, "--help"], capture_output=True, text=True, cwd=tmp_path, env=environment, check=True
    )
    assert "verify" in shown.stdout
    built = subprocess.run(
        [*run, "build", "-t", "android", "-t", "onnx"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "build" / "model-int8.pte").is_file()
    for kind in ("cpp", "web", "android"):
        command = [*run, "sample", kind, "--out", kind]
        made = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
        )
        assert made.returncode == 0, made.stderr
        assert _sources(tmp_path / kind) == _sources(made_here(kind, tmp_path))


def made_here(kind: str, folder: Path) -> Path:
    """The same app, from the repository."""
    out = folder / f"{kind}-from-here"
    make_sample(SampleRequest(kind=SampleKind(kind), build=folder / "build", out=out))
    return out


def _sources(app: Path) -> dict[str, bytes]:
    return {p.relative_to(app).as_posix(): p.read_bytes() for p in app.rglob("*") if p.is_file()}
