"""Weights as they would be shipped, ready to be judged and written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch

from exporter.checkpoints import TrainedIntegers, save_checkpoint
from exporter.ends import with_ends
from exporter.graph import QuantizedGraph
from exporter.models import Network, RawDetections
from exporter.models.deeplabv3 import enlarge
from exporter.outputs import Ends, Outputs, default_outputs
from exporter.quantize.fake_quant import FusedNetwork
from exporter.quantize.integer_network import IntegerNetwork
from exporter.quantize.settings import Bits
from exporter.quantize.stages import END_TO_END
from exporter.training.device import autocast
from exporter.training.loading import to_input
from exporter.training.settings import Arithmetic
from exporter.training.targets import Given
from exporter.training.validation import Tally
from exporter.verdicts import QuantizationStage


class Candidate(Protocol):
    """What an epoch has come to."""

    def __call__(self, images: torch.Tensor) -> Given:
        """Float32 results, on any device, for uint8 (n, 3, r, r) as loaded."""
        ...

    def save(self, path: Path, tally: Tally, *, best: bool) -> None:
        """Write a checkpoint that `build` takes, with how it did; raises CheckpointError."""
        ...


class FloatCandidate:
    """A float network in eval mode."""

    def __init__(self, model: Network, device: torch.device, precision: Arithmetic) -> None:
        self.model, self.device, self.precision = model.eval(), device, precision

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> Given:
        """Computed on the device in its precision."""
        on_device = images.to(self.device, memory_format=torch.channels_last)
        with autocast(self.device, self.precision):
            given = self.model(to_input(on_device, self.model.spec.preprocess))
        return in_float32(given)

    def save(self, path: Path, tally: Tally, *, best: bool) -> None:
        """The weights and their spec; how they did is in metrics.jsonl."""
        del tally, best
        save_checkpoint(path, self.model.spec, self.model.state_dict())


def in_float32(given: Given) -> Given:
    """What was computed in fewer bits."""
    if isinstance(given, RawDetections):
        return RawDetections(*(tensor.float() for tensor in given))
    return given.float()


def given_by(results: Mapping[str, torch.Tensor], side: int) -> Given:
    """What a graph's weights end in as its module gives it, of images of that side."""
    if Outputs.LOWRES_LOGITS in results:
        return enlarge(results[Outputs.LOWRES_LOGITS], torch.Size((side, side)))
    return results["logits"] if "logits" in results else RawDetections(**results)


class IntegerResults:
    """An int8 graph, run as the integers that ship, on the CPU wherever the training is.

    A segmenter's are enlarged as codes.
    """

    def __init__(self, graph: QuantizedGraph, bits: Bits) -> None:
        shipped = with_ends(graph, Ends(outputs=default_outputs(graph.spec.task)))
        self.network = IntegerNetwork(shipped, bits.code_limits(graph))
        self.contract = graph.spec.preprocess

    def __call__(self, images: torch.Tensor) -> Given:
        """Dequantized, for uint8 (n, 3, r, r)."""
        results = self.network.results(to_input(images.cpu(), self.contract).numpy())
        arrays = {name: torch.from_numpy(array) for name, array in results.items()}
        return given_by(arrays, images.shape[-1])


class FloatResults:
    """The float model that integers are compared with, and learn from."""

    def __init__(self, graph: QuantizedGraph, device: torch.device) -> None:
        self.network = FusedNetwork(graph).eval().requires_grad_(False).to(device)
        self.contract, self.device = graph.spec.preprocess, device

    def __call__(self, images: torch.Tensor) -> Given:
        """On the device, for uint8 (n, 3, r, r)."""
        results = self.network.results(to_input(images.to(self.device), self.contract))
        return given_by(results, images.shape[-1])


class IntegerCandidate:
    """An int8 graph beside the float model that it began with."""

    def __init__(self, model: Network, integers: TrainedIntegers, bits: Bits) -> None:
        self.model, self.integers = model, integers
        self.results = IntegerResults(integers.graph, bits)

    def __call__(self, images: torch.Tensor) -> Given:
        """Of the integers."""
        return self.results(images)

    def save(self, path: Path, tally: Tally, *, best: bool) -> None:
        """With one stage more: that of an epoch of end-to-end training, which this is."""
        self.save_with(path, (ended(tally, kept=best),), built=END_TO_END)

    def save_with(
        self, path: Path, stages: tuple[QuantizationStage, ...], *, built: str = ""
    ) -> None:
        """The float model and the int8 graph, with more stages in its record."""
        record = self.integers.record
        record = dataclasses.replace(record, stages=(*record.stages, *stages), built=built)
        integers = dataclasses.replace(self.integers, record=record)
        save_checkpoint(path, self.model.spec, self.model.state_dict(), integers=integers)


def ended(tally: Tally, *, kept: bool) -> QuantizationStage:
    """The record of an epoch of end-to-end training."""
    assert tally.quality is not None, "integers are compared with the float model"
    return QuantizationStage(
        name=END_TO_END, quality=tally.quality, accuracy=tally.score, kept=kept
    )
