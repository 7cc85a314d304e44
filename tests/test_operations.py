"""The operations of heads: their rules in a graph, its file, and walks that do not know them."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
from graphs import random_network, replace_op, sample_images

from exporter import golden
from exporter.ends import score_qparams, with_ends
from exporter.errors import GraphError
from exporter.fold import fold, fold_core
from exporter.graph import (
    Concat,
    Conv,
    DecodeBoxes,
    Linear,
    Op,
    Output,
    Permute,
    QParams,
    QuantizedGraph,
    Resize,
    Weight,
)
from exporter.graph_file import load_graph, save_graph
from exporter.metrics import sqnr_db
from exporter.outputs import OFFERED, Ends, NmsMode, Outputs
from exporter.published import default_spec
from exporter.quantize import quantize
from exporter.quantize.integer_network import IntegerNetwork
from exporter.spec import Rules
from exporter.tasks import Task
from exporter.validate import validate

SIDES = {Task.CLASSIFICATION: 64, Task.DETECTION: 64, Task.SEGMENTATION: 65}
RESULTS = [(task, outputs) for task, offered in OFFERED.items() for outputs in offered]


@functools.cache
def graph_of(task: Task, outputs: Outputs) -> QuantizedGraph:
    spec = default_spec(task, width=0.1, resolution=SIDES[task], classes=3)
    return fold(random_network(spec), outputs)


def detector() -> QuantizedGraph:
    return graph_of(Task.DETECTION, Outputs.DECODED)


def segmenter() -> QuantizedGraph:
    return graph_of(Task.SEGMENTATION, Outputs.LOGITS)


def op_of(graph: QuantizedGraph, kind: type) -> Op:
    return next(op for op in graph.ops if type(op) is kind)


@pytest.mark.parametrize(("task", "outputs"), RESULTS)
def test_save_and_load_give_the_same_graph(task: Task, outputs: Outputs, tmp_path: Path) -> None:
    """Same bytes when saved twice, same results when run."""
    graph = graph_of(task, outputs)
    save_graph(graph, tmp_path / "a.graph")
    loaded = load_graph(tmp_path / "a.graph")
    save_graph(loaded, tmp_path / "b.graph")
    assert (tmp_path / "a.graph").read_bytes() == (tmp_path / "b.graph").read_bytes()
    assert loaded.spec == graph.spec
    x = sample_images(graph.spec, 2, seed=5)
    results, again = golden.run_outputs(graph, x), golden.run_outputs(loaded, x)
    assert list(results) == [tensor.name for tensor in graph.outputs]
    for name, value in results.items():
        assert value.shape == (2, *graph.tensors[name].shape[1:])
        assert np.array_equal(value, again[name])


@pytest.mark.parametrize(
    ("graph", "kind", "fields", "message"),
    [
        (segmenter, Concat, {"axis": 0}, "along axis 0"),
        (segmenter, Concat, {"axis": 4}, "along axis 4"),
        (segmenter, Concat, {"inputs": ("features.17.conv.2", "pooled")}, "joins .* along axis 1"),
        (segmenter, Concat, {"inputs": ("pooled.resized",)}, "joins 1 tensors"),
        (segmenter, Resize, {"size": (4, 3)}, "declares"),
        (segmenter, Resize, {"size": (0, 0)}, "makes .* but declares"),
        (detector, Permute, {"order": (0, 2, 3)}, "no order of"),
        (detector, Permute, {"order": (1, 0, 2, 3)}, "batch first"),
        (detector, Permute, {"order": (0, 1, 2, 3)}, "declares"),
        (detector, DecodeBoxes, {"anchors": np.ones((3, 4), np.float32)}, "does not fit anchors"),
        (detector, Output, {"input": "decode"}, "two Outputs are of one tensor"),
    ],
)
def test_what_does_not_fit_is_named(graph, kind: type, fields: dict, message: str) -> None:
    made = graph()
    with pytest.raises(GraphError, match=message):
        replace_op(made, dataclasses.replace(op_of(made, kind), **fields))


def test_an_anchor_without_a_size_is_refused() -> None:
    graph = detector()
    decode = op_of(graph, DecodeBoxes)
    assert isinstance(decode, DecodeBoxes)
    anchors = decode.anchors.copy()
    anchors[5, 2] = 0
    with pytest.raises(GraphError, match=r"DecodeBoxes 'decode': an anchor has no size"):
        replace_op(graph, dataclasses.replace(decode, anchors=anchors))


def test_outputs_stand_last() -> None:
    graph = detector()
    *others, sigmoid, decode, scores, boxes = graph.ops
    swapped = dataclasses.replace(graph, ops=(*others, sigmoid, scores, decode, boxes))
    with pytest.raises(GraphError, match="an Output stands before other operations"):
        validate(swapped)


def test_results_are_those_of_the_task() -> None:
    """A graph that lost one of its two results is not taken for a detector."""
    graph = detector()
    kept = tuple(op for op in graph.ops if op.output not in ("boxes",))
    tensors = {name: t for name, t in graph.tensors.items() if name != "boxes"}
    with pytest.raises(GraphError, match="a model for detection in class_logits"):
        validate(dataclasses.replace(graph, ops=kept, tensors=tensors))
    spec = default_spec(Task.CLASSIFICATION, width=0.1, resolution=64, classes=3)
    with pytest.raises(GraphError, match="a model for classification in logits"):
        validate(dataclasses.replace(graph, spec=spec))


@functools.cache
def integers_of(task: Task, outputs: Outputs, nms: NmsMode = NmsMode.NONE) -> QuantizedGraph:
    """The int8 twin of a graph, quantized as it ends in weights."""
    spec = default_spec(task, width=0.1, resolution=SIDES[task], classes=3)
    core = fold_core(random_network(spec))
    quantized = quantize(core, sample_images(spec, 4, seed=0))
    return with_ends(quantized, Ends(outputs=outputs, nms=nms))


@pytest.mark.parametrize("rules", list(Rules))
@pytest.mark.parametrize(("task", "outputs"), RESULTS)
def test_integers_come_near_to_the_float_graph(task: Task, outputs: Outputs, rules: Rules) -> None:
    """By either runtime's rules; labels agree on most pixels."""
    images = sample_images(graph_of(task, outputs).spec, 3, seed=1)
    exact = golden.run_outputs(graph_of(task, outputs), images)
    for name, value in golden.run_outputs(integers_of(task, outputs), images, rules).items():
        assert value.dtype == exact[name].dtype
        if outputs is Outputs.LABELS:
            assert (value == exact[name]).mean() > 0.8
        else:
            assert sqnr_db(exact[name], value) > 12.0


