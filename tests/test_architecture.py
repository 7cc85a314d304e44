"""The import arrow: commands -> pipeline -> (targets given as values) -> graph.

ruff's banned-api says the same to an editor; its exceptions are whole files, this test's are not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(p for folder in ("exporter", "targets") for p in (ROOT / folder).rglob("*.py"))
OTHERS = sorted(
    p for folder in ("tests", "benchmarks", "tools") for p in (ROOT / folder).rglob("*.py")
)
# What a target may know of the exporter (CONTRIBUTING.md says so).
OPEN_TO_TARGETS = {
    "target", "timing", "graph", "manifest", "metadata", "files", "errors", "spec", "verdicts",
    "metrics", "threads", "findings", "tasks", "operations", "outputs", "results", "detection",
}  # fmt: skip
# Core ML's integer mode lets the golden compute what a package says, layer by layer; a target that
# emitted from the golden, or ran it instead of its runtime, would vouch for itself.
RUNS_THE_GOLDEN = "targets/mil/integers.py"


def imported(path: Path) -> Iterator[str]:
    """Dotted names of everything that a file imports, inside functions and for types as well."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def roots(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def within(folder: str) -> list[Path]:
    return [path for path in SOURCES if named(path).startswith(folder)]


@pytest.mark.parametrize("path", within("exporter/"), ids=named)
def test_only_the_command_line_imports_targets(path: Path) -> None:
    assert ("targets" in roots(path)) == (named(path) == "exporter/known_targets.py")


@pytest.mark.parametrize("path", within("exporter/"), ids=named)
def test_only_commands_know_the_known_targets(path: Path) -> None:
    """Behind them targets are values, so a test can hand over others."""
    if any(name.startswith("exporter.known_targets") for name in imported(path)):
        assert path.stem.endswith("_commands")


@pytest.mark.parametrize("path", within("targets/"), ids=named)
def test_a_target_knows_only_the_records_it_is_given(path: Path) -> None:
    names = [name for name in imported(path) if name.partition(".")[0] == "exporter"]
    known = {name.split(".")[1] for name in names}
    rules = {"golden", "resize"} if named(path) == RUNS_THE_GOLDEN else set()
    assert known - rules <= OPEN_TO_TARGETS


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_only_the_ui_draws(path: Path) -> None:
    if not named(path).startswith("exporter/ui/"):
        assert "rich" not in roots(path)


def test_nobody_imports_click() -> None:
    """typer vendors it."""
    assert [named(path) for path in (*SOURCES, *OTHERS) if "click" in roots(path)] == []


def test_the_files_are_found() -> None:
    assert {"exporter/cli.py", "exporter/ui/__init__.py", "targets/android.py"} <= set(
        map(named, SOURCES)
    )
