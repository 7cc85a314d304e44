"""The records of this package: what the user states, what a reader found, what comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.graph import QuantizedGraph
from exporter.manifest import Calibration
from exporter.spec import HeadLayer, ModelSpec, PaddingStyle, Preprocess
from exporter.verdicts import Quantization

if TYPE_CHECKING:
    import torch

KNOWN_FORMATS = (
    "give a torchvision or timm state dict (.pt, .pth), safetensors, a Keras .h5 or .keras file, "
    "or a checkpoint that this tool wrote"
)
DAMAGED_HINT = "the file is damaged or was cut short: download or save it again"
DEFAULT_RESOLUTION = 224


def printable(text: str) -> str:
    """One line without control characters: names inside a file may hold anything."""
    return "".join(c if c.isprintable() else " " for c in text)


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What the user states about a file; None leaves it to the file, or to the source's default.

    `preprocess` is a whole contract, whose crop is the resolution where the file has none, or a
    rule that makes one for the resolution, such as `keras_preprocess`.
    """

    resolution: int | None = None
    labels: tuple[str, ...] | None = None
    preprocess: Preprocess | Callable[[int], Preprocess] | None = None

    def contract(self, resolution: int) -> Preprocess | None:
        """The stated preprocessing for a resolution."""
        stated = self.preprocess
        return stated if stated is None or isinstance(stated, Preprocess) else stated(resolution)


@dataclass(frozen=True, kw_only=True)
class Detected:
    """One printable fact about a checkpoint and where it comes from."""

    what: str
    value: str
    how: str


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedIntegers:
    """What quantization-aware training adds to a checkpoint of the float model that it began with.

    The graph's spec is that of the file, whatever the user states about the file.
    """

    graph: QuantizedGraph  # int8
    record: Quantization  # of every stage
    calibration: Calibration

    @property
    def activation_bits(self) -> int:
        """Fewer than 8 can be simulated only."""
        bits: int = self.record.settings["bits"]["activations"]
        return bits


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A checked MobileNetV2: `state_dict` is float32 and loads strictly into the spec's model."""

    spec: ModelSpec
    state_dict: dict[str, torch.Tensor]
    source: str
    sha256: str
    detected: tuple[Detected, ...]
    integers: TrainedIntegers | None = None  # of a file that `mnv2-export qat` wrote


@dataclass(frozen=True, kw_only=True)
class Stated:
    """A value together with where it comes from (`Detected.how`)."""

    value: int
    how: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Raw:
    """What a reader found in a file, under this tool's tensor names, before any check.

    `names` maps this tool's tensor names to the file's, for messages; `resolution` and `labels`
    are None where the file does not say. `preprocess` makes the source's contract for a
    resolution. `spec` is set when the file states the whole spec (our own format).
    """

    source: str
    format: str
    tensors: dict[str, torch.Tensor]
    names: dict[str, str]
    head: tuple[HeadLayer, ...]
    preprocess: Callable[[int], Preprocess]
    preprocess_how: str
    padding: PaddingStyle = PaddingStyle.TORCH
    padding_how: str = "what PyTorch models use"
    bn_eps: float = 1e-5
    bn_eps_how: str = "PyTorch's default; a state dict does not hold it"
    head_how: str = "from the file's tensors"
    dropout: float = 0.2
    resolution: Stated | None = None
    labels: tuple[str, ...] = ()
    labels_how: str = ""
    notes: tuple[Detected, ...] = ()
    spec: ModelSpec | None = None
    integers: TrainedIntegers | None = None
    check_resolution: Callable[[int], object] = int  # raises where a file fixes sizes; int does not
