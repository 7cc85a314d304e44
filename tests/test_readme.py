"""What the README says is what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import invoke
from readme_matrix import exit_code_table, target_table

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SAMPLES = sorted((ROOT / "app_samples").glob("*/README.md"))
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "app_samples/README.md"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_tables_are_the_generated_ones() -> None:
    assert target_table() in README
    assert exit_code_table() in README


def test_first_screen_has_two_commands() -> None:
    """Each one line; .ci/run executes them as they stand here."""
    commands = [line for line in README.splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert all(README[: README.index(command)].count("\n") < 40 for command in commands)


def test_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library example, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    (example,) = (block for block in blocks("python") if "BuildRequest" in block)
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})
    assert (tmp_path / "build" / "model-int8.onnx").is_file()


def test_every_command_and_option_that_is_shown_exists() -> None:
    """Each `mnv2-export` line of the README: its command and its long options are in --help."""
    shown = re.findall(r"^(?:\.venv/bin/)?mnv2-export ([\w-]+)(.*)$", README, re.MULTILINE)
    assert {command for command, _ in shown} >= {
        "build",
        "verify",
        "inspect",
        "predict",
        "targets",
        "describe",
        "coreml-run",
        "evaluate",
    }
    for command, rest in shown:
        text = invoke(command, "--help").stdout
        for option in re.findall(r"--[a-z-]+", rest.split("#")[0]):
            assert option in text, (command, option)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)", document.read_text()):
        if not link.startswith("http"):
            assert (document.parent / link).exists(), link


@pytest.mark.parametrize("document", SAMPLES, ids=lambda p: p.parent.name)
def test_a_samples_page_is_whole_in_an_app(document: Path) -> None:
    """`mnv2-export sample` copies it away from its neighbors."""
    for link in re.findall(r"\]\(([^)#]+)", document.read_text()):
        assert link.startswith("https://") or (document.parent / link).exists(), link
        assert not link.startswith(".."), link


def test_manifest_document_names_every_field(demo_build) -> None:
    import json

    text = (ROOT / "docs" / "manifest.md").read_text()
    manifest = json.loads((demo_build.folder / "manifest.json").read_text())
    for field in (*manifest, *manifest["artifacts"][0], *manifest["pairs"][0]):
        assert f"`{field}`" in text or f"`{field}." in text, field
