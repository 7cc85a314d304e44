"""A report as Markdown: short enough for a pull request's comment or a job's summary.

Names and reasons come from checkpoints, devices and other people's tools. What is shown of them is
code, in which GitHub expands neither mentions nor references nor HTML, and their length is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from exporter.latency.layers import slowest
from exporter.latency.records import ArtifactProfile
from exporter.manifest import ArtifactRecord
from exporter.report import views, words
from exporter.report.records import ArtifactReport, DeviceReport, Figure, Layer, Report
from exporter.verdicts import Outcome

LIMIT = 65_000  # characters; GitHub refuses comments of 65,536
SYMBOLS = {Outcome.SAME: "✅", Outcome.DRIFTED: "❌", Outcome.NOT_RUN: "⚪"}
LONGEST = 160  # characters of any text that is not ours
ROWS = 40  # of any table
LOWEST = 5  # layers
CUT = "\n_Shortened: the HTML and JSON reports have the rest._\n"


def markdown(report: Report) -> str:
    """GitHub-flavored, at most `LIMIT` characters: sections at the end go first."""
    sections = [
        _head(report),
        _artifacts(report),
        _pairs(report),
        _accuracy(report),
        *(_device(device) for device in report.devices),
        _layers(report),
        _provenance(report),
    ]
    text, room = "", LIMIT - len(CUT)
    for section in filter(None, sections):
        if len(text) + len(section) + 1 > room:
            return text + CUT
        text += section + "\n"
    return text


def code(text: str) -> str:
    """Any text as a code span that also fits into a table's cell."""
    clean = re.sub(r"[\s\x00-\x1f\x7f\u2028\u2029]+", " ", text).strip()
    if len(clean) > LONGEST:
        clean = clean[: LONGEST - 1] + "…"
    if not clean:
        return ""
    fence = "`" * (max((len(run) for run in re.findall(r"`+", clean)), default=0) + 1)
    pad = " " if clean.startswith("`") or clean.endswith("`") else ""
    return f"{fence}{pad}{clean}{pad}{fence}".replace("|", "\\|")


def _table(header: Sequence[str], numbers: int, rows: Iterable[Sequence[str]]) -> str:
    """The last `numbers` columns are aligned to the right."""
    held = list(rows)
    texts = len(header) - numbers
    lines = [header, ["---"] * texts + ["---:"] * numbers, *held[:ROWS]]
    shown = "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
    return shown if len(held) <= ROWS else f"{shown}\n…and {len(held) - ROWS} more.\n"


def _head(report: Report) -> str:
    verdict, manifest = report.verdict, report.manifest
    symbol = SYMBOLS[verdict.outcome]
    spec = manifest.spec
    lines = [
        f"### {symbol} {verdict.headline}",
        "",
        f"**{words.title(spec)}**, {spec.task}, weights from {code(words.source(manifest))}.",
        *_counts(report),
    ]
    return "\n".join(lines) + "\n"


def _counts(report: Report) -> Iterator[str]:
    """The sentence of the verdict without the names in it, which the table has."""
    verdict = report.verdict
    parts = [
        f"{number} {what}"
        for number, what in (
            (verdict.same, "same"),
            (verdict.drifted, "drifted"),
            (verdict.not_run, "not run"),
            (verdict.failed, "not built"),
        )
        if number
    ]
    yield f"Every artifact was reloaded from disk and compared: {', '.join(parts)}."


def _artifacts(report: Report) -> str:
    names = [f.name for f in _figure_names(report)]
    header = ["artifact", "against the reference", "size", "zipped", *names]
    rows = [_artifact_row(a, len(names)) for a in report.artifacts]
    if report.float_figures:
        figures = [words.figure(f) for f in report.float_figures]
        rows.insert(0, ["_float model_", "", "", "", *figures])
    for failure in report.manifest.failures:
        name = code(f"{failure.target} {failure.precision}")
        told = f"{SYMBOLS[Outcome.DRIFTED]} not built: {code(failure.error)}"
        rows.append([name, told, "", "", *([""] * len(names))])
    return _table(header, 2 + len(names), rows)


def _figure_names(report: Report) -> Sequence[Figure]:
    scored = [a.figures for a in report.artifacts if a.figures]
    return report.float_figures or (scored[0] if scored else ())


