"""Checkpoint -> model -> float graph -> int8 graph, and the images that prove what follows."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from exporter import demo, golden
from exporter.checkpoints import (
    Checkpoint,
    Overrides,
    build_model,
    check_classifier,
    load_checkpoint,
)
from exporter.data import (
    CALIBRATION_COUNT,
    HOLDOUT_COUNT,
    TRAINING_COUNT,
    ImageSet,
    load_image_set,
)
from exporter.errors import DataError, GraphError
from exporter.events import Event, Note, Stage
from exporter.fold import fold
from exporter.graph import QuantizedGraph
from exporter.manifest import Calibration, Source
from exporter.metrics import accuracy, sqnr_db
from exporter.models import MobileNetV2
from exporter.preprocess import normalize, to_pixels
from exporter.proof import Evidence, Labeled
from exporter.quantize import health
from exporter.quantize.settings import QatSettings
from exporter.quantizing import check_integers, check_training, int8_graph, trained_graph
from exporter.spec import ModelSpec, Precision, Rules
from exporter.tolerances import relative, tolerances
from exporter.vectors import Vectors, make_vectors, reference_key, references, vector_images
from exporter.verdicts import TOLERANCES, Accuracy, Quantization, Tolerance

DEMO = "demo"
STAND_IN = "no photos given: parity runs on the embedded pictures"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the reference is made from; without a checkpoint it is the embedded demo."""

    checkpoint: Path | None = None
    overrides: Overrides = field(default_factory=Overrides)
    calibration: tuple[Path, ...] = ()
    calibration_count: int | None = None  # None: as many as what is done with them needs
    qat: QatSettings | None = None  # int8: train block by block on the calibration images


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """The graphs and everything that artifacts are compared with."""

    spec: ModelSpec
    source: Source
    calibration: Calibration | None
    quantization: Quantization | None  # of a request that trains
    graphs: dict[Precision, QuantizedGraph]  # FP32 always, INT8 when asked for
    vectors: Vectors
    images: np.ndarray  # the vectors, normalized
    expected: dict[str, np.ndarray]  # goldens' logits by `reference_key`
    holdout: np.ndarray
    float_logits: np.ndarray
    labeled: Labeled | None
    float_accuracy: Accuracy | None

    @functools.cached_property
    def tolerances(self) -> Mapping[Precision, Tolerance]:
        """What this network's float artifacts are asked for; measured when the first one is."""
        return tolerances(self.graphs[Precision.FP32], self.images)

    def evidence(self, precision: Precision, rules: Rules) -> Evidence:
        """What an artifact of a precision and a runtime's rules is compared with."""
        return Evidence(
            graph=self.graphs[precision.graph],
            precision=precision,
            rules=rules,
            images=self.images,
            expected=self.expected[reference_key(precision, rules)],
            float_expected=self.expected[Precision.FP32],
            tolerances=TOLERANCES if precision is Precision.INT8 else self.tolerances,
            holdout=self.holdout,
            float_logits=self.float_logits,
            labeled=self.labeled,
        )


def make_reference(request: Request, *, needs_int8: bool) -> Generator[Event, None, Reference]:
    """Read, fold and quantize; raises ExportError for a checkpoint or data that cannot be used."""
    if request.qat is not None:
        check_training(request.qat, needs_int8)
    checkpoint = yield from _load(request)
    spec = checkpoint.spec
    if needs_int8 and checkpoint.integers is not None:
        check_integers(checkpoint, request.qat)
    calibrates = needs_int8 and checkpoint.integers is None
    images = yield from _load_images(request, spec, calibrates)
    holdout = normalize(images.holdout, spec.preprocess)
    graphs = {Precision.FP32: (yield from _fold(checkpoint, holdout[:2]))}
    quantization: Quantization | None = None
    if needs_int8:
        if checkpoint.integers is not None:
            graphs[Precision.INT8] = yield from trained_graph(checkpoint, graphs[Precision.FP32])
            quantization = checkpoint.integers.record
        else:
            graphs[Precision.INT8], quantization = yield from int8_graph(
                graphs[Precision.FP32], images, holdout, request.qat
            )
    stage = Stage("references")
    yield stage.started
    vectors = make_vectors(images.holdout)
    inputs = vector_images(vectors, graphs[Precision.FP32])
    labeled = _labeled(request, spec)
    reference = Reference(
        spec=spec,
        source=_source(request, checkpoint),
        calibration=_calibration(checkpoint, images) if needs_int8 else None,
        quantization=quantization,
        graphs=graphs,
        vectors=vectors,
        images=inputs,
        expected=references(graphs, inputs),
        holdout=holdout,
        float_logits=golden.run(graphs[Precision.FP32], holdout),
        labeled=labeled,
        float_accuracy=_float_accuracy(graphs[Precision.FP32], labeled),
    )
    yield stage.finished(f"{', '.join(reference.expected)} on {len(inputs)} golden vectors")
    return reference


