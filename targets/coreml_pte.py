"""Core ML in ExecuTorch: a `.pte` that is one call of the Core ML delegate, a package inside it.

The package is one of our own that takes a float32 tensor, as every `.pte` does. What the
delegate reads beside it is `metadata.json`: the names of input and output in their order, and an
identifier under which the runtime keeps the compiled model for the next start. ExecuTorch draws
that at random; ours is the package's digest, so that equal models are equal files, an app's update
compiles what has changed and nothing else, and damage is seen.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.errors import ArtifactError
from exporter.files import sha256
from exporter.metadata import METADATA_KEY
from exporter.spec import Precision
from exporter.tasks import Task
from targets.coreml_sdk import coremltools
from targets.flat_directory import flatten, unflatten
from targets.pte import Delegate, damage_is_an_artifact_error, deserialize, one_call, serialize

if TYPE_CHECKING:
    from targets.mil.package import Package

BACKEND_ID = "CoreMLBackend"
FOLDER, PACKAGE, METADATA = "lowered_module", "model.mlpackage", "metadata.json"
IDENTIFIER = "mnv2_export_"  # and 64 hex digits
INT32 = 131104  # Core ML's number of the type (`ArrayFeatureType.INT32`), labels of pixels are such


def pack(package: Path) -> bytes:
    """The program around a package of this tool that takes one tensor."""
    from targets.mil.package import read_package

    return serialize(_program(read_package(package)))


@contextlib.contextmanager
def extract(path: Path) -> Iterator[Path]:
    """The embedded package as a temporary `.mlpackage`; raises ArtifactError.

    It was found whole by then, and the program complete. One of ours is also compared with what
    `pack` makes of the same package, which leaves nothing in it unchecked.
    """
    coremltools()  # first, and quietly: it tries executorch where that is imported
    program = deserialize(path).program
    with tempfile.TemporaryDirectory() as folder:
        with damage_is_an_artifact_error(path):
            check_complete(program, path)
            index = program.execution_plan[0].delegates[0].processed.index
            files = unflatten(bytes(program.backend_delegate_data[index].data))
            _write(files, Path(folder))
            package = _read(Path(folder) / PACKAGE, path)
            _check(program, package, files[METADATA], path)
        yield package.path


def check_complete(program: Any, path: Path) -> None:
    """Raise ArtifactError unless all that a program does is one call of the Core ML delegate."""
    plans = program.execution_plan
    steps = [i.instr_args for p in plans for c in p.chains for i in c.instructions]
    first = [i.instr_args for p in plans[:1] for c in p.chains for i in c.instructions]
    delegates = [d.id for p in plans for d in p.delegates]
    operators = [o.name for p in plans for o in p.operators]
    if len(first) == len(steps) == 1 and delegates == [BACKEND_ID] and not operators:
        arguments = [*plans[0].inputs, *plans[0].outputs]
        if type(steps[0]).__name__ == "DelegateCall" and steps[0].args == arguments:
            return
    counts = Counter([*delegates, *operators]).items()
    found = ", ".join(f"{n} x {name}" for name, n in counts) or "no delegate"
    raise ArtifactError(
        f"{path}: not one call of {BACKEND_ID} and nothing else, but {found}, "
        f"in {len(steps)} instructions",
        "export again",
    )


def _program(package: Package) -> Any:
    """The record of the program; equal packages give equal records."""
    described, folder = package.spec.description, package.path
    (image,), results = described.input, described.output
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    contents = {f"{PACKAGE}/{name}": file.read_bytes() for name, file in files.items()}
    identifier = IDENTIFIER + sha256(folder)
    names = [result.name for result in results]
    stated = {"inputNames": [image.name], "outputNames": names, "identifier": identifier}
    contents[METADATA] = json.dumps(stated).encode()
    facts = json.loads(described.metadata.userDefined[METADATA_KEY])
    precision = facts["precision"]
    delegate = Delegate(
        backend=BACKEND_ID,
        payload=flatten(FOLDER, contents),
        compile_specs=(
            ("compute_units", b"all"),
            ("min_deployment_target", str(package.spec.specificationVersion).encode()),
            ("model_compute_precision", b"float32" if precision == Precision.FP32 else b"float16"),
            ("model_type", b"model"),  # not compiled: the device does that
        ),
    )
    image_shape, *shapes = (tuple(f.type.multiArrayType.shape) for f in (image, *results))
    return one_call(
        delegate,
        image_shape,
        *shapes,
        names=() if facts["spec"]["task"] == Task.CLASSIFICATION else names,
        whole=[f.type.multiArrayType.dataType == INT32 for f in results],
    )


def _write(files: Mapping[str, bytes], folder: Path) -> None:
    """The files of the package; their names were checked."""
    for name, data in files.items():
        if name.startswith(f"{PACKAGE}/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)


def _read(package: Path, path: Path) -> Package:
    """Whole, or an error that names the program instead of a temporary folder."""
    from targets.mil.package import read_package

    try:
        return read_package(package)
    except ArtifactError as error:
        message = error.message.replace(str(package), f"{path}: damaged {PACKAGE}")
        raise ArtifactError(message, error.hint) from None


def _check(program: Any, package: Package, metadata: bytes, path: Path) -> None:
    """What the runtime will look up is there; a program of ours is what we write."""
    described, stated = package.spec.description, json.loads(metadata)
    for key, features in (("inputNames", described.input), ("outputNames", described.output)):
        if stated[key] != [feature.name for feature in features]:
            raise ArtifactError(f"{path}: damaged, {METADATA} has other {key} than the package")
    ours = METADATA_KEY in described.metadata.userDefined
    if (ours or stated["identifier"].startswith(IDENTIFIER)) and program != _program(package):
        raise ArtifactError(
            f"{path}: damaged, not the program that belongs to its package", "export again"
        )
