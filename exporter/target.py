"""What a target is, and why that is so little.

A target is a static row of facts (`TargetInfo`) and a module with five functions (`Backend`):
`check` says whether this machine has what `emit` needs, `check_options` whether the format can
hold what was asked for, `emit` walks a QuantizedGraph and writes one artifact, `load` opens an
artifact from disk to run it, `describe` opens one to show what is inside. Nothing else is asked: no
base class to inherit, no registration, no hooks. The pipeline reloads what `emit` wrote and
compares it with the golden, so a target cannot vouch for itself.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from exporter.errors import ExportError, GraphError, MissingDependencyError
from exporter.findings import Finding
from exporter.spec import ModelSpec, Precision, Rules
from exporter.verdicts import TOLERANCES, Gate, Tolerance

if TYPE_CHECKING:
    import numpy as np

    from exporter.graph import QuantizedGraph


class Lowering(StrEnum):
    """How the Android target makes its `.pte`."""

    DIRECT = "direct"
    STOCK = "stock"


class IoType(StrEnum):
    """Element type of a LiteRT artifact's input and output."""

    FLOAT32 = "float32"
    INT8 = "int8"
    UINT8 = "uint8"


class IosFormat(StrEnum):
    """What an iOS app loads: a Core ML package, or an ExecuTorch program with one inside."""

    MLPACKAGE = "mlpackage"
    PTE = "pte"


class Arithmetic(StrEnum):
    """How the reference evaluator computes the real numbers of a Core ML program."""

    DECLARED = "declared"  # float32, what is typed fp16 rounded to fp16 after every operation
    EXACT = "exact"  # float32, rounded to nothing narrower
    INTEGER = "integer"  # int8 layers as the integers they stand for, all else as EXACT


class DeploymentTarget(StrEnum):
    """Oldest iOS that a Core ML artifact is written for."""

    IOS15 = "iOS15"
    IOS16 = "iOS16"
    IOS17 = "iOS17"
    IOS18 = "iOS18"
    IOS26 = "iOS26"


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Choices that one target or another offers; a target ignores those that are not its own."""

    lowering: Lowering = Lowering.DIRECT  # android
    io: IoType = IoType.FLOAT32  # litert, int8 precision only
    softmax: bool = False  # litert
    format: IosFormat = IosFormat.MLPACKAGE  # ios
    deployment_target: DeploymentTarget = DeploymentTarget.IOS17  # ios
    batch: int | None = 1  # onnx: None leaves it dynamic


@dataclass(frozen=True, kw_only=True)
class TargetInfo:
    """One static row: the facts that the CLI, the README's matrix and the pipeline share."""

    name: str
    format: str
    suffix: str
    precisions: tuple[Precision, ...]
    rules: Rules  # whose integer rounding the runtime follows
    runs_on: str
    parity: str  # how an artifact is proved on this machine
    companions: tuple[str, ...] = ()  # suffixes of further files that `emit` writes beside it
    alternatives: tuple[str, ...] = ()  # suffixes that `options.format` puts in place of `suffix`
    native_nms: bool = False  # the runtime has a non-maximum suppression of its own
    extra: str | None = None  # optional dependency group of pyproject.toml

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of every file that the target may write."""
        return (self.suffix, *self.companions, *self.alternatives)

    def suffix_for(self, options: ExportOptions) -> str:
        """The suffix of what `emit` writes: an alternative's last part is the format's name."""
        named = (s for s in self.alternatives if s.endswith(f".{options.format}"))
        return next(named, self.suffix)


class CannotRunError(ExportError):
    """An artifact cannot be executed on this machine; parity is "not run", which is no failure."""

    exit_code = 5
    meaning = "cannot run on this machine"


class Runner(Protocol):
    """An artifact opened from disk."""

    def results(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """Float32 (n, 3, r, r), normalized -> every output by the graph's name of it."""
        ...

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """The one output of an artifact that has one, such as float32 (n, classes) logits."""
        ...

    def layers(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """Values inside, by the graph's tensor names, as the golden's trace gives them.

        int8 codes (n, c, h, w) in an int8 artifact, float32 otherwise. Empty where the runtime
        does not let us look; tensors that it fuses away may be missing.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """An input or output of an artifact."""

    name: str
    shape: tuple[int | str, ...]  # a string names a dynamic dimension
    dtype: str
    note: str = ""  # quantization, color layout, ...


@dataclass(frozen=True, kw_only=True)
class LayerInfo:
    """One operation inside an artifact with the constants that only it reads."""

    name: str
    op: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What an artifact holds, read from disk."""

    format: str
    size_bytes: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    ops: Mapping[str, int]
    delegation: str
    layers: tuple[LayerInfo, ...]
    spec: ModelSpec | None = None  # labels and preprocessing, where the format carries them
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] | None = None  # None where nobody looked
    undelegated: int | None = None  # operations outside the delegate; None without delegates