def _artifact_row(artifact: ArtifactReport, count: int) -> list[str]:
    record = artifact.record
    figures = [words.figure(f) for f in artifact.figures] or [""] * count
    sizes = [words.megabytes(record.size_bytes), words.megabytes(artifact.deflated_bytes)]
    return [code(record.path), _verdict(record), *sizes, *figures]


def _verdict(record: ArtifactRecord) -> str:
    parity = record.parity
    text = f"{SYMBOLS[parity.outcome]} {parity.outcome}"
    if parity.outcome is Outcome.NOT_RUN:
        return f"{text}: {code(words.parity_figure(parity))}"
    figure = words.parity_figure(parity)
    text += f", {figure}" if figure else ""
    if parity.outcome is Outcome.DRIFTED and parity.reason:
        text += f": {code(parity.reason)}"
    return f"{text} (reference evaluator)" if parity.by else text


def _pairs(report: Report) -> str:
    """Only what is not the same: the table of all pairs is the page's."""
    pairs = report.manifest.pairs
    apart = [p for p in pairs if p.outcome is not Outcome.SAME]
    if not pairs:
        return ""
    if not apart:
        told = f"All {len(pairs)} pairs of artifacts agree" if len(pairs) > 1 else "The pair agrees"
        return f"{told} with each other.\n"
    rows = [
        [code(p.a), code(p.b), f"{SYMBOLS[p.outcome]} {p.outcome}", code(p.reason)] for p in apart
    ]
    return _table(["artifact", "and", "outcome", "reason"], 0, rows)


def _accuracy(report: Report) -> str:
    judged = [a for a in report.artifacts if a.record.quality is not None]
    rows = []
    for artifact in judged:
        quality = artifact.record.quality
        assert quality is not None
        ratio = "–" if quality.sqnr_db is None else f"{quality.sqnr_db:.1f} dB"
        points = ", ".join(f"{f.name} {words.points(f)}" for f in artifact.figures if f.points)
        rows.append(
            [code(artifact.record.path), ratio, f"{quality.top1_agreement:.1%}", points or "–"]
        )
    if not rows:
        return ""
    header = ["against the float model", "SQNR", "agreement", "points"]
    return _folded("How near to the float model", _table(header, 3, rows))


def _device(device: DeviceReport) -> str:
    profile = device.profile
    timed = sorted((a for a in profile.artifacts if a.latency), key=_median)
    rows = []
    for artifact in timed:
        latency = artifact.latency
        assert latency is not None
        slow = next(iter(slowest(artifact.layers, 1)), None)
        rows.append(
            [
                code(artifact.artifact),
                "stable" if latency.stable else f"⚠️ {code(latency.verdict)}",
                f"{code(slow.name)} {slow.share:.0%}" if slow is not None else "–",
                words.milliseconds(latency.median.value),
                words.interval(latency.median),
                words.milliseconds(latency.p90_ms),
                words.milliseconds(latency.load_ms),
            ]
        )
    lines = [f"**Latency on {code(profile.device.name)}**\n"]
    if device.stale:
        names = ", ".join(code(name) for name in device.stale[:ROWS])
        lines.append(f"Left out, measured of other bytes: {names}.\n")
    if rows:
        header = ["artifact", "verdict", "slowest layer", "median", "95 %", "p90", "load"]
        lines.append(_table(header, 4, rows))
    return "\n".join(lines)


def _median(artifact: ArtifactProfile) -> float:
    assert artifact.latency is not None
    return artifact.latency.median.value


def _layers(report: Report) -> str:
    measured = [n for n in report.layers if n.sqnr_db is not None]
    if not measured:
        return ""
    lowest = sorted(measured, key=_ratio)[:LOWEST]
    rows = [[code(n.name), n.block, n.kind, f"{n.sqnr_db:.1f} dB"] for n in lowest]
    title = f"Lowest SQNR by layer, on {report.signal.images} golden images"
    return _folded(title, _table(["layer", "block", "kind", "SQNR"], 1, rows))


def _ratio(layer: Layer) -> float:
    assert layer.sqnr_db is not None
    return layer.sqnr_db


def _provenance(report: Report) -> str:
    manifest = report.manifest
    rows = [[code(name), code(digest)] for name, digest in views.hashes(manifest)]
    versions = [[code(k), code(v)] for k, v in sorted(manifest.versions.items())]
    told = _table(["file", "SHA-256"], 0, rows) + "\n" + _table(["package", "version"], 0, versions)
    return _folded("Hashes and versions", told)


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n</details>\n"