@pytest.mark.parametrize(("task", "outputs"), RESULTS)
def test_batched_integers_equal_the_golden(task: Task, outputs: Outputs) -> None:
    graph = integers_of(task, outputs)
    images = sample_images(graph.spec, 3, seed=1)
    expected = golden.run_outputs(graph, images)
    found = IntegerNetwork(graph).results(images)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def test_scores_keep_away_from_rounding_ties() -> None:
    """Whatever the scale of the logits, float noise cannot change the code of a score."""
    for scale in np.random.Generator(np.random.PCG64(0)).uniform(0.001, 0.5, 500):
        source = QParams(scale=float(np.float32(scale)), zero_point=-13)
        target = score_qparams(source)
        assert target.zero_point == -128
        assert 1.0 <= target.scale * 256.0 < 1.02
        codes = np.arange(-128, 128, dtype=np.int8)
        real = golden.dequantize(codes, source).astype(np.float64)
        for noise in (1.0 - 1e-6, 1.0 + 1e-6):
            steps = noise / (1.0 + np.exp(-real)) / target.scale
            expected = np.clip(np.rint(steps) - 128, -128, 127).astype(np.int8)
            np.testing.assert_array_equal(golden.sigmoid(codes, source, target), expected)


def test_concatenated_maps_share_one_scale() -> None:
    """So that runtimes copy codes; the golden requantizes where a graph says otherwise."""
    graph = integers_of(Task.SEGMENTATION, Outputs.LOGITS)
    joined = op_of(graph, Concat)
    assert len({graph.tensors[name].qparams for name in (*joined.inputs, joined.output)}) == 1


