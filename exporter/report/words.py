"""The phrases that every format of a report shares: plain text, to be escaped by the format."""

from __future__ import annotations

import re
from collections.abc import Sequence

from exporter.latency.records import Median
from exporter.manifest import ArtifactRecord, Failure, Manifest
from exporter.report.records import Figure, Verdict
from exporter.spec import ModelSpec, Precision
from exporter.verdicts import EXACT_BOXES, Outcome, Pair, Parity

SYMBOLS = {Outcome.SAME: "✓", Outcome.DRIFTED: "✕", Outcome.NOT_RUN: "–"}
NAMES_SHOWN = 3


def verdict(
    artifacts: Sequence[ArtifactRecord], pairs: Sequence[Pair], failures: Sequence[Failure]
) -> Verdict:
    """The worst of all outcomes, and what it is of."""
    by = {o: [a for a in artifacts if a.parity.outcome is o] for o in Outcome}
    same, drifted, not_run = (by[o] for o in (Outcome.SAME, Outcome.DRIFTED, Outcome.NOT_RUN))
    apart = [p for p in pairs if p.outcome is Outcome.DRIFTED]
    outcome = Outcome.SAME
    if not_run or failures or any(p.outcome is Outcome.NOT_RUN for p in pairs):
        outcome = Outcome.NOT_RUN
    if drifted or apart:
        outcome = Outcome.DRIFTED
    return Verdict(
        outcome=outcome,
        headline=_headline(artifacts, drifted, not_run, apart, failures),
        sentence=" ".join(_sentences(same, drifted, not_run, apart, failures)),
        same=len(same),
        drifted=len(drifted),
        not_run=len(not_run),
        failed=len(failures),
    )


def _headline(
    artifacts: Sequence[ArtifactRecord],
    drifted: Sequence[ArtifactRecord],
    not_run: Sequence[ArtifactRecord],
    apart: Sequence[Pair],
    failures: Sequence[Failure],
) -> str:
    total = counted(len(artifacts), "artifact")
    if drifted:
        return f"{len(drifted)} of {total} drifted: do not ship"
    if apart:
        return f"{counted(len(apart), 'pair')} of artifacts drifted apart: do not ship"
    if not_run:
        return f"{len(not_run)} of {total} not proved here"
    if failures:
        return f"{total} proved, {counted(len(failures), 'target')} not built"
    return f"{'All ' if len(artifacts) > 1 else ''}{total} proved to be the same model"


def _sentences(
    same: Sequence[ArtifactRecord],
    drifted: Sequence[ArtifactRecord],
    not_run: Sequence[ArtifactRecord],
    apart: Sequence[Pair],
    failures: Sequence[Failure],
) -> list[str]:
    told = []
    if same:
        images = max(a.parity.images for a in same)
        integers = [a for a in same if a.precision is Precision.INT8]
        exact = bool(integers) and all(a.parity.max_lsb == 0 for a in integers)
        text = f"Reloaded from disk, {_listed(same)} gave the reference's results"
        text += f" on {counted(images, 'golden image')}"
        text += ", int8 bit for bit." if exact else "."
        told.append(text)
    if drifted:
        told.append(f"Drifted: {_listed(drifted)}.")
    if apart:
        told.append("Drifted apart: " + ", ".join(f"{p.a} and {p.b}" for p in apart[:3]) + ".")
    if not_run:
        told.append(f"Not run: {_listed(not_run)}.")
    if failures:
        names = ", ".join(f"{f.target} {f.precision}" for f in failures[:NAMES_SHOWN])
        told.append(f"Not built: {names}.")
    if any(a.parity.by for a in same):
        told.append("Core ML packages are proved by program and weights, not on Apple's hardware.")
    return told


def _listed(artifacts: Sequence[ArtifactRecord]) -> str:
    names = [a.path for a in artifacts]
    if len(names) > NAMES_SHOWN:
        return f"{len(names)} artifacts"
    return ", ".join(names)


def counted(count: int, noun: str) -> str:
    """ "1 image", "20 images"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def title(spec: ModelSpec) -> str:
    """The model in a line."""
    return f"{spec.network} {spec.width:g}, {spec.resolution} px, {spec.classes} classes"


def megabytes(size: int) -> str:
    """1 MB = 10^6 bytes, as app stores count; small sizes in kB."""
    return f"{size / 1e6:.2f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def milliseconds(value: float) -> str:
    """Three digits that count."""
    return f"{value:.{_digits(value)}f} ms"


def interval(median: Median) -> str:
    """Both ends with as many digits as `milliseconds` gives the median."""
    digits = _digits(median.value)
    return f"{median.low:.{digits}f}–{median.high:.{digits}f}"


def _digits(value: float) -> int:
    return 3 - sum(value >= bound for bound in (1.0, 10.0, 100.0))


def moment(iso: str) -> str:
    """ "2026-01-31 14:05 UTC" of what a profile says; anything else as it stands."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d):\d\d\+00:00", iso)
    return f"{found[1]} {found[2]} UTC" if found else iso


def parity_figure(parity: Parity) -> str:
    """The largest difference in the unit that the results have, or why there is none."""
    if parity.outcome is Outcome.NOT_RUN:
        return parity.reason or "no reason was given"
    if parity.max_lsb is not None:
        text = f"{parity.max_lsb} LSB"
        if parity.sqnr_db is not None and parity.sqnr_db >= EXACT_BOXES.min_sqnr_db:
            text += f", boxes {parity.sqnr_db:.0f} dB"
    elif parity.sqnr_db is not None:
        text = f"{parity.sqnr_db:.0f} dB"
    elif parity.agreement is not None:
        text = f"{parity.agreement:.2%} agree"
    else:
        text = "every bit equal" if parity.max_abs is not None else ""
    return text


def pair_figure(pair: Pair) -> str:
    """As `parity_figure`, short enough for a cell of a matrix."""
    if pair.outcome is Outcome.NOT_RUN:
        return "not run"
    if pair.max_lsb is not None:
        return f"{pair.max_lsb} LSB"
    if not pair.max_abs:
        return str(pair.outcome) if pair.max_abs is None else "equal"
    return f"{pair.max_abs:.1e}"


def figure(value: Figure) -> str:
    """ "83.3 % (79.7–86.5)": with its interval where it has one."""
    text = f"{value.value:.1%}"
    if value.low is not None and value.high is not None:
        text += f" ({100 * value.low:.1f}–{100 * value.high:.1f})"
    return text


def points(value: Figure) -> str:
    """ "+0.4 points" from the float model, or nothing for that model itself."""
    if value.points is None:
        return ""
    rounded = round(value.points, 1) + 0.0  # no negative zero
    return "±0.0" if rounded == 0 else f"{rounded:+.1f}".replace("-", "−")


def source(manifest: Manifest) -> str:
    """Where the weights came from."""
    return f"{manifest.source.name} ({manifest.source.format})"
