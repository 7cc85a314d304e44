"""What a result depends on, as one hash: inputs by their bytes, choices, tools and our own code.

Names of directories, times, the machine and the order in which targets are asked for change no
key. The kind of machine does, and which instructions its processor has: libraries choose kernels by
them, whose float sums, and on some processors int8 sums, differ.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import types
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.cache import sources
from exporter.files import sha256
from exporter.options import OWNERS
from exporter.spec import ModelSpec, Preprocess

if TYPE_CHECKING:
    from exporter.manifest import Manifest
    from exporter.request import Request
    from exporter.spec import Precision
    from exporter.target import ExportOptions, Target

REFERENCE_CODE = ("exporter.reference", "exporter.reference_file")
PROOF_CODE = ("exporter.making", "exporter.reference_file")
# Beside the packages of the manifest: readers of checkpoints, and what figures are computed with.
KERNEL_FLAGS = ("amx", "asimd", "avx", "bf16", "fma", "i8mm", "sse", "sve")
# By which libraries are told to choose other kernels.
KERNEL_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
)
FURTHER_PACKAGES = ("h5py", "safetensors", "pycocotools", "torchao", "flatbuffers")


def reference_key(request: Request, *, needs_int8: bool) -> str:
    """Of the graphs of a request, and of what artifacts are compared with."""
    from exporter.request import calibration_count

    return key(
        "reference",
        checkpoint=_checkpoint(request),
        calibration=calibration(request.calibration, calibration_count(request)),
        overrides=plain(request.overrides),
        demo=None if request.checkpoint else plain(request.demo),
        choices=[plain(v) for v in (request.outputs, request.nms, request.qat)],
        calibration_count=request.calibration_count,
        needs_int8=needs_int8,
        tools=tools(),
        code=sources.digest(*REFERENCE_CODE),
    )


def read_code(targets: Iterable[Target]) -> None:
    """Hash the source that keys are made of now, before any more of it is loaded."""
    sources.digest(*REFERENCE_CODE)
    for target in targets:
        sources.digest(*PROOF_CODE, _module(target))


def artifact_key(
    target: Target, precision: Precision, options: ExportOptions, evidence: Mapping[str, str]
) -> str:
    """Of one artifact and its proof; `evidence` are the hashes of what it is made from and for."""
    info = target.info
    return key(
        "artifact",
        target=plain(info),
        precision=plain(precision),
        options={name: plain(getattr(options, name)) for name in own_options(info.name)},
        evidence=dict(evidence),
        tools=tools(),
        code=sources.digest(*PROOF_CODE, _module(target)),
        backend="" if isinstance(target.backend, types.ModuleType) else repr(target.backend),
    )


def build_key(manifest: Manifest, artifacts: Sequence[str]) -> str:
    """Of the comparison of artifacts with each other, given their keys in the manifest's order."""
    return key(
        "build",
        artifacts=list(artifacts),
        files=[[a.path, a.sha256] for a in manifest.artifacts],
        code=sources.digest("exporter.proof"),
    )


def own_options(target: str) -> tuple[str, ...]:
    """Names of the options that a target's artifacts depend on."""
    return tuple(name for name, owner in OWNERS.items() if owner == target)


def key(kind: str, **ingredients: Any) -> str:
    """The hash of plain values."""
    text = json.dumps({"kind": kind, **ingredients}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def plain(value: Any) -> Any:
    """A value as JSON has it; raises TypeError for what has no lasting name, such as a closure."""
    if isinstance(value, ModelSpec | Preprocess):
        return value.to_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, types.FunctionType) and "<" not in value.__qualname__:
        return f"{value.__module__}.{value.__qualname__}"
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{value!r} cannot be part of a key")


@functools.cache
def tools() -> dict[str, str]:
    """Versions of everything whose change may change a result, and the kind of machine."""
    from exporter.manifest import installed_versions

    versions = installed_versions()
    for name in FURTHER_PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = ""
    chosen = {name: os.environ[name] for name in KERNEL_VARIABLES if name in os.environ}
    return {
        **versions,
        **chosen,
        "machine": f"{platform.system()} {platform.machine()}",
        "instructions": instructions(),
    }


def instructions(listed: Path = Path("/proc/cpuinfo")) -> str:
    """Of the processor's instructions those that kernels are chosen by; elsewhere its name."""
    try:
        lines = listed.read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return " ".join(sorted(f for f in value.split() if f.startswith(KERNEL_FLAGS)))
    return platform.processor()


def _checkpoint(request: Request) -> list[str] | None:
    """The file's bytes, and the name that the manifest gives as the source."""
    if request.checkpoint is None:
        return None
    path = request.checkpoint
    if path.is_dir() or path.suffix == "":  # a training run's folder, or a pointer to one
        from exporter.checkpoints import run_checkpoint

        path = run_checkpoint(path)
    return [request.checkpoint.name, sha256(path)]


def calibration(paths: Sequence[Path], count: int | None) -> list[list[str]]:
    """The photos that will be read, in order; a message about one of them gives its name."""
    if not paths:
        return []
    from exporter.data import CALIBRATION_COUNT, chosen_images

    chosen = chosen_images(paths, count or CALIBRATION_COUNT)
    return [[path.name, sha256(path)] for path in chosen]


def _module(target: Target) -> str:
    backend = target.backend
    return backend.__name__ if isinstance(backend, types.ModuleType) else type(backend).__module__
