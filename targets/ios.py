"""Core ML: an ML program in an `.mlpackage`, for iOS 15 and later (int8: iOS 17 and later).

`format=pte` puts one into an ExecuTorch program instead (see `coreml_pte`); that package takes a
normalized tensor and gives the logits alone, as every `.pte` does.

The program is written from the graph by coremltools' builder and passed through none of its
optimizations: there is nothing left to fuse, and they would move quantization away from where the
graph has it (`distributive_quantized_binary_op_scale_normalization` rescales every residual add).

A package takes an image, 8 bits per channel, and gives what a Core ML classifier gives, the label
and the probabilities, and the raw logits beside them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import platform
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.errors import ArtifactError, UnsupportedError
from exporter.files import size, staged
from exporter.graph import QuantizedGraph
from exporter.metadata import METADATA_KEY, spec_from_text
from exporter.spec import ModelSpec, Precision
from exporter.target import (
    Claim,
    Contents,
    DeploymentTarget,
    Examination,
    ExportOptions,
    IosFormat,
    Runner,
    require,
)
from targets.coreml_sdk import coremltools, quiet

if TYPE_CHECKING:
    from targets.mil.package import Package

SUFFIX, PROGRAM_SUFFIX = ".mlpackage", ".coreml.pte"
BEFORE_INT8 = (DeploymentTarget.IOS15, DeploymentTarget.IOS16)  # quantize came with iOS 17
# Specification version -> the oldest iOS and macOS that read it.
IOS_VERSIONS = {6: 15, 7: 16, 8: 17, 9: 18, 10: 26}
MACOS_VERSIONS = {6: 12, 7: 13, 8: 14, 9: 15, 10: 26}


def check() -> None:
    """Raise MissingDependencyError without coremltools."""
    require("ios", "coremltools", cure="install mnv2-export again with its dependencies")


def check_options(precision: Precision, options: ExportOptions) -> None:
    """Refuse int8 for an iOS that cannot run it."""
    if options.format is IosFormat.PTE:
        require("ios", "executorch", cure="install mnv2-export again with its dependencies")
    target = options.deployment_target
    if precision is Precision.INT8 and target in BEFORE_INT8:
        raise UnsupportedError(
            f"Core ML runs int8 activations from iOS 17 on, and the deployment target is {target}",
            "pass --deployment-target iOS17 or later, or export fp16",
        )


def emit(
    graph: QuantizedGraph, precision: Precision, options: ExportOptions, path: Path
) -> tuple[str, ...]:
    """Write the package or the `.pte`; `options.deployment_target` decides on its operations."""
    return write(graph, precision, options, path, real_type(precision))


def real_type(precision: Precision) -> type[np.floating[Any]]:
    """int8 programs compute in fp16 between their integers, as the Neural Engine does."""
    return np.float32 if precision is Precision.FP32 else np.float16


def write(
    graph: QuantizedGraph,
    precision: Precision,
    options: ExportOptions,
    path: Path,
    real: type[np.floating[Any]],
) -> tuple[str, ...]:
    """`emit` with a choice of the real type: an int8 program typed fp32 is its exact twin."""
    check_options(precision, options)
    program = options.format is IosFormat.PTE
    suffix = PROGRAM_SUFFIX if program else SUFFIX
    if not path.name.endswith(suffix):
        raise UnsupportedError(f"{path.name}: the name of this Core ML file must end in {suffix}")
    coremltools()
    from targets.coreml_package import write_package
    from targets.coreml_pipeline import native_suppression

    if program and native_suppression(graph) is not None:
        raise UnsupportedError(
            "Core ML's own suppression of boxes follows a model, and a .pte holds one model only",
            "pass --nms graph, or leave --format pte out",
        )
    labels, notes = _labels(graph.spec, program=program)
    target = options.deployment_target
    with staged(path) as temporary:
        package = temporary.with_suffix(SUFFIX)
        write_package(graph, precision, real, target, labels, package, pixels=not program)
        if program:
            from targets.coreml_pte import pack

            temporary.write_bytes(pack(package))
    return notes


def load(path: Path) -> Runner:
    """Core ML itself on a Mac that is new enough, the reference evaluator anywhere else."""
    with _opened(path) as package:
        spec = _own_spec(package, path)
        if path.suffix == SUFFIX and _has_core_ml(package):
            return _core_ml(path, spec)
        from targets.coreml_runner import EvaluatorRunner
        from targets.mil.program import Program

        return EvaluatorRunner(program=Program(package), spec=spec)


def examine(path: Path, claim: Claim) -> Examination:
    """Hold the package to a twin that is written from the graph; see `coreml_proof`."""
    with _opened(path) as package, tempfile.TemporaryDirectory() as folder:
        spec = _own_spec(package, path)
        from targets import coreml_proof
        from targets.mil.package import read_package

        names = {"again": real_type(claim.precision), "twin": np.float32}
        for name, real in names.items():
            written = Path(folder) / f"{name}{SUFFIX}"
            _write_again(claim, package, written, real, program=path.suffix != SUFFIX)
        again, twin = (read_package(Path(folder) / f"{name}{SUFFIX}") for name in names)
        mac = path.suffix == SUFFIX and _has_core_ml(package)
        core_ml = _core_ml(path, spec) if mac else None
        return coreml_proof.examine(package, again, twin, claim, core_ml)


def _write_again(
    claim: Claim,
    package: Package,
    path: Path,
    real: type[np.floating[Any]],
    *,
    program: bool,
) -> None:
    """What the graph gives for the package's own opset."""
    from targets.coreml_package import write_package

    version = package.spec.specificationVersion
    target = DeploymentTarget(f"iOS{IOS_VERSIONS.get(version, '')}")
    labels, _ = _labels(claim.graph.spec, program=program)
    write_package(claim.graph, claim.precision, real, target, labels, path, pixels=not program)


