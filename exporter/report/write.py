"""A report's text, and its way into a file."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from exporter.errors import ArtifactError, MissingDependencyError
from exporter.files import write_atomic
from exporter.latency.records import FOLDER as PROFILES
from exporter.layout import GOLDEN
from exporter.manifest import FILE_NAME, read_manifest
from exporter.report.formats import ReportFormat
from exporter.report.records import Report

PACKAGES = {"jinja2": "jinja2", "matplotlib": "matplotlib"}  # by import name
CURE = "pip install 'mnv2-export[report]', or choose --format markdown or json"


def check_packages(kind: ReportFormat) -> None:
    """Raise MissingDependencyError before any work, where HTML lacks a package."""
    if kind is not ReportFormat.HTML:
        return
    for module, name in PACKAGES.items():
        if importlib.util.find_spec(module) is None:
            raise MissingDependencyError(f"an HTML report needs the package {name}", CURE)


def check_place(out: Path, build: Path) -> None:
    """Raise ArtifactError where writing would destroy what `build` wrote, or cannot be done."""
    if out.is_dir():
        raise ArtifactError(f"{out}: is a directory", "name a file, such as report.html")
    place, folder = out.resolve(), build.resolve()
    if folder not in place.parents:
        return
    manifest = read_manifest(build)
    own = {FILE_NAME, GOLDEN, PROFILES, *(g.path for g in manifest.graphs)}
    own |= {a.path for a in manifest.artifacts}
    if place.relative_to(folder).parts[0] in own:
        raise ArtifactError(
            f"{out}: is a file of the build itself", "write the report somewhere else"
        )


def rendered(report: Report, kind: ReportFormat) -> str:
    """The report's text; for HTML `check_packages` was asked before."""
    if kind is ReportFormat.HTML:
        from exporter.report.page import page

        return page(report)
    if kind is ReportFormat.MARKDOWN:
        from exporter.report.markdown import markdown

        return markdown(report)
    from exporter.report.document import text

    return text(report)


def save(text: str, out: Path) -> None:
    """Write the whole file or nothing; raises ArtifactError."""
    try:
        write_atomic(out, text.encode("utf-8"))
    except OSError as error:
        raise ArtifactError(
            f"{out}: cannot be written ({error.strerror})", "choose another --out"
        ) from None
