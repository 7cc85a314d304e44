"""The Android artifact: exact in the runtime, reproducible, refused when damaged, described."""

import random
from pathlib import Path

import numpy as np
import pytest
from graphs import ONE_LAYER, TWO_LAYERS, make_graphs, replace_op, sample_images, skew_qparams

from exporter import golden
from exporter.errors import ArtifactError
from exporter.graph import Conv, QuantizedGraph
from exporter.metrics import sqnr_db
from exporter.spec import PaddingStyle, Precision
from exporter.target import ExportOptions, Lowering
from exporter.verdicts import FP32
from targets import android

CASES = [
    (PaddingStyle.TORCH, 96, ONE_LAYER),
    (PaddingStyle.TORCH, 97, TWO_LAYERS),
    (PaddingStyle.SAME, 96, TWO_LAYERS),
    (PaddingStyle.SAME, 97, ONE_LAYER),
]


def written(graph: QuantizedGraph, path: Path) -> Path:
    android.emit(graph, graph.precision, ExportOptions(), path)
    return path


@pytest.mark.parametrize(("padding", "resolution", "head"), CASES)
def test_int8_equals_the_golden_bit_for_bit(tmp_path: Path, padding, resolution, head) -> None:
    """Calibrated ranges and skewed ones, where every clamp and zero point matters."""
    for graph in (
        make_graphs(resolution=resolution, padding=padding, head=head)[1],
        skew_qparams(make_graphs(resolution=resolution, padding=padding, head=head)[1]),
    ):
        x = sample_images(graph.spec, 8, seed=7)
        actual = android.load(written(graph, tmp_path / "m.pte"))(x)
        assert np.array_equal(actual, golden.run(graph, x))


@pytest.mark.parametrize(("padding", "resolution", "head"), CASES)
def test_fp32_is_within_tolerance(tmp_path: Path, padding, resolution, head) -> None:
    graph = make_graphs(resolution=resolution, padding=padding, head=head)[0]
    x = sample_images(graph.spec, 4, seed=7)
    actual = android.load(written(graph, tmp_path / "m.pte"))(x)
    assert sqnr_db(golden.run(graph, x), actual) >= FP32.min_sqnr_db


def test_folded_and_separate_pads_compute_the_same(tmp_path: Path) -> None:
    """The stock lowering keeps uneven pads apart; folding them changes no bit of the result."""
    from targets.pte import write_program

    graph = make_graphs(padding=PaddingStyle.SAME)[1]
    (tmp_path / "a.pte").write_bytes(write_program(graph))
    (tmp_path / "b.pte").write_bytes(write_program(graph, fold_pads=False))
    x = sample_images(graph.spec, 4, seed=7)
    folded, separate = (android.load(tmp_path / f"{n}.pte")(x) for n in "ab")
    assert np.array_equal(folded, separate)
    ops = [android.describe(tmp_path / f"{n}.pte").ops for n in "ab"]
    assert ops[0].get("StaticConstantPad", 0) == 0
    assert ops[1]["StaticConstantPad"] == 5  # the stem and four depthwise layers have stride 2


def test_one_changed_weight_changes_bytes_and_logits(tmp_path: Path) -> None:
    import dataclasses

    graph = make_graphs()[1]
    conv = next(op for op in graph.ops if isinstance(op, Conv))
    values = conv.weight.values.copy()
    values[0, 0, 1, 1] ^= 1
    weight = dataclasses.replace(conv.weight, values=values)
    changed = replace_op(graph, dataclasses.replace(conv, weight=weight))
    x = sample_images(graph.spec, 4, seed=7)
    one, two = (written(g, tmp_path / f"{i}.pte") for i, g in enumerate((graph, changed)))
    assert one.read_bytes() != two.read_bytes()
    assert not np.array_equal(android.load(one)(x), android.load(two)(x))


def test_equal_graphs_give_equal_bytes(tmp_path: Path) -> None:
    graph = make_graphs()[1]
    one, two = (written(graph, tmp_path / name).read_bytes() for name in ("a.pte", "long name.pte"))
    assert one == two


