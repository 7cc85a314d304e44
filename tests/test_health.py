"""Every kind of finding is found where it is, and none where all is well."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import graphs
import numpy as np
import pytest
from torch import nn

from exporter import demo
from exporter.errors import GraphError
from exporter.findings import Finding
from exporter.graph import Conv, QParams, QuantizedGraph, Weight
from exporter.models import MobileNetV2
from exporter.preprocess import normalize
from exporter.quantize import health
from exporter.quantize.fake_quant import FusedNetwork, Mode
from exporter.quantize.to_graph import to_graph
from exporter.spec import ModelSpec

DOCUMENT = Path(__file__).parents[1] / "docs" / "health.md"


def ids(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.id for finding in findings]


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return demo.spec()


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return demo.calibration_images(16)


@pytest.fixture(scope="module")
def pair() -> tuple[QuantizedGraph, QuantizedGraph]:
    return graphs.make_graphs(resolution=64)


def test_a_healthy_model_has_no_findings(
    spec: ModelSpec, pixels: np.ndarray, pair: tuple[QuantizedGraph, QuantizedGraph]
) -> None:
    assert health.check_model(MobileNetV2(spec).eval(), spec) == ()
    assert health.check_images(normalize(pixels, spec.preprocess), spec) == ()
    images = graphs.sample_images(pair[0].spec, 4, seed=0)
    assert health.check_channels(pair[0], images) == ()
    assert health.check_graph(pair[1]) == ()
    assert health.check_network(FusedNetwork(pair[0])) == ()


# --- the model -----------------------------------------------------------------------------------


def change_eps(model: MobileNetV2) -> None:
    next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d)).eps = 1e-2


def change_momentum(model: MobileNetV2) -> None:
    next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d)).momentum = 0.5


def activate_dropout(model: MobileNetV2) -> None:
    model.classifier = nn.Sequential(nn.Dropout(0.2), model.classifier).train()


def swap_activation(model: MobileNetV2) -> None:
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU6):
                setattr(module, name, nn.Hardswish())
                return


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (change_eps, "H101"),
        (change_momentum, "H102"),
        (activate_dropout, "H103"),
        (swap_activation, "H104"),
    ],
)
def test_models(spec: ModelSpec, change, expected: str) -> None:
    model = MobileNetV2(spec).eval()
    change(model)
    assert ids(health.check_model(model, spec)) == [expected]


# --- the images ----------------------------------------------------------------------------------


def test_noise_is_not_photos(spec: ModelSpec) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 96, 96, 3), dtype=np.uint8)
    assert ids(health.check_images(normalize(noise, spec.preprocess), spec)) == ["H201"]


@pytest.mark.parametrize("content", ["one photo", "black and white"])
def test_images_without_differences(spec: ModelSpec, pixels: np.ndarray, content: str) -> None:
    if content == "one photo":
        images = np.repeat(pixels[:1], 8, axis=0)
    else:
        images = np.zeros((8, 96, 96, 3), np.uint8)
        images[4:] = 255
    assert ids(health.check_images(normalize(images, spec.preprocess), spec)) == ["H202"]


def test_raw_pixels_are_not_normalized_ones(spec: ModelSpec, pixels: np.ndarray) -> None:
    raw = pixels.transpose(0, 3, 1, 2).astype(np.float32)
    assert ids(health.check_images(raw, spec)) == ["H203"]


def test_normalized_twice(spec: ModelSpec, pixels: np.ndarray) -> None:
    once = normalize(pixels, spec.preprocess)
    assert ids(health.check_images(once / 127.5, spec)) == ["H204"]


# --- channels ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bias", "expected"), [(-1e3, "H301"), (1e3, "H302")])
def test_channels_that_stand_still(
    pair: tuple[QuantizedGraph, QuantizedGraph], bias: float, expected: str
) -> None:
    layer = next(op for op in pair[0].ops if isinstance(op, Conv) and op.clamp is not None)
    moved = layer.bias.copy()
    moved[: len(moved) // 2] = bias
    graph = graphs.replace_op(pair[0], dataclasses.replace(layer, bias=moved))
    found = health.check_channels(graph, graphs.sample_images(graph.spec, 2, seed=1))
    assert expected in ids(found)
    assert layer.output in next(f for f in found if f.id == expected).message


# --- int8 ----------------------------------------------------------------------------------------


def test_depthwise_layers_with_one_scale(pair: tuple[QuantizedGraph, QuantizedGraph]) -> None:
    layer = next(op for op in pair[1].ops if isinstance(op, Conv) and op.depthwise)
    assert layer.weight.scale is not None
    real = layer.weight.dequantized()
    real[0] *= 50  # one filter sets the scale of all
    scale = np.full(len(real), np.abs(real).max() / 127, np.float32)
    values = np.rint(real / scale[0]).astype(np.int8)
    changed = dataclasses.replace(layer, weight=Weight(values=values, scale=scale))
    assert ids(health.check_graph(graphs.replace_op(pair[1], changed))) == ["H401"]


def test_ranges_measured_before_the_clamp(pair: tuple[QuantizedGraph, QuantizedGraph]) -> None:
    layer = next(op for op in pair[1].ops if isinstance(op, Conv) and op.clamp is not None)
    wide = QParams(scale=float(np.float32(24 / 255)), zero_point=0)  # -12 to 12
    graph = graphs.replace_qparams(pair[1], {layer.output: wide})
    assert ids(health.check_graph(graph)) == ["H402"]


def test_ranges_that_move(pair: tuple[QuantizedGraph, QuantizedGraph]) -> None:
    network = FusedNetwork(pair[0])
    before = health.ranges(network)
    assert health.check_network(network, before) == ()
    next(network.all_quantizers()).qparams = QParams(scale=0.5, zero_point=0)
    assert ids(health.check_network(network, before)) == ["H403"]
    network.set_mode(Mode.RANGE)
    assert ids(health.check_network(network)) == ["H403"]
    with pytest.raises(GraphError, match="H403"):
        to_graph(network)


def test_the_document_has_every_kind() -> None:
    rows = re.findall(
        r"^\| (H\d{3}) \| (\w+) \| (.*?) \| .*? \| (.*?) \|$", DOCUMENT.read_text(), re.M
    )
    kinds = [(k.id, str(k.severity), k.title, k.cure) for k in health.KINDS.values()]
    assert rows == kinds


def test_build_says_what_it_finds(tmp_path: Path) -> None:
    from conftest import invoke
    from PIL import Image

    rng = np.random.default_rng(0)
    for index in range(12):
        noise = rng.integers(0, 256, (120, 120, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{index}.png")
    out = tmp_path / "build"
    result = invoke("build", "--calibration", tmp_path, "-t", "onnx", "-o", out)
    assert "H201 calibration images that are noise" in result.stderr
