"""Checkpoint -> model -> float graph -> int8 graph, and the images that prove what follows."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch

from exporter import embedded, golden
from exporter.checkpoints import Checkpoint, build_network, load_checkpoint
from exporter.data import ImageSet, load_image_set
from exporter.ends import with_ends
from exporter.errors import DataError, GraphError
from exporter.events import Event, Note, Stage
from exporter.fold import core_results, fold_core
from exporter.graph import QuantizedGraph
from exporter.manifest import Calibration, Source
from exporter.metrics import joint_sqnr_db
from exporter.models import Network
from exporter.outputs import chosen_ends
from exporter.preprocess import normalize
from exporter.proof import Evidence
from exporter.quantize import health
from exporter.quantizing import check_integers, check_training, int8_graph, trained_graph
from exporter.rating import Labeled, rated
from exporter.request import Request, calibration_count
from exporter.results import Results
from exporter.spec import ModelSpec, Precision, Rules
from exporter.tasks import Task
from exporter.tolerances import relative, tolerances
from exporter.vectors import (
    Expected,
    Vectors,
    affordable,
    make_vectors,
    reference_key,
    references,
    vector_images,
)
from exporter.verdicts import TOLERANCES, Quantization, Score, Tolerance

__all__ = ["Reference", "Request", "make_reference"]

DEMO = "demo"
COCO_TOOLS = "pycocotools"
HOLDOUT_BYTES = 1 << 28  # of the float model's results for the held-out images


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
    expected: Expected  # goldens' results by `reference_key`
    holdout: np.ndarray
    float_holdout: Results  # the float model's
    labeled: Labeled | None
    float_accuracy: Score | None

    @functools.cached_property
    def tolerances(self) -> Mapping[Precision, Tolerance]:
        """What this network's float artifacts are asked for; measured when the first one is."""
        return tolerances(self.graphs[Precision.FP32], self.images)

    def evidence(
        self,
        precision: Precision,
        rules: Rules,
        measured: Mapping[Precision, Tolerance] | None = None,
    ) -> Evidence:
        """What an artifact of a precision and a runtime's rules is compared with.

        `measured` are the tolerances, where another process has them already.
        """
        return Evidence(
            graph=self.graphs[precision.graph],
            precision=precision,
            rules=rules,
            images=self.images,
            expected=self.expected[reference_key(precision, rules)],
            float_expected=self.expected[Precision.FP32],
            tolerances=measured or self._tolerances_for(precision),
            holdout=self.holdout,
            float_holdout=self.float_holdout,
            labeled=self.labeled,
        )

    def _tolerances_for(self, precision: Precision) -> Mapping[Precision, Tolerance]:
        return TOLERANCES if precision is Precision.INT8 else self.tolerances


def make_reference(request: Request, *, needs_int8: bool) -> Generator[Event, None, Reference]:
    """Read, fold and quantize; raises ExportError for a checkpoint or data that cannot be used."""
    if request.qat is not None:
        check_training(request.qat, needs_int8)
    checkpoint = yield from _load(request)
    spec = checkpoint.spec
    if needs_int8 and checkpoint.integers is not None:
        check_integers(checkpoint, request.qat)
    calibrates = needs_int8 and checkpoint.integers is None
    ends = chosen_ends(spec.task, spec.classes, request.outputs, request.nms)
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
    graphs = {precision: with_ends(core, ends) for precision, core in graphs.items()}
    return (yield from _compared_with(request, checkpoint, images, graphs, quantization))


