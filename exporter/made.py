"""What came of making one artifact; plain data, so taking it from the cache loads no framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.manifest import ArtifactRecord
from exporter.results import Results
from exporter.spec import Precision
from exporter.target import Target
from exporter.verdicts import Tolerance

if TYPE_CHECKING:
    from exporter.proof import Proved
    from exporter.reference import Reference

Job = tuple[Target, Precision]
GOLDEN: Results = {}  # stands for results that are the golden's in every bit


@dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """What came of one job, small enough to be sent or kept: without what it was compared with."""

    records: tuple[ArtifactRecord, ...]  # the artifact's, then its companions'
    results: tuple[Results | None, ...]  # on the golden vectors; or GOLDEN
    tolerances: Mapping[Precision, Tolerance]
    emit_seconds: float | None = None  # None: nothing was emitted
    check_seconds: tuple[float, ...] = ()

    def proved(self, reference: Reference, target: Target, precision: Precision) -> list[Proved]:
        """With the evidence, for the comparison with other artifacts."""
        from exporter.proof import Proved

        evidence = reference.evidence(precision, target.info.rules, self.tolerances)
        whole = [
            evidence.expected if found is not None and not found else found
            for found in self.results
        ]
        return [
            Proved(record=record, evidence=evidence, results=found)
            for record, found in zip(self.records, whole, strict=True)
        ]
