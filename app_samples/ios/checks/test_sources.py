"""The sources parse and the project names files that exist: what a run without a Mac can see."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from conftest import SAMPLE, flaws
from tree_sitter import Parser

SOURCES = [SAMPLE / "App/Sources", SAMPLE / "MNV2Core", SAMPLE / "checks/stand_ins"]
SWIFT = sorted(file for folder in SOURCES for file in folder.rglob("*.swift"))
CORE_IMPORTS = {"Foundation", "PackageDescription", "XCTest", "MNV2Core"}
LONGEST_LINE = 100


def constants(text: str) -> set[str]:
    """Names that a generated ModelContract declares."""
    return set(re.findall(r"static let (\w+)", text))


def test_the_sample_has_sources() -> None:
    """Or the tests below would pass on nothing."""
    assert len(SWIFT) > 40


@pytest.mark.parametrize("file", SWIFT, ids=lambda file: file.name)
def test_a_source_parses(file: Path, parse: Parser) -> None:
    """Without an error anywhere, and in lines that fit a screen."""
    text = file.read_bytes()
    assert not list(flaws(parse.parse(text).root_node))
    assert max(map(len, text.decode().splitlines())) <= LONGEST_LINE
    assert text.endswith(b"}\n") or text.endswith(b")\n")


@pytest.mark.parametrize("file", SWIFT, ids=lambda file: file.name)
def test_a_broken_source_does_not_parse(file: Path, parse: Parser) -> None:
    """A closing bracket less, or a word too much, is noticed."""
    text = file.read_bytes().rstrip()
    assert list(flaws(parse.parse(text[:-1]).root_node))
    assert list(flaws(parse.parse(text + b"\nfunc let } =").root_node))


@pytest.mark.parametrize("file", [f for f in SWIFT if "MNV2Core" in f.parts], ids=lambda f: f.name)
def test_the_core_needs_foundation_only(file: Path) -> None:
    """So it builds on Linux as well."""
    imports = re.findall(r"^(?:@\w+ )?import (\w+)", file.read_text(), re.MULTILINE)
    assert set(imports) <= CORE_IMPORTS
    if "Tests" not in file.parts:
        assert "XCTest" not in imports


def test_the_constants_parse_and_are_those_that_the_app_reads(
    apps: list[Path], parse: Parser
) -> None:
    """Of every made app."""
    used = {
        name for file in SWIFT for name in re.findall(r"ModelContract\.(\w+)", file.read_text())
    }
    assert used == {"manifestSHA256", "artifact", "artifactSHA256"}
    for app in apps:
        text = (app / "App/Sources/ModelContract.swift").read_text()
        assert not list(flaws(parse.parse(text.encode()).root_node))
        assert used <= constants(text)


def test_the_project_names_files_that_exist(apps: list[Path]) -> None:
    """Every path of project.yml, in every made app."""
    for app in apps:
        project = yaml.safe_load((app / "project.yml").read_text())
        (target,) = project["targets"].values()
        paths = [source["path"] for source in target["sources"]]
        assert all((app / path).is_dir() for path in paths)
        package = app / project["packages"]["MNV2Core"]["path"]
        assert (package / "Package.swift").is_file()
        (scheme,) = project["schemes"].values()
        assert set(scheme["build"]["targets"]) <= set(project["targets"])
        for test in scheme["test"]["targets"]:
            name, tests = test["package"].split("/")
            assert (app / project["packages"][name]["path"] / "Tests" / tests).is_dir()


def test_the_model_travels_as_it_is(apps: list[Path]) -> None:
    """A folder reference and untouched PNGs, or digests on the phone would be others."""
    (target,) = yaml.safe_load((apps[0] / "project.yml").read_text())["targets"].values()
    (model,) = [s for s in target["sources"] if s["path"] == "App/Resources/model"]
    assert (model["type"], model["buildPhase"]) == ("folder", "resources")
    settings = target["settings"]["base"]
    assert settings["COMPRESS_PNG_FILES"] is False
    assert settings["STRIP_PNG_TEXT"] is False


def test_the_deployment_target_is_the_builds(apps: list[Path]) -> None:
    """The app runs wherever its model does."""
    for app in apps:
        wanted = json.loads((app / "App/Resources/model/manifest.json").read_text())["options"]
        project = yaml.safe_load((app / "project.yml").read_text())
        held = project["options"]["deploymentTarget"]["iOS"]
        assert float(held) == float(wanted["deployment_target"].removeprefix("iOS"))


def test_no_permission_is_asked_for() -> None:
    """The photo picker needs none, and there is no camera."""
    assert "UsageDescription" not in (SAMPLE / "project.yml").read_text()
