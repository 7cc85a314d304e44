"""What is wrong with something that was looked at and not run: kinds with ids and cures.

An id stays what it means; one that is retired is not given again. The documents list them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """What a finding means for whoever goes on."""

    ERROR = "error"  # what follows would be wrong, or not work at all
    WARNING = "warning"  # it works, slower or less exactly than it could


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found."""

    id: str  # stable; the documentation lists them
    severity: Severity
    title: str  # the kind, the same for every finding of one id
    message: str  # this one: which operations and values, with the numbers
    cure: str


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What findings of one id have in common."""

    id: str
    severity: Severity
    title: str
    cure: str

    def found(self, message: str) -> Finding:
        """One of this kind."""
        return Finding(
            id=self.id,
            severity=self.severity,
            title=self.title,
            message=message,
            cure=self.cure,
        )


def error(code: str, title: str, cure: str) -> Kind:
    """A row of a table of kinds."""
    return Kind(id=code, severity=Severity.ERROR, title=title, cure=cure)


def warning(code: str, title: str, cure: str) -> Kind:
    """A row of a table of kinds."""
    return Kind(id=code, severity=Severity.WARNING, title=title, cure=cure)