def test_concatenation_requantizes_by_way_of_float32() -> None:
    qa, qb, to = (QParams(scale=s, zero_point=z) for s, z in ((0.5, 0), (0.25, 10), (0.5, 0)))
    a, b = np.array([[4, -4]], np.int8), np.array([[10, 127]], np.int8)
    for rules in Rules:
        joined = golden.concat([a, b], [qa, qb], to, 1, rules)
        np.testing.assert_array_equal(joined, [[4, -4, 0, 58]])  # (127 - 10) / 2 is a tie: to even


def as_int8(graph: QuantizedGraph) -> QuantizedGraph:
    """The graph with int8 weights and one scale everywhere; it computes nothing of use."""
    qparams = QParams(scale=2.0**-5, zero_point=3)
    tensors = {n: dataclasses.replace(t, qparams=qparams) for n, t in graph.tensors.items()}
    ops = []
    for op in graph.ops:
        if isinstance(op, Conv | Linear):
            weight = Weight(
                values=np.ones(op.weight.values.shape, np.int8),
                scale=np.full(len(op.bias), 2.0**-7, np.float32),
            )
            op = dataclasses.replace(op, weight=weight, bias=np.zeros(len(op.bias), np.int32))
        ops.append(op)
    return dataclasses.replace(graph, ops=tuple(ops), tensors=tensors)


def with_zero_point(graph: QuantizedGraph, name: str) -> QuantizedGraph:
    tensor = dataclasses.replace(graph.tensors[name], qparams=QParams(scale=0.5, zero_point=0))
    return dataclasses.replace(graph, tensors={**graph.tensors, name: tensor})


@pytest.mark.parametrize(("task", "outputs"), RESULTS)
def test_tensors_inside_have_no_underscores(task: Task, outputs: Outputs) -> None:
    """Formats that take no dots write underscores for them, and read names back from those."""
    graph = graph_of(task, outputs)
    assert not [op.output for op in graph.ops if "_" in op.output and not isinstance(op, Output)]


def test_an_int8_graph_holds_the_operations_of_heads(tmp_path: Path) -> None:
    """Their parameters too, through its file."""
    graph = as_int8(segmenter())
    validate(graph)
    save_graph(graph, tmp_path / "a.graph")
    loaded = load_graph(tmp_path / "a.graph")
    assert loaded.tensors == graph.tensors
    images = sample_images(graph.spec, 1, seed=0)
    np.testing.assert_array_equal(golden.run(loaded, images), golden.run(graph, images))


def test_a_concatenation_may_have_other_parameters_than_its_inputs() -> None:
    """It requantizes them; a resize and a permutation hand on the codes that they read."""
    graph = as_int8(segmenter())
    validate(with_zero_point(graph, "joined"))
    with pytest.raises(GraphError, match=r"Resize 'pooled\.resized' changes the quantization"):
        validate(with_zero_point(graph, "pooled.resized"))
    graph = as_int8(graph_of(Task.DETECTION, Outputs.RAW))
    validate(graph)
    with pytest.raises(GraphError, match=r"Permute 'regressors\.0\.nhwc' changes the quantization"):
        validate(with_zero_point(graph, "regressors.0.nhwc"))


def test_boxes_are_never_quantized() -> None:
    with pytest.raises(
        GraphError, match="DecodeBoxes 'decode' reads codes: boxes are never quantized"
    ):
        validate(as_int8(detector()))
