"""Names of what lies in a build directory, and of what a reference on disk has beside that."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.spec import Precision, Rules

if TYPE_CHECKING:
    from exporter.target import ExportOptions, Target

GOLDEN = "golden"
# Of a reference only: results by `reference_key`, the float model's, and what was said.
EXPECTED, FLOAT_HOLDOUT, HOLDOUT = "expected", "float_holdout", "holdout.npy"
LABELED, NOTES = "labeled.json", "notes.json"


def graph_name(precision: Precision) -> str:
    """File name of a reference graph."""
    return f"model-{precision}.graph"


def reference_key(precision: Precision, rules: Rules) -> str:
    """Under which `expected.json` keeps the results that an artifact must give."""
    return f"int8-{rules}" if precision is Precision.INT8 else str(Precision.FP32)


def artifact_name(target: Target, precision: Precision, options: ExportOptions) -> str:
    """File name of an artifact."""
    return f"model-{precision}{target.info.suffix_for(options)}"


def companions(target: Target, path: Path) -> list[Path]:
    """Further files that a target may write beside an artifact."""
    return [path.with_suffix(suffix) for suffix in target.info.companions]


def discard(target: Target, path: Path) -> None:
    """Leave nothing behind that was not proved."""
    for file in (path, *companions(target, path)):
        if file.is_dir():
            shutil.rmtree(file)
        file.unlink(missing_ok=True)


def evidence_of(sums: Mapping[str, str], precision: Precision, rules: Rules) -> dict[str, str]:
    """Of a reference's hashes those of what an artifact of a precision is made from and for."""
    own, exact = reference_key(precision, rules), reference_key(Precision.FP32, rules)
    whole = {graph_name(precision.graph), graph_name(Precision.FP32), HOLDOUT, LABELED}
    within = (f"{EXPECTED}/{own}/", f"{EXPECTED}/{exact}/", f"{FLOAT_HOLDOUT}/")
    pictures = {name for name in sums if name.startswith(f"{GOLDEN}/") and name.endswith(".png")}
    return {n: s for n, s in sums.items() if n in whole | pictures or n.startswith(within)}
