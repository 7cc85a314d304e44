"""What Gradle would read: the project's files agree with one another and with the exporter."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from exporter.palette import PALETTE

PROJECT = Path(__file__).parent.parent
MAIN = PROJECT / "app/src/main"
RESOURCES = MAIN / "res"
ANDROID = "{http://schemas.android.com/apk/res/android}"
SOURCES = sorted(MAIN.rglob("*.kt"))
NOT_CORE = re.compile(r"^import (android|java\.awt|javax)", re.MULTILINE)


def versions() -> dict[str, str]:
    """Of gradle/libs.versions.toml."""
    catalog = tomllib.loads((PROJECT / "gradle/libs.versions.toml").read_text())
    found: dict[str, str] = catalog["versions"]
    return found


def test_the_runtime_is_of_the_release_that_wrote_the_pte() -> None:
    """The exporter's executorch and the app's, major and minor."""
    installed = importlib.metadata.version("executorch").split(".")
    assert versions()["executorch"].split(".")[:2] == installed[:2]


def test_the_readme_names_the_pinned_versions() -> None:
    """Facts live once; where they are repeated they agree."""
    readme = (PROJECT / "README.md").read_text()
    for version in versions().values():
        assert version in readme


def test_nothing_is_permitted() -> None:
    """No permission and no component that other apps reach, but for the launcher's."""
    root = ElementTree.parse(MAIN / "AndroidManifest.xml").getroot()
    assert [child.tag for child in root] == ["application"]
    exported = [
        activity.get(f"{ANDROID}name")
        for activity in root.iter("activity")
        if activity.get(f"{ANDROID}exported") != "false"
    ]
    assert exported == ["io.github.mnv2.app.MainActivity"]
    assert not list(root.iter("provider")) + list(root.iter("service"))


def test_components_are_classes() -> None:
    """Every name in the manifest is a source file."""
    root = ElementTree.parse(MAIN / "AndroidManifest.xml").getroot()
    names = [element.get(f"{ANDROID}name", "") for element in root.iter()]
    ours = [name for name in names if name.startswith("io.github.mnv2.")]
    assert len(ours) == 4
    for name in ours:
        assert (MAIN / "java" / f"{name.replace('.', '/')}.kt").is_file()


def test_no_resource_is_left_over() -> None:
    """Every string is shown somewhere."""
    strings = ElementTree.parse(RESOURCES / "values/strings.xml").getroot()
    text = "".join(file.read_text() for file in [*SOURCES, *MAIN.rglob("*.xml")])
    for string in strings:
        name = string.get("name", "")
        assert f"R.string.{name}" in text or f"@string/{name}" in text, name


def test_colors_are_the_exporters() -> None:
    """A class has one color in every picture, whoever draws it."""
    text = (MAIN / "java/io/github/mnv2/app/Palette.kt").read_text()
    colors = re.findall(r"Color\.rgb\((\d+), (\d+), (\d+)\)", text)
    assert tuple(tuple(map(int, color)) for color in colors) == PALETTE


def test_layouts_can_be_read_aloud_and_enlarged() -> None:
    """Sizes of text are the person's, words are resources, containers scroll."""
    for file in sorted((RESOURCES / "layout").iterdir()):
        root = ElementTree.parse(file).getroot()
        assert root.tag == "ScrollView"
        for element in root.iter():
            assert f"{ANDROID}textSize" not in element.attrib
            assert element.get(f"{ANDROID}layout_height") in ("match_parent", "wrap_content")
            assert element.get(f"{ANDROID}text", "@string/").startswith("@string/")
            if element.tag == "TextView":
                assert "textAppearance" in element.get(f"{ANDROID}textAppearance", "")


def test_the_core_needs_no_phone() -> None:
    """Nothing of Android but org.json, so that it runs on any JVM."""
    core = [file for file in SOURCES if file.parent.name == "core"]
    assert core
    for file in core:
        assert not NOT_CORE.search(file.read_text()), file


@pytest.mark.parametrize("file", sorted(PROJECT.glob("**/*.kts")), ids=lambda path: path.name)
def test_gradle_scripts_parse(file: Path) -> None:
    """Gradle itself never read them here."""
    sys.path.insert(0, os.environ["ANDROID_TREE_SITTER"])
    import tree_sitter
    import tree_sitter_kotlin

    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_kotlin.language()))
    assert not parser.parse(file.read_bytes()).root_node.has_error


def test_gradle_and_the_checks_agree() -> None:
    """On the oldest and the newest Android, and the package."""
    gradle = (PROJECT / "app/build.gradle.kts").read_text()
    check = (PROJECT / "check.sh").read_text()
    for key, option in (("minSdk", "--min-sdk-version"), ("targetSdk", "--target-sdk-version")):
        [level] = re.findall(rf"{key} = (\d+)", gradle)
        assert f"{option} {level}" in check
    assert 'namespace = "io.github.mnv2.app"' in gradle
    assert 'package="io.github.mnv2.app"' in check
