"""What can be said of a program without running it: whether Core ML will load it, and where it
would run slower or less exactly than it could.

Everything is read from the package's files and from the operation sets that coremltools
registers. A program that passes is not proved right: `program` runs it for that.

- `findings`: the table of all kinds, with ids and cures; `docs/coreml-lint.md` explains them
- `flow`: a function as a graph
- `versions`, `interface`: whether it loads and is what it declares
- `structure`, `quantization`, `scales`: where it would be slow or inexact
- `summary`: what else `inspect` shows of a program
"""

from __future__ import annotations

from itertools import chain
from pathlib import PurePosixPath

from coremltools.converters.mil.frontend.milproto.load import load

from exporter.findings import Finding, Severity
from targets.coreml_sdk import quiet
from targets.mil.lint.findings import found
from targets.mil.lint.flow import Flow, every_operation, flows
from targets.mil.lint.interface import interface_findings
from targets.mil.lint.quantization import quantization_findings
from targets.mil.lint.scales import scale_findings
from targets.mil.lint.structure import structure_findings
from targets.mil.lint.versions import OPSETS, version_findings
from targets.mil.package import MODEL_PATH, Package, values

SHAPE = "shape"
LARGEST_WEIGHTS = 1 << 28  # bytes that the reader may take into memory
CHECKS = (interface_findings, structure_findings, quantization_findings, scale_findings)


def lint(package: Package) -> tuple[Finding, ...]:
    """Findings by id; an empty tuple is a clean package."""
    functions = flows(package)
    findings = list(version_findings(package, functions))
    for flow in functions:
        findings += chain.from_iterable(check(flow) for check in CHECKS)
    if not any(finding.severity is Severity.ERROR for finding in findings):
        findings += _refusal(package, functions)  # else it would only say the same less clearly
    return tuple(sorted(findings, key=lambda finding: finding.id))


def _refusal(package: Package, functions: tuple[Flow, ...]) -> list[Finding]:
    """What coremltools' own reader says, which type-checks and shape-checks every operation."""
    version = package.spec.specificationVersion
    files = {file for flow in functions for file in _files(flow)}
    folders = {str(PurePosixPath(name).parent) for name in files}
    root = package.model_path.parent
    stored = sum((root / name).stat().st_size for name in files)
    if version not in OPSETS or len(folders) > 1 or stored > LARGEST_WEIGHTS:
        return []  # it cannot read these, or not soon
    if any(_folds(flow) for flow in functions):
        return []
    try:
        with quiet():
            load(
                package.spec,
                specification_version=version,
                file_weights_dir=str(root.joinpath(*folders)),
            )
    except NotImplementedError:
        return []  # custom layers
    except Exception as error:  # it raises whatever its parts raise
        return [found("ML107", " ".join(str(error).split()) or type(error).__name__)]
    return []


def _folds(flow: Flow) -> bool:
    """Whether the reader would compute something: a `fill` of any size, say, as it goes.

    A package is untrusted, and converters leave nothing to compute that is known beforehand.
    """
    known: set[str] = set()
    for node in flow.nodes:
        if node.constant or node.type == SHAPE:
            known.update(name for name, _ in node.outputs())
        elif node.reads <= known:
            return True
    return any(operation.blocks for operation in flow.block.operations)


def _files(flow: Flow) -> set[str]:
    """Weight files of a function, relative to the model file."""
    return {
        value.blobFileValue.fileName.removeprefix(MODEL_PATH)
        for operation in every_operation(flow.block.operations)
        for value in values(operation)
        if value.WhichOneof("value") == "blobFileValue"
    }
