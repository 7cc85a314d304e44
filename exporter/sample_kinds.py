"""The app samples: which artifact each runs, and where its files go in the app."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from exporter.spec import Rules


class SampleKind(StrEnum):
    """The folders of `app_samples`."""

    ANDROID = "android"
    IOS = "ios"
    WEB = "web"
    CPP = "cpp"


@dataclass(frozen=True, kw_only=True)
class SampleInfo:
    """One static row."""

    kind: SampleKind
    target: str  # whose artifact it runs
    suffix: str  # of that artifact
    model: str  # the app's folder for artifact, manifest, labels and golden vectors
    constants: str  # the app's generated source
    next_step: str  # what a person types in the app's folder, or opens
    int8_rules: Rules = Rules.XNNPACK  # whose rounding the app's own runtime follows


SAMPLES = {
    row.kind: row
    for row in (
        SampleInfo(
            kind=SampleKind.ANDROID,
            target="android",
            suffix=".pte",
            model="app/src/main/assets/model",
            constants="app/src/main/java/io/github/mnv2/app/ModelContract.kt",
            next_step="open the folder in Android Studio, or: gradle installDebug",
        ),
        SampleInfo(
            kind=SampleKind.IOS,
            target="ios",
            suffix=".mlpackage",
            model="App/Resources/model",
            constants="App/Sources/ModelContract.swift",
            next_step="xcodegen && open *.xcodeproj",
        ),
        SampleInfo(
            kind=SampleKind.WEB,
            target="onnx",
            suffix=".onnx",
            model="public/model",
            constants="public/model_contract.js",
            next_step="npm install && npm start",
            int8_rules=Rules.ORT_WASM,
        ),
        SampleInfo(
            kind=SampleKind.CPP,
            target="android",
            suffix=".pte",
            model="model",
            constants="src/model_contract.h",
            next_step="see README.md: three commands build and run it",
        ),
    )
}
