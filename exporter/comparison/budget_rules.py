"""A comparison held to its budget: a verdict for every line, and what decides it.

A latency is known as an interval. A line passes when all of it is within the limit, fails when all
of it is above, and is undecided in between, or where the measurement itself was unstable. A line
without its figure is not judged. Both of these pass unless the budget is strict.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from exporter.comparison.budget import ARTIFACTS, Budget, Limits, ParityDemand
from exporter.comparison.records import Absolute, Compared, Comparison, Figure, Ratio, Side
from exporter.errors import BudgetError
from exporter.verdicts import Outcome

ACCURACY = ("top1", "map", "miou")
ROUNDING = 1e-9  # of a difference of two figures, which is not to fail a limit it equals


class Verdict(StrEnum):
    """What became of one line."""

    PASS = "pass"
    FAIL = "fail"
    UNDECIDED = "undecided"  # measured, but not well enough to tell
    NOT_JUDGED = "not judged"  # the figure is not there


@dataclass(frozen=True, kw_only=True)
class Line:
    """One limit on one artifact."""

    artifact: str
    rule: str  # the key, with the device of a latency
    limit: str
    found: str
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Judgment:
    """Every line, and whether the build is within its budget."""

    lines: tuple[Line, ...]
    strict: bool

    @property
    def failed(self) -> tuple[Line, ...]:
        """Lines that break the budget."""
        bad = {Verdict.FAIL}
        if self.strict:
            bad |= {Verdict.UNDECIDED, Verdict.NOT_JUDGED}
        return tuple(line for line in self.lines if line.verdict in bad)

    @property
    def passed(self) -> bool:
        """Whether none does."""
        return not self.failed

    def told(self) -> str:
        """How many lines came out how."""
        counts = {v: sum(line.verdict is v for line in self.lines) for v in Verdict}
        return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)


def judge(budget: Budget, comparison: Comparison) -> Judgment:
    """Hold every artifact of the new build, and every one that the budget names, to its limits."""
    compared = {row.artifact: row for row in comparison.artifacts}
    lines: list[Line] = []
    for name in dict.fromkeys((*compared, *budget.artifacts)):
        row = compared.get(name)
        if row is not None and row.new is not None:
            lines.extend(_lines(row, row.new, budget.limits(name)))
        elif name in budget.artifacts:
            lines.append(_missing(name, comparison.new))
    return Judgment(lines=tuple(lines), strict=budget.strict)


def objection(judgment: Judgment) -> BudgetError | None:
    """What `compare` ends with when a line breaks the budget."""
    if judgment.passed:
        return None
    first = judgment.failed[0]
    more = len(judgment.failed) - 1
    text = f"over budget: {first.artifact} {first.rule} {first.found}, limit {first.limit}"
    if first.verdict is not Verdict.FAIL:
        text += f" ({first.verdict}, and the budget is strict)"
    text += f"; and {more} more" if more else ""
    return BudgetError(text, "the table names every line; docs/budget.md says how they are judged")


def _missing(name: str, build: str) -> Line:
    return Line(
        artifact=name,
        rule=ARTIFACTS,
        limit="is built",
        found="missing",
        verdict=Verdict.FAIL,
        reason=f"the budget names it, and {build} has no artifact of this name",
    )


def _lines(row: Compared, new: Side, limits: Limits) -> Iterator[Line]:
    yield _parity(row, new, limits.parity or ParityDemand.MAY_NOT_RUN)
    yield from _bytes(row, new, limits)
    yield from _latencies(row, new, limits)
    yield from _quality(row, new, limits)
    yield from _accuracies(row, new, limits)
    yield from _delegation(row, new, limits)


def _parity(row: Compared, new: Side, demand: ParityDemand) -> Line:
    outcome = new.parity.outcome
    may_not_run = demand is ParityDemand.MAY_NOT_RUN
    within = outcome is Outcome.SAME or (outcome is Outcome.NOT_RUN and may_not_run)
    return Line(
        artifact=row.artifact,
        rule="parity",
        limit=demand,
        found=outcome,
        verdict=Verdict.PASS if within else Verdict.FAIL,
        reason=new.parity.reason,
    )


def _bytes(row: Compared, new: Side, limits: Limits) -> Iterator[Line]:
    if limits.max_bytes is not None:
        yield _at_most(row, "max_bytes", limits.max_bytes, new.size_bytes, "{:,}")
    if limits.max_bytes_ratio is not None:
        reason = "" if row.size_ratio is not None else "no such artifact in the base"
        limit = limits.max_bytes_ratio
        yield _at_most(row, "max_bytes_ratio", limit, row.size_ratio, "{:.3f}", reason)


def _latencies(row: Compared, new: Side, limits: Limits) -> Iterator[Line]:
    for device, limit in limits.max_latency_ms.items():
        times = [t for t in new.latency if t.device == device]
        reason = f"not measured on {device}{_others(new.latency)}"
        yield _interval(row, f"max_latency_ms, {device}", limit, times, "{:.2f}", reason)
    for device, limit in limits.max_latency_ratio.items():
        ratios = [r for r in row.latency if r.device == device]
        reason = row.unmeasured or f"no ratio on {device}{_others(row.latency)}"
        reason = reason if row.base is not None else "no such artifact in the base"
        yield _interval(row, f"max_latency_ratio, {device}", limit, ratios, "{:.3f}", reason)


def _others(found: Sequence[Absolute | Ratio]) -> str:
    """What there is: a device that is misspelled would be a limit that nobody watches."""
    names = ", ".join(dict.fromkeys(one.device for one in found))
    return f"; there is {names}" if names else ""


def _interval(
    row: Compared,
    rule: str,
    limit: float,
    found: Sequence[Absolute | Ratio],
    form: str,
    absent: str,
) -> Line:
    """The worst of several, such as one artifact on one device with other numbers of threads."""
    if not found:
        return _line(row, rule, form.format(limit), "", Verdict.NOT_JUDGED, absent)
    lines = [_one_interval(row, rule, limit, one, form) for one in found]
    order = [Verdict.FAIL, Verdict.UNDECIDED, Verdict.PASS]
    return min(lines, key=lambda line: order.index(line.verdict))


def _one_interval(
    row: Compared, rule: str, limit: float, found: Absolute | Ratio, form: str
) -> Line:
    median = found.median_ms if isinstance(found, Absolute) else found.ratio
    low, high = form.format(median.low), form.format(median.high)
    text = f"{form.format(median.value)} ({low} to {high})"
    verdict, reason = Verdict.UNDECIDED, "the limit lies within the 95 % interval"
    if not found.stable:
        reason = found.verdict
    elif median.high <= limit:
        verdict, reason = Verdict.PASS, found.source
    elif median.low > limit:
        verdict, reason = Verdict.FAIL, found.source
    return _line(row, rule, form.format(limit), text, verdict, reason)


def _quality(row: Compared, new: Side, limits: Limits) -> Iterator[Line]:
    quality = new.quality
    if limits.min_sqnr_db is not None:
        found = None if quality is None else quality.sqnr_db
        reason = "labels and detections have no ratio" if quality else "not compared with float"
        yield _at_least(row, "min_sqnr_db", limits.min_sqnr_db, found, reason)
    if limits.min_agreement is not None:
        found = None if quality is None else 100 * quality.top1_agreement
        reason = "not compared with float"
        yield _at_least(row, "min_agreement", limits.min_agreement, found, reason)


def _accuracies(row: Compared, new: Side, limits: Limits) -> Iterator[Line]:
    """On a fixed set of labeled images these figures have no noise: the value itself decides."""
    for name in ACCURACY:
        least, drop = getattr(limits, f"min_{name}"), getattr(limits, f"max_{name}_drop")
        after, before = _figure(new, name), _figure(row.base, name)
        absent = "the build has no such figure: compare with --data"
        if least is not None:
            found = None if after is None else after.percent
            yield _at_least(row, f"min_{name}", least, found, absent)
        if drop is not None:
            yield _drop(row, f"max_{name}_drop", drop, before, after)


def _drop(
    row: Compared, rule: str, limit: float, before: Figure | None, after: Figure | None
) -> Line:
    if after is None or before is None:
        absent = "both builds need the figure: compare with --data"
        return _at_most(row, rule, limit, None, "{:.2f}", absent)
    if after.images != before.images:
        absent = f"on {before.images} and on {after.images} images: compare with --data"
        return _at_most(row, rule, limit, None, "{:.2f}", absent)
    return _at_most(row, rule, limit, before.percent - after.percent, "{:.2f}")


def _figure(side: Side | None, name: str) -> Figure | None:
    return next((f for f in side.accuracy if f.name == name), None) if side else None


def _delegation(row: Compared, new: Side, limits: Limits) -> Iterator[Line]:
    """Nothing to say of a format that has no delegate, so one default fits all formats."""
    limit = limits.max_undelegated_ops
    if limit is not None and (new.undelegated is not None or new.uncounted):
        yield _at_most(row, "max_undelegated_ops", limit, new.undelegated, "{:d}", new.uncounted)


def _at_most(
    row: Compared, rule: str, limit: float, found: float | None, form: str, absent: str = ""
) -> Line:
    if found is None:
        return _line(row, rule, form.format(limit), "", Verdict.NOT_JUDGED, absent)
    verdict = Verdict.PASS if found <= limit + ROUNDING else Verdict.FAIL
    return _line(row, rule, form.format(limit), form.format(found), verdict)


def _at_least(row: Compared, rule: str, limit: float, found: float | None, absent: str) -> Line:
    if found is None:
        return _line(row, rule, f"{limit:.2f}", "", Verdict.NOT_JUDGED, absent)
    verdict = Verdict.PASS if found >= limit - ROUNDING else Verdict.FAIL
    return _line(row, rule, f"{limit:.2f}", f"{found:.2f}", verdict)


def _line(
    row: Compared, rule: str, limit: str, found: str, verdict: Verdict, reason: str = ""
) -> Line:
    return Line(
        artifact=row.artifact, rule=rule, limit=limit, found=found, verdict=verdict, reason=reason
    )
