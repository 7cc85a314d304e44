"""What a comparison of two builds comes to; plain data."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.latency.records import Median
from exporter.spec import Precision
from exporter.verdicts import Parity, Quality

HOST = "host"  # the name of this machine among devices


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of accuracy, in percent; the interval is absent where none is known."""

    name: str  # "top1", "map", "miou", ...
    percent: float
    images: int
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Absolute:
    """How long one inference takes on one device."""

    device: str  # "host", or what the profile calls it
    median_ms: Median
    stable: bool
    verdict: str
    source: str  # "run in turn" or "profile"


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How much longer the new artifact takes on one device: new / base."""

    device: str
    ratio: Median
    stable: bool
    verdict: str
    source: str  # "run in turn", "profiles" or "same bytes"


@dataclass(frozen=True, kw_only=True)
class Side:
    """One artifact of one build, as its manifest and what was measured tell."""

    size_bytes: int
    sha256: str
    parity: Parity
    quality: Quality | None = None
    accuracy: tuple[Figure, ...] = ()
    undelegated: int | None = None  # operations outside the delegate; None: the format has none
    uncounted: str = ""  # why nobody counted them
    latency: tuple[Absolute, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Compared:
    """An artifact of the same name in both builds, or in one of them."""

    artifact: str
    target: str
    precision: Precision
    base: Side | None
    new: Side | None
    latency: tuple[Ratio, ...] = ()
    unmeasured: str = ""  # why there is no ratio

    @property
    def same_bytes(self) -> bool:
        """Whether both builds hold the very same file."""
        if self.base is None or self.new is None:
            return False
        return self.base.sha256 == self.new.sha256

    @property
    def size_ratio(self) -> float | None:
        """New by base; None where one of them is not there."""
        if self.base is None or self.new is None:
            return None
        return self.new.size_bytes / self.base.size_bytes


@dataclass(frozen=True, kw_only=True)
class Change:
    """Something about the model itself that differs, so the figures are not of one model."""

    what: str
    base: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two builds, or one alone (`base` is empty then)."""

    base: str  # directory, as given
    new: str
    model: str  # of the new build, in a line
    changes: tuple[Change, ...]
    artifacts: tuple[Compared, ...]
    notes: tuple[str, ...] = ()
