"""What is pushed: the runner and a model folder whose images any build of the runner can read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from exporter.files import sha256
from exporter.manifest import FILE_NAME, ArtifactRecord
from exporter.vectors import EXPECTED, Vectors
from exporter.vectors import FOLDER as GOLDEN

MODEL = "model"
RUNNER = "runner"


def stage_model(
    build: Path, artifacts: Sequence[ArtifactRecord], vectors: Vectors, folder: Path
) -> None:
    """Copy what the runner needs of a build directory.

    The golden images become PPM, since a runner built for a phone may know no PNG; the manifest
    states the digest of the folder that they are in.
    """
    golden = folder / GOLDEN
    golden.mkdir(parents=True)
    for record in artifacts:
        shutil.copy(build / record.path, folder / record.path)
    expected = json.loads((build / GOLDEN / EXPECTED).read_text())
    for entry, pixels in zip(expected["inputs"], vectors.pixels, strict=True):
        entry["file"] = Path(entry["file"]).with_suffix(".ppm").name
        height, width, _ = pixels.shape
        (golden / entry["file"]).write_bytes(b"P6 %d %d 255\n" % (width, height) + pixels.tobytes())
    (golden / EXPECTED).write_text(json.dumps(expected))
    manifest = json.loads((build / FILE_NAME).read_text())
    manifest["golden_sha256"] = sha256(golden)
    (folder / FILE_NAME).write_text(json.dumps(manifest))


def results_bytes(artifacts: Sequence[ArtifactRecord], images: int) -> int:
    """At most so much do raw results of all golden images take, one artifact's at a time."""
    sizes = [0]
    for record in artifacts:
        values = 0
        for output in record.self_test.outputs if record.self_test else ():
            count = 4
            for side in output.shape:
                count *= side
            values += count
        sizes.append(values * images)
    return max(sizes)