def test_description_is_one_delegate_and_nothing_else(tmp_path: Path) -> None:
    graph = make_graphs()[1]
    contents = android.describe(written(graph, tmp_path / "m.pte"))
    assert contents.delegation == "1 delegate (XnnpackBackend), nothing outside"
    assert contents.ops["Conv2d"] == 35
    assert contents.ops["DepthwiseConv2d"] == 17
    assert contents.ops["Add"] == 10
    assert contents.inputs[0].shape == (1, 3, 96, 96)
    weights = sum(op.weight.values.nbytes for op in graph.weighted())
    assert weights < sum(layer.size_bytes for layer in contents.layers) < weights * 1.5


@pytest.mark.parametrize("keep", [0, 3, 40, 2000, 0.5, 0.99])
def test_truncated_files_are_refused_with_their_size(tmp_path: Path, keep: float) -> None:
    path = written(make_graphs()[1], tmp_path / "cut.pte")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    for use in (android.load, android.describe):
        with pytest.raises(ArtifactError, match=r"cut\.pte"):
            use(path)


def test_foreign_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "zip.pte").write_bytes(b"PK\x03\x04" + bytes(200))
    for name in ("zip.pte", "missing.pte"):
        with pytest.raises(ArtifactError, match=name):
            android.load(tmp_path / name)


@pytest.mark.parametrize("seed", range(24))
def test_random_bytes_in_the_program_are_one_clear_error(tmp_path: Path, seed: int) -> None:
    """executorch's own readers raise struct.error, IndexError or AttributeError here."""
    path, seeded = written(make_graphs()[1], tmp_path / "changed.pte"), random.Random(seed)
    data = bytearray(path.read_bytes())
    for _ in range(4):
        data[seeded.randrange(200, 3000)] ^= seeded.randrange(1, 256)
    path.write_bytes(data)
    for use in (android.load, android.describe):
        with pytest.raises(ArtifactError, match=r"changed\.pte: .*damaged") as caught:
            use(path)
        assert "\n" not in caught.value.message


@pytest.mark.parametrize("occurrence", [0, 1])
@pytest.mark.parametrize("byte", [b"\xff", b"z"], ids=["no-text", "another-name"])
def test_a_constant_under_another_name_is_refused(
    tmp_path: Path, byte: bytes, occurrence: int
) -> None:
    """In the program's table or in the delegate; the native loader aborts on a name of no text."""
    from targets.pte import parse

    path = written(make_graphs()[1], tmp_path / "renamed.pte")
    name = max(parse(path).constant_sizes).encode()
    data = path.read_bytes()
    assert data.count(name) == 2
    place = (data.find(name), data.rfind(name))[occurrence]
    path.write_bytes(data[:place] + byte + data[place + 1 :])
    for use in (android.load, android.describe):
        with pytest.raises(ArtifactError, match=r"renamed\.pte: .*damaged"):
            use(path)


def test_an_unverified_executorch_falls_back_to_the_stock_lowering(monkeypatch) -> None:
    import importlib.metadata

    for version in ("1.4.3", "1.9.0"):
        monkeypatch.setattr(importlib.metadata, "version", lambda _, version=version: version)
        lowering, notes = android.choose_lowering(Lowering.DIRECT)
        assert lowering is Lowering.STOCK
        assert f"executorch {version} is not verified" in notes[0]
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "1.5.1")
    assert android.choose_lowering(Lowering.DIRECT) == (Lowering.DIRECT, ())
    assert android.choose_lowering(Lowering.STOCK) == (Lowering.STOCK, ())


@pytest.mark.slow
@pytest.mark.parametrize(("padding", "resolution", "head"), CASES)
@pytest.mark.parametrize("precision", [Precision.INT8, Precision.FP32])
def test_direct_emission_is_byte_identical_with_the_stock_lowering(
    tmp_path: Path, padding, resolution, head, precision
) -> None:
    """The oracle: `to_edge_transform_and_lower` on the graph's own q/dq program."""
    from targets.pte import write_program

    graphs = make_graphs(resolution=resolution, padding=padding, head=head)
    graph = graphs[1] if precision is Precision.INT8 else graphs[0]
    path = tmp_path / "stock.pte"
    android.emit(graph, precision, ExportOptions(lowering=Lowering.STOCK), path)
    assert path.read_bytes() == write_program(graph, fold_pads=False)
    x = sample_images(graph.spec, 2, seed=7)
    direct = written(graph, tmp_path / "direct.pte")
    assert np.array_equal(android.load(path)(x), android.load(direct)(x))