def describe(path: Path) -> Contents:
    """What the package declares and holds, from its files alone."""
    if path.name.endswith(PROGRAM_SUFFIX):
        return _describe_program(path)
    package = _read(path)
    from targets.coreml_contents import contents_of

    return contents_of(package)


def _describe_program(path: Path) -> Contents:
    """The embedded package, once the program is known to be one call of its delegate."""
    from targets.coreml_pte import BACKEND_ID, extract

    with extract(path) as package:
        contents = describe(package)
    return dataclasses.replace(
        contents,
        format=f"ExecuTorch program (.pte) of a {contents.format}",
        size_bytes=size(path),
        inputs=tuple(dataclasses.replace(i, note="normalized") for i in contents.inputs),
        delegation=f"1 delegate ({BACKEND_ID}), nothing outside; {contents.delegation}",
    )


def _labels(spec: ModelSpec, *, program: bool) -> tuple[list[str] | None, tuple[str, ...]]:
    """Of a Core ML classifier; a `.pte` and the models for other tasks are none."""
    classifier = spec.detection is None and spec.segmentation is None and not program
    return class_labels(spec) if classifier else (None, ())


def class_labels(spec: ModelSpec) -> tuple[list[str], tuple[str, ...]]:
    """Labels that are all different, and a note where that took a change.

    The probabilities are a dictionary by label, so of two classes that share one ("crane", the
    bird and the machine) one would vanish: both get their class number. The metadata and every
    other target keep the labels as they were.
    """
    labels = [spec.label(i) for i in range(spec.classes)]
    shared = {label for label, count in Counter(labels).items() if count > 1}
    unique = [f"{x} (class {i})" if x in shared else x for i, x in enumerate(labels)]
    if len(set(unique)) != len(unique):
        twice = next(x for x, count in Counter(unique).items() if count > 1)
        raise UnsupportedError(
            f"Core ML needs different labels, and {twice!r} remains twice",
            "rename the labels that occur more than once",
        )
    if not shared:
        return unique, ()
    example = next(x for x, label in zip(unique, labels, strict=True) if label in shared)
    return unique, (f"labels that occur twice carry their class number: {example!r}",)


def _read(path: Path) -> Package:
    coremltools()
    from targets.mil.package import read_package

    return read_package(path)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Package]:
    """The package itself, or the one inside a `.pte`."""
    if path.suffix == SUFFIX:
        yield _read(path)
        return
    from targets.coreml_pte import extract

    with extract(path) as inside:
        yield _read(inside)


def _own_spec(package: Package, path: Path) -> ModelSpec:
    spec = _spec(package)
    if spec is None:
        raise ArtifactError(
            f"{path}: a Core ML package, but not written by this tool",
            "mnv2-export coreml-run runs any simple one",
        )
    return spec


def _has_core_ml(package: Package) -> bool:
    """Whether this is a Mac whose Core ML reads the package's specification."""
    wanted = MACOS_VERSIONS.get(package.spec.specificationVersion, 0)
    return platform.system() == "Darwin" and int(platform.mac_ver()[0].split(".")[0]) >= wanted


def _core_ml(path: Path, spec: ModelSpec) -> Runner:
    """On the CPU, where Core ML rounds as the program declares; other units round as they like."""
    from targets.coreml_runner import CoreMLRunner

    ct = coremltools()
    with quiet():
        model = ct.models.MLModel(str(path), compute_units=ct.ComputeUnit.CPU_ONLY)
    return CoreMLRunner(model=model, spec=spec)


def _spec(package: Package) -> ModelSpec | None:
    return spec_from_text(package.metadata.get(METADATA_KEY))
