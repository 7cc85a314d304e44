"""A fresh `.mlpackage` made canonical: written twice, the same model is the same bytes.

The package's identifiers come from its paths instead of a random source, the conversion date is
left out, protobuf maps are ordered.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from targets.mil.package import DATA, MANIFEST

DATE = "com.github.apple.coremltools.conversion_date"


def canonicalize(path: Path, metadata: Mapping[str, str], spec: Any) -> None:
    """Rewrite a fresh package's manifest, and its model file with `spec` plus user metadata.

    Its files become readable as other files are; coremltools copies them from private temporaries.
    """
    manifest_path = path / MANIFEST
    manifest = json.loads(manifest_path.read_text())
    entries, root = manifest["itemInfoEntries"], manifest["rootModelIdentifier"]
    renamed = {old: str(uuid.uuid5(uuid.NAMESPACE_URL, e["path"])) for old, e in entries.items()}
    manifest["itemInfoEntries"] = {renamed[old]: entry for old, entry in entries.items()}
    manifest["rootModelIdentifier"] = renamed[root]
    manifest_path.write_text(json.dumps(manifest, indent=4, sort_keys=True) + "\n")
    spec.description.metadata.userDefined.pop(DATE, None)
    spec.description.metadata.userDefined.update(metadata)
    model = path / DATA / entries[root]["path"]
    model.write_bytes(spec.SerializeToString(deterministic=True))
    for file in path.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)
