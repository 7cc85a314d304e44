"""LiteRT (TensorFlow Lite): a `.tflite` emitted from the graph, run and described from the file.

litert_model.py walks the graph (litert_heads.py and litert_nms.py what follows the network),
litert_flatbuffer.py writes the container, litert_metadata.py what generic APIs read.
litert_reader.py checks a file, litert_delegation.py who computes it, litert_runner.py runs it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from exporter.errors import ArtifactError, UnsupportedError
from exporter.files import write_atomic
from exporter.graph import QuantizedGraph
from exporter.metadata import METADATA_KEY, spec_from_text
from exporter.spec import Precision
from exporter.target import Contents, ExportOptions, IoType, LayerInfo, Runner, TensorInfo, require
from exporter.tasks import Task
from exporter.timing import TimedSession
from targets.litert_delegation import delegate_nodes, told, undelegated
from targets.litert_model import build
from targets.litert_reader import read
from targets.litert_records import UNSIGNED, FlatModel
from targets.litert_runner import LitertRunner, open_interpreter


def check() -> None:
    """Raise MissingDependencyError unless the extra `litert` is installed."""
    require("litert", "ai_edge_litert", "flatbuffers", cure="pip install 'mnv2-export[litert]'")


def check_options(precision: Precision, options: ExportOptions) -> None:
    """Refuse integer input and output around a float model."""
    if options.io is not IoType.FLOAT32 and precision is not Precision.INT8:
        raise UnsupportedError(
            f"{options.io} input and output need int8 precision, not {precision}",
            "drop --io or choose --precision int8",
        )


def emit(
    graph: QuantizedGraph, precision: Precision, options: ExportOptions, path: Path
) -> tuple[str, ...]:
    """Write the `.tflite` file; options.io and options.softmax choose what an app sees."""
    check_options(precision, options)
    if options.softmax and graph.spec.task is not Task.CLASSIFICATION:
        raise UnsupportedError(f"--softmax ends a classifier, not a model for {graph.spec.task}")
    if graph.quantized != (precision is Precision.INT8):
        raise UnsupportedError(f"a graph of {graph.precision} cannot become {precision} LiteRT")
    write_atomic(path, build(graph, precision, options))
    return tuple(_notes(graph, options))


def load(path: Path) -> Runner:
    """Open the file in LiteRT; raises TargetError unless one XNNPACK node takes all of it."""
    data, model = read(path)
    shapes = [model.tensors[i].shape for i in model.inputs.values()]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise ArtifactError(f"{path}: not a model of one image (inputs {shapes})")
    return LitertRunner(data, model, path)


def timed_session(threads: int) -> TimedSession:
    """A `.tflite` on the clock; see `exporter.timing.Timed`."""
    from targets.litert_profile import LitertSession

    return LitertSession(threads)


def describe(path: Path) -> Contents:
    """What the file holds; LiteRT plans it to see what its delegate takes, but nothing runs."""
    data, model = read(path)
    metadata = model.metadata.get(METADATA_KEY, b"").decode(errors="replace")
    kinds = Counter(op.kind for op in model.operators)
    notes = [f"metadata: {', '.join(sorted(model.metadata))}"] if model.metadata else []
    if any(t.dtype == np.float16 for t in model.tensors):
        notes.append("weights are stored as float16 and widened to float32 on loading")
    pieces = delegate_nodes(open_interpreter(data, path))
    return Contents(
        format="LiteRT",
        size_bytes=len(data),
        inputs=tuple(_tensor_info(model, *end) for end in model.inputs.items()),
        outputs=tuple(_tensor_info(model, *end) for end in model.outputs.items()),
        ops=dict(kinds),
        delegation=told(pieces, model),
        undelegated=undelegated(pieces, model),
        layers=tuple(_layers(model)),
        spec=spec_from_text(metadata),
        notes=tuple(notes),
    )


def _notes(graph: QuantizedGraph, options: ExportOptions) -> Iterator[str]:
    yield from _mediapipe_notes(graph)
    q = graph.input.qparams
    if q is None or options.io is IoType.FLOAT32:
        return
    zero_point = q.zero_point + (UNSIGNED if options.io is IoType.UINT8 else 0)
    yield (
        f"the {options.io} input takes codes, not pixels: round(x / {q.scale:.9g}) + {zero_point} "
        "of the normalized x"
    )
    others = [tensor.name for tensor in graph.outputs if tensor.qparams is None]
    if others:
        named = f"{' and '.join(others)} {'is' if len(others) == 1 else 'are'}"
        yield f"{named} {np.dtype(graph.result_dtype(others[0]))} whatever the input"


def _mediapipe_notes(graph: QuantizedGraph) -> Iterator[str]:
    """What its task of the same name does not take."""
    if graph.spec.task is Task.DETECTION:
        yield "MediaPipe's ObjectDetector does not read these outputs"
        return
    reader = "ImageSegmenter" if graph.spec.task is Task.SEGMENTATION else "ImageClassifier"
    if any(graph.result_dtype(tensor.name) is np.uint8 for tensor in graph.outputs):
        yield f"MediaPipe's {reader} reads logits, not labels"
        return
    scale, bias = graph.spec.preprocess.affine()
    if len({*scale}) > 1 or len({*bias}) > 1:
        yield f"MediaPipe's {reader} refuses a normalization that differs per channel"


def _tensor_info(model: FlatModel, name: str, place: int) -> TensorInfo:
    record = model.tensors[place]
    note = ""
    if record.scale.size:
        note = f"scale {record.scale[0]}, zero point {record.zero_point[0]}"
    return TensorInfo(name=name, shape=record.shape, dtype=str(record.dtype), note=note)


def _layers(model: FlatModel) -> Iterator[LayerInfo]:
    """Operations with the constants that only they read; a widened constant is its reader's."""
    sizes = {i: len(model.buffers[t.buffer]) for i, t in enumerate(model.tensors) if t.buffer}
    shared = {b for b, n in Counter(t.buffer for t in model.tensors).items() if n > 1}
    for op in model.operators:
        own = [i for i in op.inputs if i in sizes and model.tensors[i].buffer not in shared - {0}]
        size = sum(sizes[i] for i in own)
        output = op.outputs[0]
        if op.kind == "DEQUANTIZE" and own:
            sizes[output] = size
        else:
            name = model.tensors[output].name.partition("/")[0]  # "x/padded" is of x
            yield LayerInfo(name=name, op=op.kind, size_bytes=size)