def _compared_with(
    request: Request,
    checkpoint: Checkpoint,
    images: ImageSet,
    graphs: dict[Precision, QuantizedGraph],
    quantization: Quantization | None,
) -> Generator[Event, None, Reference]:
    """What the graphs give for the golden vectors, the held-out images and those with labels."""
    stage = Stage("references")
    yield stage.started
    spec, exact = checkpoint.spec, graphs[Precision.FP32]
    vectors = make_vectors(images.holdout, affordable(exact))
    inputs = vector_images(vectors, exact)
    holdout = normalize(images.holdout, spec.preprocess)[: affordable(exact, HOLDOUT_BYTES)]
    labeled = embedded.labeled(spec) if request.checkpoint is None else None
    labeled, notes = _rateable(labeled, spec)
    reference = Reference(
        spec=spec,
        source=_source(request, checkpoint),
        calibration=_calibration(checkpoint, images) if Precision.INT8 in graphs else None,
        quantization=quantization,
        graphs=graphs,
        vectors=vectors,
        images=inputs,
        expected=references(graphs, inputs),
        holdout=holdout,
        float_holdout=golden.run_outputs(exact, holdout),
        labeled=labeled,
        float_accuracy=_float_accuracy(exact, labeled),
    )
    yield stage.finished(f"{', '.join(reference.expected)} on {len(inputs)} golden vectors")
    yield from (Note(text=note) for note in notes)
    return reference


def _rateable(labeled: Labeled | None, spec: ModelSpec) -> tuple[Labeled | None, tuple[str, ...]]:
    """Nothing to rate with where a detector's figures need a package that is not there."""
    if labeled is None or spec.task is not Task.DETECTION or find_spec(COCO_TOOLS) is not None:
        return labeled, ()
    return None, ("mean AP is not computed: pip install 'mnv2-export[coco]'",)


def _load(request: Request) -> Generator[Event, None, Checkpoint]:
    stage = Stage("checkpoint")
    yield stage.started
    checkpoint = load_checkpoint(
        request.checkpoint or embedded.checkpoint(request.demo), request.overrides
    )
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
        images = load_image_set(request.calibration, spec.preprocess, calibration_count(request))
    elif request.checkpoint is None:
        images = embedded.images(spec, calibration_count(request))
    elif calibrates:
        raise DataError(
            "int8 needs calibration images for this checkpoint",
            "pass --calibration with a folder of typical photos, or --precision fp32",
        )
    else:
        images = embedded.stand_ins(spec, calibration_count(request))
    yield stage.finished(images.origin)
    for note in images.notes:
        yield Note(text=note)
    return images


def _fold(checkpoint: Checkpoint, probe: np.ndarray) -> Generator[Event, None, QuantizedGraph]:
    """Fold batch norm away and check that the graph still computes what the model computes."""
    stage = Stage("fold")
    yield stage.started
    model = build_network(checkpoint)
    yield from (Note(text=line) for line in health.told(health.check_model(model, checkpoint.spec)))
    graph = fold_core(model)
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


def _nearness(model: Network, graph: QuantizedGraph, probe: np.ndarray) -> tuple[float, float]:
    """SQNR of a float graph and of its model, in float32, against the model in float64, in dB.

    A network that is hardly trained has logits not far above its rounding noise: what is asked of
    the graph is to be no worse than the model.
    """
    with torch.no_grad():
        own = core_results(model, torch.from_numpy(probe))
        exact = core_results(copy.deepcopy(model).double(), torch.from_numpy(probe).double())
    return joint_sqnr_db(exact, golden.run_outputs(graph, probe)), joint_sqnr_db(exact, own)


def _float_accuracy(graph: QuantizedGraph, labeled: Labeled | None) -> Score | None:
    if labeled is None:
        return None
    return rated(lambda images: golden.run_outputs(graph, images), labeled, graph.spec)


def _source_name(request: Request) -> str:
    if request.checkpoint is not None:
        return request.checkpoint.name
    return DEMO if request.demo is Task.CLASSIFICATION else f"{DEMO} {request.demo}"


def _source(request: Request, checkpoint: Checkpoint) -> Source:
    return Source(
        name=_source_name(request),
        format=checkpoint.source,
        sha256=checkpoint.sha256,
        detected=tuple(dataclasses.asdict(fact) for fact in checkpoint.detected),
    )


def _calibration(checkpoint: Checkpoint, images: ImageSet) -> Calibration:
    if checkpoint.integers is not None:
        return checkpoint.integers.calibration
    return Calibration(images=len(images.calibration), sha256=images.sha256, origin=images.origin)
