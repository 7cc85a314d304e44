"""`mnv2-export report`: formats, places, and what is refused before any work."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
from conftest import invoke
from reported import small_copy

from exporter.report import write
from exporter.report.formats import IMAGES


@pytest.fixture
def build(demo_build, tmp_path: Path) -> Path:
    return small_copy(demo_build.folder, tmp_path / "build")


def refused(code: int, match: str, *arguments: object) -> None:
    result = invoke("report", *arguments)
    assert result.exit_code == code, result.output
    assert re.search(match, result.stderr), result.stderr
    assert "Traceback" not in result.output


def test_standard_output_gets_the_report_and_nothing_else(build: Path) -> None:
    result = invoke("report", build, "--out", "-", "--format", "json", "--images", 0)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["verdict"]["outcome"] == "same"
    assert "reading what is inside" in result.stderr


def test_json_prints_one_document_about_the_file(build: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "report.md"
    result = invoke("report", build, "--out", out, "--images", 0, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["format"] == "markdown"
    assert told["size_bytes"] == out.stat().st_size
    assert told["verdict"]["same"] == 4


def test_both_on_standard_output_are_refused(build: Path) -> None:
    refused(5, "both write to standard output", build, "-o", "-", "--json",
            "--format", "json")  # fmt: skip


def test_a_suffix_that_says_nothing_is_refused(build: Path, tmp_path: Path) -> None:
    refused(5, "no suffix says which format", build, "-o", tmp_path / "report.txt")
    refused(5, "standard output: no suffix", build, "-o", "-")


@pytest.mark.parametrize("name", ["manifest.json", "golden/expected.json"])
def test_files_of_the_build_are_not_overwritten(build: Path, name: str) -> None:
    before = (build / name).read_bytes()
    refused(9, "a file of the build itself", build, "-o", build / name)
    assert (build / name).read_bytes() == before


def test_a_report_beside_the_artifacts_may_be_written_again(build: Path) -> None:
    out = build / "report.md"
    for _ in range(2):
        result = invoke("report", build, "-o", out, "--images", 0)
        assert result.exit_code == 0, result.output
    assert out.read_text().startswith("### ")


def test_a_damaged_profile_is_named(build: Path, tmp_path: Path) -> None:
    (build / "profiles").mkdir()
    (build / "profiles" / "host.json").write_text("{}")
    refused(9, r"host\.json: damaged profile", build, "-o", tmp_path / "r.md", "--images", 0)
    assert not (tmp_path / "r.md").exists()


def test_a_directory_is_no_place(build: Path, tmp_path: Path) -> None:
    refused(9, "is a directory", build, "-o", tmp_path, "--format", "json")
    (tmp_path / "file").write_text("")
    refused(9, "cannot be written", build, "-o", tmp_path / "file" / "r.md", "--images", 0)


@pytest.mark.parametrize("lost", ["jinja2", "matplotlib"])
def test_without_its_packages_html_says_the_cure(build, tmp_path, monkeypatch, lost) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        write.importlib.util, "find_spec", lambda name: None if name == lost else found(name)
    )
    refused(6, rf"{lost}[\s\S]*pip install", build, "-o", tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()
    assert invoke("report", build, "-o", tmp_path / "r.md", "--images", 0).exit_code == 0


def test_the_options_are_told_in_the_documents() -> None:
    told = (Path(__file__).parents[1] / "docs" / "report.md").read_text()
    assert f"{IMAGES} golden images" in told


@pytest.mark.slow
@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_every_task_has_a_report(task: str, tmp_path: Path) -> None:
    build = tmp_path / "build"
    made = invoke("build", "--demo", task, "-t", "onnx", "-p", "int8", "-p", "fp32", "-o", build)
    assert made.exit_code == 0, made.output
    for suffix in ("html", "md", "json"):
        out = tmp_path / f"report.{suffix}"
        result = invoke("report", build, "-o", out, "--images", 1)
        assert result.exit_code == 0, result.output
    text = (tmp_path / "report.html").read_text()
    assert {"detection": "mAP50", "segmentation": "mIoU"}[task] in text