def _load(request: Request) -> Generator[Event, None, Checkpoint]:
    stage = Stage("checkpoint")
    yield stage.started
    checkpoint = load_checkpoint(request.checkpoint or demo.CHECKPOINT, request.overrides)
    check_classifier(checkpoint)
    spec = checkpoint.spec
    yield stage.finished(
        f"{checkpoint.source}, width {spec.width:g}, {spec.resolution} px, {spec.classes} classes"
    )
    if request.checkpoint is not None:
        for fact in checkpoint.detected:
            yield Note(text=f"{fact.what}: {fact.value} ({fact.how})")
    return checkpoint


def _load_images(
    request: Request, spec: ModelSpec, calibrates: bool
) -> Generator[Event, None, ImageSet]:
    stage = Stage("images")
    yield stage.started
    if request.calibration:
        images = load_image_set(request.calibration, spec.preprocess, _count(request))
    elif request.checkpoint is None:
        images = _demo_images(spec, _count(request))
    elif calibrates:
        raise DataError(
            "int8 needs calibration images for this checkpoint",
            "pass --calibration with a folder of typical photos, or --precision fp32",
        )
    else:
        images = dataclasses.replace(_demo_images(spec, _count(request)), origin=STAND_IN)
    yield stage.finished(images.origin)
    for note in images.notes:
        yield Note(text=note)
    return images


def _count(request: Request) -> int:
    """Calibration images of a build."""
    if request.calibration_count is not None:
        return request.calibration_count
    return CALIBRATION_COUNT if request.qat is None else TRAINING_COUNT


@functools.cache
def _demo_pictures() -> tuple[np.ndarray, np.ndarray]:
    """The demo's test split, composed once."""
    return demo.unseen_images()


def _demo_images(spec: ModelSpec, count: int) -> ImageSet:
    pixels, _ = _demo_pictures()
    chosen = np.linspace(0, len(pixels) - 1, HOLDOUT_COUNT).astype(int)
    return ImageSet(
        calibration=_fitted(demo.calibration_images(count), spec),
        holdout=_fitted(pixels[chosen], spec),
        origin=f"{count} embedded pictures to calibrate, "
        f"{HOLDOUT_COUNT} of an unseen style held out",
    )


def _fitted(pixels: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """Embedded pictures (n, 96, 96, 3) by the spec's contract, (n, r, r, 3)."""
    return np.stack([to_pixels(Image.fromarray(p), spec.preprocess) for p in pixels])


def _fold(checkpoint: Checkpoint, probe: np.ndarray) -> Generator[Event, None, QuantizedGraph]:
    """Fold batch norm away and check that the graph still computes what the model computes."""
    stage = Stage("fold")
    yield stage.started
    model = build_model(checkpoint)
    yield from (Note(text=line) for line in health.told(health.check_model(model, checkpoint.spec)))
    graph = fold(model)
    ratio, own = _nearness(model, graph, probe)
    if ratio < relative(Precision.FP32, own).min_sqnr_db:
        raise GraphError(
            f"folding batch norm changed the logits: {ratio:.0f} dB SQNR to the model in double "
            f"precision, where the model itself has {own:.0f}"
        )
    yield stage.finished(
        f"{sum(1 for _ in graph.weighted())} fused layers, {ratio:.0f} dB to the model"
    )
    return graph


def _nearness(model: MobileNetV2, graph: QuantizedGraph, probe: np.ndarray) -> tuple[float, float]:
    """SQNR of a float graph and of its model, in float32, against the model in float64, in dB.

    A network that is hardly trained has logits not far above its rounding noise: what is asked of
    the graph is to be no worse than the model.
    """
    with torch.no_grad():
        own = model(torch.from_numpy(probe)).numpy()
        exact = copy.deepcopy(model).double()(torch.from_numpy(probe).double()).numpy()
    return sqnr_db(exact, golden.run(graph, probe)), sqnr_db(exact, own)


def _labeled(request: Request, spec: ModelSpec) -> Labeled | None:
    """The demo's test split: a style and backgrounds that training never saw."""
    if request.checkpoint is not None:
        return None
    pixels, labels = _demo_pictures()
    return Labeled(images=normalize(_fitted(pixels, spec), spec.preprocess), labels=labels)


def _float_accuracy(graph: QuantizedGraph, labeled: Labeled | None) -> Accuracy | None:
    if labeled is None:
        return None
    return accuracy(golden.run(graph, labeled.images), labeled.labels)


def _source(request: Request, checkpoint: Checkpoint) -> Source:
    return Source(
        name=DEMO if request.checkpoint is None else request.checkpoint.name,
        format=checkpoint.source,
        sha256=checkpoint.sha256,
        detected=tuple(dataclasses.asdict(fact) for fact in checkpoint.detected),
    )


def _calibration(checkpoint: Checkpoint, images: ImageSet) -> Calibration:
    if checkpoint.integers is not None:
        return checkpoint.integers.calibration
    return Calibration(images=len(images.calibration), sha256=images.sha256, origin=images.origin)
