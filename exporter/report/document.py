"""A report as one JSON document: docs/report.md names every field."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from exporter.latency.records import to_json as profile_to_json
from exporter.manifest import to_json as manifest_to_json
from exporter.report.records import ArtifactReport, DeviceReport, Report


def document(report: Report) -> dict[str, Any]:
    """A JSON object of plain values; artifacts stand once, under `artifacts`."""
    manifest = manifest_to_json(report.manifest)
    records = {a["path"]: a for a in manifest.pop("artifacts")}
    own = {"manifest", "artifacts", "devices"}
    rest = {
        f.name: _plain(getattr(report, f.name))
        for f in dataclasses.fields(report)
        if f.name not in own
    }
    return {
        **rest,
        "manifest": manifest,
        "artifacts": [_artifact(a, records) for a in report.artifacts],
        "devices": [_device(d) for d in report.devices],
    }


def text(report: Report) -> str:
    """The document, indented, its keys in order."""
    return json.dumps(document(report), indent=2, sort_keys=True) + "\n"


def _artifact(artifact: ArtifactReport, records: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = _plain(artifact)
    return {**plain, "record": records[artifact.record.path]}


def _device(device: DeviceReport) -> dict[str, Any]:
    return {
        "file": device.file,
        "stale": list(device.stale),
        "profile": profile_to_json(device.profile),
    }


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=dataclasses.asdict))
