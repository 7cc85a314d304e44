"""Figures of a comparison in words, for the terminal's table and for Markdown alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from exporter.comparison.latency import SAME_BYTES
from exporter.comparison.records import HOST, Absolute, Compared, Comparison, Figure, Ratio, Side
from exporter.verdicts import Outcome

NAMES = {"top1": "top-1", "map": "mAP", "miou": "mIoU"}  # figures that decide
SIZE, PARITY, SQNR, AGREEMENT, ACCURACY, UNDELEGATED, LATENCY = FACTS = (
    "size", "parity", "SQNR", "agreement", "accuracy", "undelegated", "latency",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One figure of one artifact in both builds; empty where a build has none."""

    name: str
    base: str
    new: str
    change: str = ""

    @property
    def in_a_line(self) -> str:
        """Only the new one where they are equal, or where there is no base."""
        change = f" ({self.change})" if self.change else ""
        if self.base in ("", self.new):
            return self.new + change
        return f"{self.base} → {self.new or '-'}{change}"


def title(row: Compared, comparison: Comparison) -> str:
    """The file's name, and whether it is in one build only."""
    if row.new is None:
        return f"{row.artifact} (removed)"
    return f"{row.artifact} (added)" if comparison.base and row.base is None else row.artifact


def facts(row: Compared) -> Iterator[Fact]:
    """What is known of an artifact in either build, in the order of `FACTS`."""
    yield _fact(row, SIZE, lambda side: f"{side.size_bytes:,} B", _size_change(row))
    yield _fact(row, PARITY, _parity)
    texts = {SQNR: _sqnr, AGREEMENT: _agreement, ACCURACY: _accuracy, UNDELEGATED: _undelegated}
    made = (_fact(row, name, text) for name, text in texts.items())
    yield from (fact for fact in made if fact.base or fact.new)
    yield from _latencies(row)


def shown(row: Compared) -> Iterator[Fact]:
    """Of a file that is the same in both builds nothing else is worth a line."""
    for fact in facts(row):
        if not row.same_bytes or fact.name == SIZE or fact.base != fact.new:
            yield fact


def remarks(comparison: Comparison) -> Iterator[str]:
    """What the figures cannot say."""
    silent: dict[str, list[str]] = {}
    for row in comparison.artifacts:
        if row.unmeasured:
            silent.setdefault(row.unmeasured, []).append(row.artifact)
    for reason, names in silent.items():
        yield f"latency not compared, {reason}: {', '.join(names)}"
    for row in comparison.artifacts:
        for ratio in row.latency:
            if not ratio.stable:
                yield f"{row.artifact}: latency on {ratio.device}: {ratio.verdict}"
        parity = None if row.new is None else row.new.parity
        if parity is not None and parity.outcome is not Outcome.SAME:
            yield f"{row.artifact}: parity {parity.outcome}: {parity.reason}"
    yield from comparison.notes


def _fact(row: Compared, name: str, text: Callable[[Side], str], change: str = "") -> Fact:
    base, new = ("" if side is None else text(side) for side in (row.base, row.new))
    return Fact(name=name, base=base, new=new, change=change)


def _size_change(row: Compared) -> str:
    if row.same_bytes:
        return SAME_BYTES
    return "" if row.size_ratio in (None, 1.0) else f"{row.size_ratio - 1.0:+.2%}"


def _parity(side: Side) -> str:
    """Of an integer model every bit is held to the reference."""
    text = str(side.parity.outcome)
    return text if side.parity.max_lsb is None else f"{text}, {side.parity.max_lsb} LSB"


def _sqnr(side: Side) -> str:
    if side.quality is None or side.quality.sqnr_db is None:
        return ""
    return f"{side.quality.sqnr_db:.1f} dB"


def _agreement(side: Side) -> str:
    return "" if side.quality is None else f"{side.quality.top1_agreement:.1%}"


def _accuracy(side: Side) -> str:
    return ", ".join(_figure(f) for f in side.accuracy if f.name in NAMES)


def _figure(figure: Figure) -> str:
    """Percent, and where the true one lies with 95 % confidence."""
    text = f"{NAMES[figure.name]} {figure.percent:.1f} %"
    return text if figure.low is None else f"{text} ({figure.low:.1f} to {figure.high:.1f})"


def _undelegated(side: Side) -> str:
    return "" if side.undelegated is None else str(side.undelegated)


def _latencies(row: Compared) -> Iterator[Fact]:
    """A line for every device."""
    times = [() if side is None else side.latency for side in (row.base, row.new)]
    ratios = [one for one in row.latency if one.source != SAME_BYTES]
    named = [t.device for side in times for t in side] + [r.device for r in ratios]
    for device in dict.fromkeys(named):
        base, new = (
            ", ".join(_time(one) for one in side if one.device == device) for side in times
        )
        change = ", ".join(_ratio(one) for one in ratios if one.device == device)
        name = LATENCY if device == HOST else f"{LATENCY}, {device}"
        yield Fact(name=name, base=base, new=new, change=change)


def _time(one: Absolute) -> str:
    return f"{one.median_ms.value:.2f} ms" + ("" if one.stable else ", unstable")


def _ratio(one: Ratio) -> str:
    median = one.ratio
    text = f"x {median.value:.3f}, {median.low:.3f} to {median.high:.3f}"
    return text if one.stable else f"{text}, unstable"
