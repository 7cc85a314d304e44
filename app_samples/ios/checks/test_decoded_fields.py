"""What Manifest.swift and Golden.swift decode is what `build` writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import SAMPLE

CORE = SAMPLE / "MNV2Core/Sources/MNV2Core"
TEXT = "\n".join((CORE / name).read_text() for name in ("Manifest.swift", "Golden.swift"))
# A structure's name, then what its braces hold up to the one that closes it.
STRUCTURE = re.compile(r"^( *)(?:public )?struct (\w+): Decodable.*?\{\n(.*?)^\1\}", re.M | re.S)
PROPERTY = re.compile(r"^ +(?:public )?let (\w+): ([^/\n]+?) *(?://.*)?$", re.MULTILINE)
KEYS = re.compile(r"enum CodingKeys: String, CodingKey \{\n(.*?)\}", re.DOTALL)
KEY = re.compile(r"case (\w+)(?: = \"(\w+)\")?")
ENUMS = re.compile(r"enum (\w+): String, Decodable[^{]*\{\n? *case ([\w, ]+)(.*?)\n\}", re.DOTALL)
PLAIN = {"Int": int, "String": str, "Bool": bool, "Double": (int, float), "Float": (int, float)}


def structures(text: str) -> dict[str, dict[str, tuple[str, str]]]:
    """By name: of every property its JSON key and its Swift type."""
    found = {}
    for _, name, body in STRUCTURE.findall(text):
        (keys,) = KEYS.findall(_without_nested(body))
        written = {prop: key or prop for prop, key in KEY.findall(keys)}
        held = dict(PROPERTY.findall(_without_nested(body)))
        assert held.keys() == written.keys(), name
        found[name] = {prop: (written[prop], kind) for prop, kind in held.items()}
    found |= structures_inside(text)
    return found


def structures_inside(text: str) -> dict[str, dict[str, tuple[str, str]]]:
    """Those that lie inside others."""
    inner = [body for _, _, body in STRUCTURE.findall(text) if STRUCTURE.search(body)]
    return {name: value for body in inner for name, value in structures(body).items()}


def _without_nested(body: str) -> str:
    return STRUCTURE.sub("", body)


STRUCTURES = structures(TEXT)


def cases(name: str) -> set[str]:
    """The values of an enumeration of the core."""
    for file in sorted(CORE.glob("*.swift")):
        for found, first, rest in ENUMS.findall(file.read_text()):
            if found == name:
                more = re.findall(r"^    case ([\w, ]+)", rest, re.MULTILINE)
                return {case.strip() for line in (first, *more) for case in line.split(",")}
    raise AssertionError(name)


def check(value: Any, kind: str, where: str) -> None:
    """Raise where a JSON value is not of a Swift type."""
    if kind.endswith("?"):
        if value is not None:
            check(value, kind[:-1], where)
    elif kind.startswith("[String: "):
        assert isinstance(value, dict), where
        for key, item in value.items():
            check(item, kind[len("[String: ") : -1], f"{where}.{key}")
    elif kind.startswith("["):
        assert isinstance(value, list), where
        for item in value:
            check(item, kind[1:-1], f"{where}[]")
    elif kind in PLAIN:
        assert isinstance(value, PLAIN[kind]), where
        assert isinstance(value, bool) == (kind == "Bool"), where
    elif kind in STRUCTURES:
        for key, held in STRUCTURES[kind].values():
            assert key in value or held.endswith("?"), f"{where}.{key}"
            check(value.get(key), held, f"{where}.{key}")
    else:
        assert value in cases(kind), where


def test_every_structure_is_found() -> None:
    """Or the tests below would pass on nothing."""
    assert set(STRUCTURES) == {
        "Manifest", "Spec", "Preprocess", "Affine", "DetectionSpec", "Options", "Artifact",
        "SelfTestRecord", "OutputRecord", "Golden", "Input", "Fingerprint",
    }  # fmt: skip
    assert cases("ModelTask") == {"classification", "detection", "segmentation"}
    assert cases("ResizeRule") == {"shortest", "stretch"}
    assert cases("ResizeFilter") == {"bilinear", "bicubic"}


def test_every_builds_manifest_is_decoded(apps: list[Path]) -> None:
    """Every field is there, in the type that the app expects."""
    for app in apps:
        model = app / "App/Resources/model"
        check(json.loads((model / "manifest.json").read_text()), "Manifest", app.name)
        check(json.loads((model / "golden/expected.json").read_text()), "Golden", app.name)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda m: m.pop("golden_sha256"),
        lambda m: m["spec"]["preprocess"].update(resize_rule="fit"),
        lambda m: m["artifacts"][0]["self_test"]["outputs"][0].update(exact=1),
        lambda m: m["options"].update(batch="1"),
    ],
)
def test_a_field_that_is_missing_or_of_another_type_is_noticed(
    apps: list[Path], break_it: Any
) -> None:
    """The check above can fail."""
    manifest = json.loads((apps[0] / "App/Resources/model/manifest.json").read_text())
    break_it(manifest)
    with pytest.raises(AssertionError):
        check(manifest, "Manifest", "manifest")
