"""The generated source of an app: the digests that pin its model, and the preprocessing constants.

An app reads its model's facts from `manifest.json`; what is compiled in says which manifest that
must be, so that a model that was exchanged behind the code's back is noticed. Camera streams and
other things that are set up before a file is read take their sizes from here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from exporter.errors import ArtifactError
from exporter.manifest import ArtifactRecord, Manifest
from exporter.sample_kinds import SampleKind

Value = str | int | tuple[float, ...]
SAFE = re.compile(r"[\w.-]+")  # text that needs no escapes in any language
NOTE = "Written by `mnv2-export sample`; `--update` writes it anew. Do not edit."


def constants(manifest: Manifest, record: ArtifactRecord, manifest_sha256: str) -> dict[str, Value]:
    """By name; floats are exact decimal forms of float32 numbers."""
    contract = manifest.spec.preprocess
    found: dict[str, Value] = {
        "MANIFEST_SHA256": manifest_sha256,
        "ARTIFACT": record.path,
        "ARTIFACT_SHA256": record.sha256,
        "TASK": str(manifest.spec.task),
        "INPUT_SIZE": contract.crop_size,
        "RESIZE_RULE": str(contract.resize_rule),
        "RESIZE_SIZE": contract.resize_size,
        "RESIZE_FILTER": str(contract.resize_filter),
        "CHANNEL_ORDER": str(contract.channel_order),
        "SCALE": tuple(manifest.normalize["scale"]),
        "BIAS": tuple(manifest.normalize["bias"]),
    }
    for name, value in found.items():
        if isinstance(value, str) and not SAFE.fullmatch(value):
            raise ArtifactError(f"manifest.json: odd characters in {name.lower()} {value!r}")
    return found


def source(kind: SampleKind, values: Mapping[str, Value]) -> str:
    """The file's text in the app's language."""
    return WRITERS[kind](values)


def _cpp(values: Mapping[str, Value]) -> str:
    def declared(name: str, value: Value) -> str:
        if isinstance(value, tuple):
            numbers = ", ".join(f"{number!r}f" for number in value)
            return f"inline constexpr float {name}[{len(value)}] = {{{numbers}}};"
        kind = "int" if isinstance(value, int) else "const char*"
        return f"inline constexpr {kind} {name} = {json.dumps(value)};"

    lines = [declared("k" + _joined(name, "Sha256"), value) for name, value in values.items()]
    opening = f"// {NOTE}\n#pragma once\n\nnamespace mnv2::contract {{\n"
    return _text(opening, *lines, "\n}  // namespace mnv2::contract")


def _javascript(values: Mapping[str, Value]) -> str:
    lines = [f"export const {name} = {json.dumps(value)};" for name, value in values.items()]
    return _text(f"// {NOTE}", *(line.replace('"', "'") for line in lines))


def _kotlin(values: Mapping[str, Value]) -> str:
    def declared(name: str, value: Value) -> str:
        if isinstance(value, tuple):
            numbers = ", ".join(f"{number!r}f" for number in value)
            return f"    val {name} = floatArrayOf({numbers})"
        return f"    const val {name} = {json.dumps(value)}"

    lines = [declared(name, value) for name, value in values.items()]
    opening = f"package io.github.mnv2.app\n\n/** {NOTE} */\nobject ModelContract {{"
    return _text(opening, *lines, "}")


def _swift(values: Mapping[str, Value]) -> str:
    def declared(name: str, value: Value) -> str:
        if isinstance(value, tuple):
            numbers = ", ".join(repr(number) for number in value)
            return f"    static let {name}: [Float] = [{numbers}]"
        return f"    static let {name} = {json.dumps(value)}"

    def named(name: str) -> str:
        text = _joined(name, "SHA256")
        return text[0].lower() + text[1:]

    lines = [declared(named(name), value) for name, value in values.items()]
    return _text(f"/// {NOTE}\nenum ModelContract {{", *lines, "}")


def _joined(name: str, digest: str) -> str:
    """INPUT_SIZE -> InputSize."""
    words = [digest if word == "SHA256" else word.capitalize() for word in name.split("_")]
    return "".join(words)


def _text(*lines: str) -> str:
    return "\n".join(lines) + "\n"


WRITERS: dict[SampleKind, Callable[[Mapping[str, Value]], str]] = {
    SampleKind.ANDROID: _kotlin,
    SampleKind.IOS: _swift,
    SampleKind.WEB: _javascript,
    SampleKind.CPP: _cpp,
}
