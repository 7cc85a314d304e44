"""Packages come up empty, and whole for whoever asks for a name of theirs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from targets.waiting import waiting


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "slow_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("from slow_package.large import answer\n")
    (folder / "large.py").write_text("answer = 42\n")
    (folder / "small.py").write_text("tiny = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("slow_package", "slow_package.large", "slow_package.small"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return folder.name


def test_a_module_is_imported_without_its_package(package: str) -> None:
    with waiting([package]):
        from slow_package import small  # type: ignore[import-not-found]
    assert small.tiny == 1
    assert "slow_package.large" not in sys.modules
    from slow_package import answer

    assert answer == 42


def test_a_name_that_is_nowhere_is_an_error_as_ever(package: str) -> None:
    with waiting([package]):
        import slow_package
    with pytest.raises(AttributeError, match="nowhere"):
        slow_package.nowhere.at_all()


def test_what_was_imported_before_stays_as_it_is(package: str) -> None:
    import slow_package

    with waiting([package]):
        import slow_package.small
    assert slow_package.answer == 42
    assert not [finder for finder in sys.meta_path if type(finder).__module__ == "targets.waiting"]


def loaded(code: str, *packages: str) -> list[str]:
    """Which of the packages a fresh process has imported after running the code."""
    ask = f"{code}\nimport sys\nprint(*(p for p in {packages!r} if p in sys.modules))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    return done.stdout.split()


EMIT = """
from pathlib import Path
from tempfile import TemporaryDirectory
import numpy as np
from exporter.fold import fold_core
from exporter.models import make_network
from exporter.preprocess import normalize
from exporter.published import default_spec
from exporter.spec import Precision
from exporter.target import ExportOptions
from exporter.tasks import Task
from targets import TargetName, get

spec = default_spec(Task.CLASSIFICATION, width=0.35, resolution=32, classes=2)
graph = fold_core(make_network(spec).eval())
image = normalize(np.zeros((1, 32, 32, 3), np.uint8), spec.preprocess)
target = get(TargetName("{name}"))
with TemporaryDirectory() as folder:
    path = Path(folder) / f"tiny{{target.info.suffix_for(ExportOptions())}}"
    target.backend.emit(graph, Precision.FP32, ExportOptions(), path)
    target.backend.load(path).results(image)
"""
SDKS = ("executorch", "coremltools", "onnx", "ai_edge_litert")
UNUSED = ("executorch.exir.program", "torch.distributed.fsdp", "torchao", "scipy", "sklearn")


@pytest.mark.parametrize(
    ("name", "own"), [("onnx", "onnx"), ("android", "executorch"), ("ios", "coremltools")]
)
def test_writing_and_running_imports_no_more_than_it_takes(name: str, own: str) -> None:
    assert loaded(EMIT.format(name=name), *SDKS, *UNUSED) == [own]
