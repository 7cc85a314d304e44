"""Writes the reports that look.test.mjs opens: python reports.py BUILDS OUT."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from conftest import invoke
from made_profiles import write_profiles

from exporter.manifest import Failure, Manifest, read_manifest, write_manifest
from exporter.spec import HeadLayer, Precision
from exporter.verdicts import Outcome

EVIL = "<script>document.title = 'taken over'</script><img src=https://example.org/x.png>"


def main(builds: Path, out: Path) -> None:
    """One page for each task, and one of a build that has everything wrong with it."""
    shutil.rmtree(out / "builds", ignore_errors=True)
    shutil.rmtree(out / "pages", ignore_errors=True)
    for task in ("classification", "detection", "segmentation"):
        folder = shutil.copytree(builds / task, out / "builds" / task)
        if task != "segmentation":  # which stays unprofiled
            write_profiles(folder)
        write(folder, out / "pages" / f"{task}.html")
    troubled = shutil.copytree(builds / "classification", out / "builds" / "troubled")
    write_profiles(troubled)
    trouble(troubled)
    write(troubled, out / "pages" / "troubled.html")


def trouble(folder: Path) -> None:
    """A file that changed, one that was not run, a target that failed, a thousand odd labels."""
    write_manifest(troubled_manifest(read_manifest(folder)), folder)
    changed = folder / "model-int8.onnx"
    changed.write_bytes(changed.read_bytes()[:-1])


def troubled_manifest(manifest: Manifest) -> Manifest:
    """As a hostile checkpoint and a broken toolchain might have made it."""
    labels = (EVIL, "unbroken" * 40, *(f"label {i}" for i in range(998)))
    spec = dataclasses.replace(manifest.spec, labels=labels, head=(HeadLayer(units=1000),))
    artifacts = tuple(
        dataclasses.replace(
            a,
            parity=dataclasses.replace(
                a.parity, outcome=Outcome.NOT_RUN, reason=f"no phone {EVIL}"
            ),
        )
        if a.target == "ios"
        else a
        for a in manifest.artifacts
    )
    return dataclasses.replace(
        manifest,
        spec=spec,
        artifacts=artifacts,
        source=dataclasses.replace(manifest.source, name=EVIL),
        failures=(Failure(target="litert", precision=Precision.INT8, error="long " * 60 + EVIL),),
        float_accuracy=None,
    )


def write(build: Path, page: Path) -> None:
    """Fail as the command does."""
    result = invoke("report", build, "--out", page, "--images", 4)
    if result.exit_code:
        sys.exit(result.output)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
