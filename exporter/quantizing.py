"""The int8 graph of a build: quantized here, trained here, or as its checkpoint brings it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Generator, Iterator

import numpy as np

from exporter import golden
from exporter.checkpoints import Checkpoint
from exporter.data import ImageSet
from exporter.errors import GraphError, UnsupportedError
from exporter.events import Event, Note, Stage, StageProgressed
from exporter.graph import Op, QuantizedGraph
from exporter.metrics import quality
from exporter.preprocess import normalize
from exporter.quantize import health, quantize
from exporter.quantize.block_qat import BlockTrained
from exporter.quantize.equalize import balance
from exporter.quantize.settings import MOST_BITS, QatSettings
from exporter.quantize.stages import Refined, refine
from exporter.quantize.tail import with_dequantize
from exporter.verdicts import AGREEMENTS, Quantization, QuantizationStage

HEALTH_COUNT = 16  # images that channels are looked at with


def check_training(settings: QatSettings, needs_int8: bool) -> None:
    """Raise UnsupportedError for training that no artifact would come of."""
    if not needs_int8:
        raise UnsupportedError("--qat trains the int8 model, which is not built", "add -p int8")
    if not settings.bits.exportable:
        raise UnsupportedError(
            f"{settings.bits.activations} bits of activation can be simulated, not exported",
            "choose 8 bits of activation",
        )


def check_integers(checkpoint: Checkpoint, qat: QatSettings | None) -> None:
    """Raise UnsupportedError where a checkpoint's own int8 graph is not what is asked for."""
    integers = checkpoint.integers
    assert integers is not None, "there is nothing to check"
    name = "the int8 graph in the checkpoint"
    if qat is not None:
        raise UnsupportedError(f"{name} is trained already", "leave --qat out")
    if integers.activation_bits < MOST_BITS:
        raise UnsupportedError(
            f"{name} has {integers.activation_bits} bits of activation, which can be simulated, "
            "not exported",
            "train with 8 bits of activation, or build -p fp32",
        )
    stated, own = checkpoint.spec, integers.graph.spec
    if dataclasses.replace(stated, labels=own.labels) != own:
        raise UnsupportedError(
            f"{name} is for {own.resolution} px and for the preprocessing of its training",
            "leave --resolution and --preprocess out",
        )


def trained_graph(
    checkpoint: Checkpoint, graph: QuantizedGraph
) -> Generator[Event, None, QuantizedGraph]:
    """The int8 graph that training left in a checkpoint, for the float graph of the same file."""
    integers = checkpoint.integers
    assert integers is not None, "there is no such graph"
    stage = Stage("quantize")
    yield stage.started
    trained = dataclasses.replace(integers.graph, spec=checkpoint.spec)
    require_same_structure(graph, trained)
    trained = balance(trained)
    yield from (Note(text=line) for line in health.told(health.check_graph(trained)))
    yield stage.finished(f"as trained: {integers.record.told(graph.spec.task)}")
    return trained


def require_same_structure(exact: QuantizedGraph, trained: QuantizedGraph) -> None:
    """Raise GraphError unless two graphs differ in numbers only: not in a stride, not in a clamp.

    Parity compares artifacts with the int8 graph; nothing else would tell that it computes another
    function than the float model beside it.
    """
    layers = with_dequantize(exact)
    for own, other in itertools.zip_longest(layers.ops, trained.ops):
        if own is None or other is None or _structure(own) != _structure(other):
            name = (own or other).output
            raise GraphError(
                f"the checkpoint's int8 graph is not that of its float model: {name} differs",
                "the file is damaged, or another tool wrote it: train again",
            )


def _structure(op: Op) -> tuple[object, ...]:
    fields = (field.name for field in dataclasses.fields(op))
    plain = ((name, getattr(op, name)) for name in fields if name not in ("weight", "bias"))
    return (type(op).__name__, *plain)


def int8_graph(
    graph: QuantizedGraph, images: ImageSet, holdout: np.ndarray, qat: QatSettings | None
) -> Generator[Event, None, tuple[QuantizedGraph, Quantization | None]]:
    """Quantize a float graph, and train it where asked; with notes on what would ruin it."""
    calibration = normalize(images.calibration, graph.spec.preprocess)
    yield from examined(graph, calibration)
    stage = Stage("quantize")
    yield stage.started
    record = None
    if qat is not None:
        refined = yield from progressing(refine(graph, calibration, holdout, qat))
        quantized, record = refined.graph, refined.record
    else:
        quantized = quantize(graph, calibration)
    quantized = balance(quantized)
    yield from (Note(text=line) for line in health.told(health.check_graph(quantized)))
    if record is not None:
        yield stage.finished(record.told(graph.spec.task))
    else:
        exact, rounded = (golden.run_outputs(g, holdout) for g in (graph, quantized))
        figures = quality(exact, rounded)
        yield stage.finished(
            f"{figures.ratio_db:.1f} dB SQNR to float, {figures.top1_agreement:.1%} "
            f"{AGREEMENTS[graph.spec.task]} agreement"
        )
    return quantized, record


def examined(graph: QuantizedGraph, calibration: np.ndarray) -> Iterator[Note]:
    """What would ruin quantization; said before it is done."""
    found = health.check_images(calibration, graph.spec)
    found += health.check_channels(graph, calibration[:HEALTH_COUNT])
    yield from (Note(text=line) for line in health.told(found))


def progressing(
    refining: Generator[BlockTrained | QuantizationStage, None, Refined],
) -> Generator[Event, None, Refined]:
    """Turn what training tells into events."""
    try:
        while True:
            told = progress(next(refining))
            if told is not None:
                yield told
    except StopIteration as end:
        result: Refined = end.value
        return result


def progress(done: BlockTrained | QuantizationStage) -> StageProgressed | None:
    """A line on a block; of stages the end tells."""
    if isinstance(done, QuantizationStage):
        return None
    return StageProgressed(
        detail=f"block {done.block} of {done.blocks} trained, "
        f"error {done.before:.2g} -> {done.after:.2g}"
    )
