"""Builds for the tests of reports: few artifacts, as each of them is hashed and compressed."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from exporter.manifest import read_manifest, write_manifest

KEPT = ("model-int8.pte", "model-int8.mlpackage", "model-int8.onnx", "model-fp32.onnx")


def small_copy(build: Path, folder: Path) -> Path:
    """A build directory that holds four of another's artifacts."""
    folder.mkdir(parents=True)
    manifest = read_manifest(build)
    for name in (*KEPT, "golden", *(g.path for g in manifest.graphs)):
        path = build / name
        if path.is_dir():
            shutil.copytree(path, folder / name)
        else:
            shutil.copy(path, folder / name)
    kept = dataclasses.replace(
        manifest,
        artifacts=tuple(a for a in manifest.artifacts if a.path in KEPT),
        pairs=tuple(p for p in manifest.pairs if {p.a, p.b} <= set(KEPT)),
    )
    write_manifest(kept, folder)
    return folder
