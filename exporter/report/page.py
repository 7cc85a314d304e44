"""A report as one HTML file that needs no network: styles, script and pictures are inside.

Labels, names and reasons come from checkpoints and other people's tools: jinja2 escapes them all,
and the page's policy lets no script run but the one whose digest it names.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from collections.abc import Iterable
from typing import Any

from exporter.report import plots, views, words
from exporter.report.records import Report
from exporter.verdicts import AGREEMENTS, Quality, Score

CONTENTS = (
    ("artifacts", "Artifacts"),
    ("parity", "Parity"),
    ("accuracy", "Accuracy"),
    ("signal", "Signal by layer"),
    ("latency", "Latency"),
    ("slowest", "Slowest layers"),
    ("size", "Size by layer"),
    ("preprocessing", "Preprocessing"),
    ("labels", "Labels"),
    ("load", "Load it"),
    ("provenance", "Hashes"),
)


def page(report: Report) -> str:
    """The whole file; equal reports give equal text."""
    template = _environment().get_template("page.html.jinja")
    text: str = template.render(_context(report))
    return text.strip() + "\n"


def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("exporter.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "slug": lambda value: str(value).replace(" ", "-"),
        "megabytes": words.megabytes,
        "milliseconds": words.milliseconds,
        "interval": words.interval,
        "figure": words.figure,
        "points": words.points,
        "counted": words.counted,
    }
    environment.globals |= {
        "symbols": {str(outcome): symbol for outcome, symbol in words.SYMBOLS.items()},
        "parity_figure": words.parity_figure,
    }
    return environment


def _context(report: Report) -> dict[str, Any]:
    manifest = report.manifest
    scored = [a for a in report.artifacts if a.figures]
    judged = [a.record for a in report.artifacts if a.record.quality is not None]
    named = report.float_figures or (scored[0].figures if scored else ())
    quantization = manifest.quantization
    script, styles = _resource("page.js"), _resource("page.css")
    return {
        "report": report,
        "manifest": manifest,
        "title": words.title(manifest.spec),
        "source": words.source(manifest),
        "contents": CONTENTS,
        "keys": views.keys(report),
        "matrices": views.matrices(manifest),
        "gated": [a.record for a in report.artifacts if a.record.parity.gates],
        "score_names": [f.name for f in named],
        "scored": scored,
        "scored_images": _images(a.record.accuracy for a in scored),
        "has_intervals": any(f.low is not None for a in scored for f in a.figures),
        "judged": judged,
        "judged_images": _images(record.quality for record in judged),
        "agreement": AGREEMENTS[manifest.spec.task],
        "quantization_told": quantization.told(manifest.spec.task) if quantization else "",
        "signal_picture": plots.signal(report.layers) if report.signal.images else None,
        "devices": views.devices(report),
        "slowest": views.slow_layers(report),
        "size_picture": plots.weights(report.layers),
        "graph_precision": views.graph_precision(manifest),
        "loadings": views.loadings(report),
        "hashes": views.hashes(manifest),
        "styles": styles,
        "script": script,
        "script_hash": f"sha256-{_digest(script)}",
    }


def _images(measured: Iterable[Score | Quality | None]) -> int:
    """On how many images the first was measured; all were on the same."""
    return next((found.images for found in measured if found is not None), 0)


def _resource(name: str) -> str:
    return (importlib.resources.files("exporter.report") / name).read_text(encoding="utf-8").strip()


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
