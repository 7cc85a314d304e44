"""Any simple ML program, run by itself: a package, the files for its inputs, what it gives.

How a photo gets the model's size is the caller's affair (`Photos`), what the numbers mean too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tokenize
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from exporter.errors import ArtifactError, DataError, ExportError, UnsupportedError
from exporter.metadata import METADATA_KEY, spec_from_text
from exporter.spec import ModelSpec
from exporter.target import Arithmetic, Evaluator
from targets.mil.features import side_lengths, takes_size
from targets.mil.integers import SUFFIX as AS_INTEGERS
from targets.mil.integers import unmatched
from targets.mil.package import read_package
from targets.mil.program import Program

if TYPE_CHECKING:
    from PIL import Image

NPY = ".npy"
PROGRAM_SUFFIX = ".pte"
LONGEST_SIDE = 1 << 14  # pixels, of what a package may want a photo scaled to
LARGEST_ARRAY = 1 << 30  # bytes of one .npy file
# What numpy raises for a file that is not one: its header is Python's text of a dictionary.
BAD_HEADERS = (OSError, ValueError, TypeError, OverflowError, SyntaxError, tokenize.TokenError)
SCALARS = ("int64Type", "doubleType")
NOT_PACKAGES = {
    ".mlmodel": "convert the original model again with coremltools' convert_to='mlprogram'",
    ".mlmodelc": "pass the .mlpackage that it was compiled from",
    ".zip": "unpack it first",
}
SAVE_ARRAYS = "save an array of numbers with numpy.save and pass the .npy file"
TAKES = "coreml-run takes a .mlpackage, or a .pte that holds one"


class Photos(Protocol):
    """How image files become a model's inputs."""

    def picture(
        self, path: Path, size: tuple[int, int], allows: Callable[[int, int], bool]
    ) -> Image.Image:
        """An RGB picture that the model allows, of (width, height) `size` if it had to be made."""
        ...

    def tensor(self, path: Path) -> np.ndarray | None:
        """Float32 (1, 3, h, w) for a model that takes normalized images; None if not known how."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A package that is ready to run on files."""

    path: Path
    program: Program
    spec: ModelSpec | None  # of a package that this tool wrote

    @cached_property
    def evaluator(self) -> Evaluator:
        """What is run, and in which arithmetic."""
        steps, arithmetic = self.program.steps, self.program.arithmetic
        return Evaluator(
            arithmetic=arithmetic,
            operations=len(steps),
            integer_layers=sum(step.kind.endswith(AS_INTEGERS) for step in steps),
            real_layers=unmatched(steps) if arithmetic is Arithmetic.INTEGER else (),
        )

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what it gives, as it declares them."""
        return tuple(self.program.outputs)

    def runs(self, arguments: Sequence[str]) -> list[dict[str, Path]]:
        """Input name -> file of each run; raises DataError for arguments that do not fit.

        A model of one input runs once per file; one of several takes NAME=FILE and runs once.
        """
        names = list(self.program.inputs)
        if len(names) == 1:
            return [{names[0]: Path(a.removeprefix(f"{names[0]}="))} for a in arguments]
        named = [argument.partition("=") for argument in arguments]
        given = [name for name, equals, _ in named if equals]
        if sorted(given) != sorted(names) or len(given) != len(named):
            wanted = " ".join(f"{name}=FILE" for name in names)
            raise DataError(
                f"the model takes {len(names)} inputs, each once, and not {' '.join(arguments)}",
                f"pass {wanted}",
            )
        return [{name: Path(file) for name, _, file in named}]

    def fed(self, files: Mapping[str, Path], photos: Photos) -> dict[str, Any]:
        """The values that the files of one run hold; raises DataError."""
        return {name: self._value(name, file, photos) for name, file in files.items()}

    def __call__(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Every declared output by name, in the order of their declaration."""
        given = self.program.run(values)
        return {name: given[name] for name in self.outputs}

    def _value(self, name: str, file: Path, photos: Photos) -> Any:
        feature = self.program.inputs[name]
        if file.suffix == NPY:
            array = read_array(file)
            return array.item() if _is_scalar(feature) and array.size == 1 else array
        size = side_lengths(feature)
        if size is not None:
            if not 0 < min(size) <= max(size) <= LONGEST_SIDE:
                wide, high = size
                raise UnsupportedError(f"{self.path}: {name!r} is a picture of {wide} x {high}")
            return photos.picture(file, size, partial(takes_size, feature))
        tensor = None if _is_scalar(feature) else photos.tensor(file)
        if tensor is None:
            raise DataError(
                f"{file}: input {name!r} of the model takes {_described(feature)}, not an image",
                SAVE_ARRAYS,
            )
        return tensor


def open_model(path: Path, arithmetic: Arithmetic = Arithmetic.DECLARED) -> Model:
    """A package, or the one inside a `.pte`, read, checked and ready to run.

    Raises ArtifactError for what is missing, damaged or no ML program, UnsupportedError for a
    program of operations that have no rule.
    """
    if not path.exists():
        raise ArtifactError(f"{path}: no such file", TAKES)
    if path.suffix == PROGRAM_SUFFIX:
        return _open_program(path, arithmetic)
    if path.suffix in NOT_PACKAGES:
        raise ArtifactError(
            f"{path}: a {path.suffix} is not an .mlpackage", NOT_PACKAGES[path.suffix]
        )
    if not path.is_dir():
        raise ArtifactError(f"{path}: not a Core ML package, which is a directory", TAKES)
    return _open(path, arithmetic)


def read_array(path: Path) -> np.ndarray:
    """The numbers of a `.npy` file; nothing in it is executed, and no more is read than it has.

    Raises DataError for a file that is missing, damaged, too large, or of no numbers.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such {NPY} file")
    if path.stat().st_size > LARGEST_ARRAY:
        raise DataError(f"{path}: larger than {LARGEST_ARRAY >> 20} MiB")
    try:
        # A header may promise more than follows: reading would allocate that, mapping refuses.
        array = np.array(np.lib.format.open_memmap(path, mode="r"))
    except BAD_HEADERS as error:
        why = " ".join(str(error).split())
        raise DataError(f"{path}: damaged, or no {NPY} file ({why})", SAVE_ARRAYS) from None
    if array.dtype.kind not in "fiub":
        raise DataError(f"{path}: {array.dtype} is not an array of numbers", SAVE_ARRAYS)
    return array


def _open(path: Path, arithmetic: Arithmetic) -> Model:
    package = read_package(path)
    spec = spec_from_text(package.metadata.get(METADATA_KEY))
    return Model(path=path, program=Program(package, arithmetic), spec=spec)


def _open_program(path: Path, arithmetic: Arithmetic) -> Model:
    """All is in memory once it is open, so the temporary package may go."""
    from targets.coreml_pte import extract

    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(extract(path))
        except ArtifactError as error:
            raise ArtifactError(error.message, TAKES) from None
        try:
            model = _open(folder, arithmetic)
        except ExportError as error:
            message = error.message.replace(str(folder), str(path))
            raise type(error)(message, error.hint) from None
    model.program.package = dataclasses.replace(model.program.package, path=path)
    return dataclasses.replace(model, path=path)


def _is_scalar(feature: Any) -> bool:
    return feature.type.WhichOneof("Type") in SCALARS


def _described(feature: Any) -> str:
    if _is_scalar(feature):
        return "one number"
    return f"an array of shape {list(feature.type.multiArrayType.shape)}"
