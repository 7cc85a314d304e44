"""Rules of a QuantizedGraph, and its file."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from graphs import TWO_LAYERS, make_graphs, replace_op, sample_images

from exporter import golden
from exporter.errors import ArtifactError, GraphError
from exporter.graph import Add, Conv, Linear, QParams, QuantizedGraph, Weight
from exporter.graph_file import load_graph, save_graph
from exporter.spec import PaddingStyle
from exporter.validate import validate


def int8_graph() -> QuantizedGraph:
    return make_graphs()[1]


def first(graph: QuantizedGraph, kind: type) -> Conv:
    return next(op for op in graph.ops if type(op) is kind)


def with_qparams(graph: QuantizedGraph, name: str, **fields: float) -> QuantizedGraph:
    changed = dataclasses.replace(graph.qparams(name), **fields)  # type: ignore[arg-type]
    tensor = dataclasses.replace(graph.tensors[name], qparams=changed)
    return dataclasses.replace(graph, tensors={**graph.tensors, name: tensor})


@pytest.mark.parametrize("padding", list(PaddingStyle))
@pytest.mark.parametrize("head", [(dataclasses.replace(TWO_LAYERS[1]),), TWO_LAYERS])
def test_save_and_load_give_the_same_graph(tmp_path: Path, padding, head) -> None:
    """Same bytes when saved twice, same logits when run; for float and int8 graphs."""
    for graph in make_graphs(padding=padding, head=head):
        path = tmp_path / "a.graph"
        save_graph(graph, path)
        loaded = load_graph(path)
        save_graph(loaded, tmp_path / "b.graph")
        assert path.read_bytes() == (tmp_path / "b.graph").read_bytes()
        assert loaded.spec == graph.spec
        x = sample_images(graph.spec, 2, seed=5)
        assert np.array_equal(golden.run(loaded, x), golden.run(graph, x))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("scale", 0.0, "not a finite normal float32"),
        ("scale", float("nan"), "not a finite normal float32"),
        ("scale", float("inf"), "not a finite normal float32"),
        ("scale", 1e-40, "not a finite normal float32"),
        ("scale", 0.1, "not an exact float32"),
        ("zero_point", 128, "not an int8"),
    ],
)
def test_bad_activation_parameters_are_named(field: str, value: float, message: str) -> None:
    graph = with_qparams(int8_graph(), "features.2.conv.0", **{field: value})
    with pytest.raises(GraphError, match=rf"features\.2\.conv\.0.*{message}"):
        validate(graph)


def test_a_view_must_keep_its_parameters() -> None:
    """XNNPACK lowers a reshape that changes them and then fails at load."""
    q = int8_graph().qparams("flatten")
    with pytest.raises(GraphError, match="changes the quantization parameters"):
        validate(with_qparams(int8_graph(), "flatten", zero_point=q.zero_point + 1))


def test_add_ratio_outside_xnnpacks_range() -> None:
    graph = int8_graph()
    add = next(op for op in graph.ops if isinstance(op, Add))
    tiny = float(np.float32(graph.qparams(add.a).scale * 2**-9))
    with pytest.raises(GraphError, match="scale ratio"):
        validate(with_qparams(graph, add.output, scale=tiny))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_float_weight_is_named(bad: float) -> None:
    graph = make_graphs()[0]
    conv = first(graph, Conv)
    values = conv.weight.values.copy()
    values[0, 0, 0, 0] = bad
    with pytest.raises(GraphError, match=r"Conv 'features\.0'.*NaN or infinite"):
        replace_op(graph, dataclasses.replace(conv, weight=Weight(values=values)))


def test_a_multiplier_that_xnnpack_refuses_at_load_is_named() -> None:
    graph = int8_graph()
    conv = first(graph, Conv)
    assert conv.weight.scale is not None
    wild = dataclasses.replace(conv.weight, scale=conv.weight.scale * np.float32(1e6))
    with pytest.raises(GraphError, match="requantization multiplier"):
        replace_op(graph, dataclasses.replace(conv, weight=wild))


def test_weight_of_minus_128_is_refused() -> None:
    graph = int8_graph()
    conv = first(graph, Conv)
    values = conv.weight.values.copy()
    values[0, 0, 0, 0] = -128
    weight = dataclasses.replace(conv.weight, values=values)
    with pytest.raises(GraphError, match="-128"):
        replace_op(graph, dataclasses.replace(conv, weight=weight))


def test_accumulator_that_can_overflow_is_refused() -> None:
    graph = int8_graph()
    linear = first(graph, Linear)
    bias = linear.bias.copy()
    bias[0] = np.iinfo(np.int32).max
    with pytest.raises(GraphError, match="can overflow"):
        replace_op(graph, dataclasses.replace(linear, bias=bias))


def test_wrong_shapes_and_names_are_refused() -> None:
    graph = make_graphs()[0]
    conv = first(graph, Conv)
    with pytest.raises(GraphError, match="declares"):
        replace_op(graph, dataclasses.replace(conv, stride=(1, 1)))
    with pytest.raises(GraphError, match="before it is written"):
        replace_op(graph, dataclasses.replace(conv, input="logits"))
    qparams = QParams(scale=0.5, zero_point=0)
    tensor = dataclasses.replace(graph.tensors[conv.output], qparams=qparams)
    mixed = dataclasses.replace(graph, tensors={**graph.tensors, conv.output: tensor})
    with pytest.raises(GraphError, match="mixes float and int8"):
        validate(mixed)


@pytest.mark.parametrize("keep", [0, 7, 100, 0.5, -1])
def test_damaged_graph_files_are_named(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "cut.graph"
    save_graph(int8_graph(), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(ArtifactError, match=r"cut\.graph"):
        load_graph(path)