@dataclass(frozen=True, kw_only=True, eq=False)
class Claim:
    """What an artifact is said to be, for a target that proves it in parts."""

    graph: QuantizedGraph
    precision: Precision
    images: np.ndarray  # float32 (n, 3, r, r), normalized
    expected: Mapping[str, np.ndarray]  # the golden's results for them, by name
    float_results: Mapping[str, np.ndarray]  # the float model's
    tolerances: Mapping[Precision, Tolerance] = field(default_factory=lambda: TOLERANCES)


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What a target's own proof of an artifact found."""

    by: str  # what was run, in the words of the verdict
    gates: tuple[Gate, ...]
    runner: Runner  # gives the logits that the golden and other artifacts are compared with
    notes: tuple[str, ...] = ()
    # How near to the float model's results a device must come, by output, where it cannot be held
    # to the golden's: dB, or a share of labels and detections.
    device_limits: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """How the reference evaluator runs a Core ML program."""

    arithmetic: Arithmetic
    operations: int  # run for each input; constants and what follows from them are not counted
    integer_layers: int  # of them; none in other arithmetic than that
    real_layers: tuple[str, ...]  # quantized values that integer arithmetic did not reach


@runtime_checkable
class Examiner(Protocol):
    """A target whose runtime is not held to the golden's last bit, so its artifact is in parts."""

    def examine(self, path: Path, claim: Claim) -> Examination:
        """Open an artifact and pass it through every gate; raises as `Backend.load` does."""
        ...


class Backend(Protocol):
    """The module of a target; its functions import their SDK when called, not before."""

    def check(self) -> None:
        """Raise MissingDependencyError when an SDK is not installed."""
        ...

    def check_options(self, precision: Precision, options: ExportOptions) -> None:
        """Raise UnsupportedError for a combination that the format lacks, whatever the graph.

        Asked of every job before any work, and by `emit` again.
        """
        ...

    def emit(
        self, graph: QuantizedGraph, precision: Precision, options: ExportOptions, path: Path
    ) -> tuple[str, ...]:
        """Write one artifact to `path` (its parent exists); returns notes for the user.

        A target with `companions` may write one more file per suffix under the same stem.

        `graph` is an int8 graph for INT8 and a float graph for FP32 and FP16. Equal arguments give
        equal bytes. Raises UnsupportedError as `check_options` does, and for a graph that the
        format cannot hold.
        """
        ...

    def load(self, path: Path) -> Runner:
        """Open an artifact; raises CannotRunError(reason) or ArtifactError."""
        ...

    def describe(self, path: Path) -> Contents:
        """Read what is inside without running it; raises ArtifactError."""
        ...


@dataclass(frozen=True, kw_only=True)
class Target:
    """A row and its module."""

    info: TargetInfo
    backend: Backend


def one_result(results: Mapping[str, np.ndarray]) -> np.ndarray:
    """The only one there is; raises GraphError where there are several."""
    if len(results) != 1:
        raise GraphError(f"one result is expected, there are {len(results)}: {', '.join(results)}")
    (value,) = results.values()
    return value


def require(target: str, *packages: str, cure: str) -> None:
    """Raise MissingDependencyError for the first package that is not installed; imports none."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(f"the {target} target needs the package {package}", cure)
