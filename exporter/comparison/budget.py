"""budget.toml: what a new build may cost; docs/budget.md names every key.

Read strictly: a key that is not known, or a value of another type, would be a limit that nobody
watches.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from exporter.comparison.records import HOST
from exporter.errors import ExportError

DEFAULTS, ARTIFACTS, STRICT = "defaults", "artifacts", "strict"
HINT = "docs/budget.md names every key"
PERCENTAGES = (
    "min_agreement", "min_top1", "max_top1_drop", "min_map", "max_map_drop", "min_miou",
    "max_miou_drop",
)  # fmt: skip


class BudgetFileError(ExportError):
    """A budget cannot be read: an argument that is wrong, which is exit code 2 as any usage."""

    exit_code = 2
    meaning = "usage"


class ParityDemand(StrEnum):
    """Which outcomes are within a budget; drift never is."""

    SAME = "same"
    MAY_NOT_RUN = "same or not run"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one artifact; None asks for nothing. Percentages are 0 to 100, drops are points of them.

    Limits of latency are by device: "host", or the name that a profile gives it.
    """

    max_bytes: int | None = None
    max_bytes_ratio: float | None = None
    max_latency_ms: Mapping[str, float] = field(default_factory=dict)
    max_latency_ratio: Mapping[str, float] = field(default_factory=dict)
    parity: ParityDemand | None = None
    min_sqnr_db: float | None = None
    min_agreement: float | None = None
    min_top1: float | None = None
    max_top1_drop: float | None = None
    min_map: float | None = None
    max_map_drop: float | None = None
    min_miou: float | None = None
    max_miou_drop: float | None = None
    max_undelegated_ops: int | None = None


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits of every artifact, and of single ones, which come first."""

    path: Path
    defaults: Limits = Limits()
    artifacts: Mapping[str, Limits] = field(default_factory=dict)
    strict: bool = False  # what is undecided or not judged fails

    def limits(self, artifact: str) -> Limits:
        """The defaults, with what is said of this artifact in their place."""
        own = self.artifacts.get(artifact, Limits())
        said = {k: v for k, v in vars(own).items() if v is not None and v != {}}
        return dataclasses.replace(self.defaults, **said)


def read_budget(path: Path) -> Budget:
    """Read a budget; raises BudgetFileError, which names the key."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BudgetFileError(f"{path}: no such file", HINT) from None
    except OSError as error:
        raise BudgetFileError(f"{path}: cannot be read ({error.strerror})", HINT) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BudgetFileError(f"{path}: not TOML ({error})", HINT) from None
    return _Reader(path).budget(data)


@dataclass(frozen=True)
class _Reader:
    path: Path

    def budget(self, data: Mapping[str, Any]) -> Budget:
        self._known(data, (STRICT, DEFAULTS, ARTIFACTS), "")
        strict = data.get(STRICT, False)
        if not isinstance(strict, bool):
            raise self._wrong(STRICT, strict, "true or false")
        named = self._table(data, ARTIFACTS, ARTIFACTS)
        artifacts = {
            name: self._limits(self._table(named, name, f'{ARTIFACTS}."{name}"'), name)
            for name in named
        }
        budget = Budget(
            path=self.path,
            defaults=self._limits(self._table(data, DEFAULTS, DEFAULTS), ""),
            artifacts=artifacts,
            strict=strict,
        )
        if budget.defaults == Limits() and not artifacts:
            raise BudgetFileError(f"{self.path}: sets no limit", HINT)
        return budget

    def _limits(self, table: Mapping[str, Any], artifact: str) -> Limits:
        where = f'{ARTIFACTS}."{artifact}"' if artifact else DEFAULTS
        self._known(table, [f.name for f in dataclasses.fields(Limits)], where)
        return Limits(**{key: self._value(f"{where}.{key}", table[key]) for key in table})

    def _value(self, key: str, value: Any) -> Any:
        name = key.rpartition(".")[2]
        if name == "parity":
            if value not in list(ParityDemand):
                raise self._wrong(key, value, " or ".join(f'"{d}"' for d in ParityDemand))
            return ParityDemand(value)
        if name in ("max_latency_ms", "max_latency_ratio"):
            if not isinstance(value, dict):
                return {HOST: self._number(key, value, above_zero=True)}
            if not value:
                raise self._wrong(key, value, "a number or a table of devices")
            return {d: self._number(f"{key}.{d}", v, above_zero=True) for d, v in value.items()}
        if name in ("max_bytes", "max_undelegated_ops"):
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise self._wrong(key, value, "a whole number of at least 0")
            return value
        return self._number(key, value, above_zero=name == "max_bytes_ratio")

    def _number(self, key: str, value: Any, *, above_zero: bool) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value):
            raise self._wrong(key, value, "a number")
        if value < 0 or (above_zero and value == 0):
            raise self._wrong(key, value, "a number above 0")
        if key.rpartition(".")[2] in PERCENTAGES and value > 100:
            raise self._wrong(key, value, "a percentage, 0 to 100")
        return float(value)

    def _table(self, data: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
        table = data.get(key, {})
        if not isinstance(table, dict):
            raise self._wrong(where, table, "a table")
        return table

    def _known(self, table: Mapping[str, Any], known: Any, where: str) -> None:
        for key in table:
            if key not in known:
                name = f"{where}.{key}" if where else key
                raise BudgetFileError(
                    f"{self.path}: unknown key {name}", f"known: {', '.join(known)}"
                )

    def _wrong(self, key: str, value: Any, wanted: str) -> BudgetFileError:
        return BudgetFileError(f"{self.path}: {key} is {value!r}, not {wanted}", HINT)
