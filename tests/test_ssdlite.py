"""SSDLite: published counts, anchors, boxes, and the graph that it folds to."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import invoke
from graphs import random_network, sample_images

from exporter import golden
from exporter.checkpoints import build_network, load_checkpoint, save_checkpoint
from exporter.costs import costs
from exporter.detection.anchors import anchor_sizes, make_anchors, map_sides
from exporter.detection.boxes import corners_of, decode, decode_float32, encode
from exporter.errors import CheckpointError, GraphError
from exporter.fold import fold
from exporter.metrics import sqnr_db
from exporter.models import MobileNetV2, SSDLite, load_backbone, make_network
from exporter.models.ssdlite import joined
from exporter.outputs import Outputs
from exporter.published import default_spec
from exporter.spec import ModelSpec, PaddingStyle
from exporter.tasks import DetectionSpec, Task
from exporter.verdicts import FP32

SMALL = 96  # px; maps of 6, 3, 2, 1, 1, 1 cells


def small_spec(padding: PaddingStyle = PaddingStyle.TORCH) -> ModelSpec:
    return default_spec(Task.DETECTION, width=0.35, resolution=SMALL, classes=5, padding=padding)


@pytest.fixture(scope="module")
def model() -> SSDLite:
    network = random_network(small_spec())
    assert isinstance(network, SSDLite)
    return network


@pytest.mark.parametrize(
    ("classes", "parameters", "millions"), [(81, 4_337_013, 788.8), (91, 4_500_543, 804.4)]
)
def test_published_counts(classes: int, parameters: int, millions: float) -> None:
    counted = costs(default_spec(Task.DETECTION, classes=classes))
    assert counted.parameters == parameters
    assert round(counted.multiply_adds / 1e6, 1) == millions
    assert counted.outputs == {"class_logits": (1, 2034, classes), "box_offsets": (1, 2034, 4)}


def test_anchors_are_those_of_a_plain_loop() -> None:
    """2034 at 320 px, in the order of the heads' outputs: map, row, column, shape."""
    expected = []
    scales = [0.2 + (0.95 - 0.2) * k / 5 for k in range(6)] + [1.0]
    for k, side in enumerate((20, 10, 5, 3, 2, 1)):
        shapes = [(scales[k], r) for r in (1.0, 2.0, 0.5, 3.0, 1 / 3)]
        shapes.append((math.sqrt(scales[k] * scales[k + 1]), 1.0))
        if k == 0:
            shapes = [(0.1, 1.0), (0.2, 2.0), (0.2, 0.5)]
        for row in range(side):
            for column in range(side):
                for scale, ratio in shapes:
                    center = (column + 0.5) / side, (row + 0.5) / side
                    expected.append((*center, scale * ratio**0.5, scale / ratio**0.5))
    anchors = make_anchors(DetectionSpec(), 320)
    assert map_sides(320) == (20, 10, 5, 3, 2, 1)
    assert anchors.shape == (2034, 4)
    np.testing.assert_allclose(anchors, expected, rtol=1e-6)


@pytest.mark.parametrize("resolution", [32, 64, 96, 160, 224, 320, 512])
@pytest.mark.parametrize("width", [0.1, 1.4])
def test_heads_and_anchors_agree_at_every_size(width: float, resolution: int) -> None:
    spec = default_spec(Task.DETECTION, width=width, resolution=resolution, classes=3)
    assert spec.detection is not None
    with torch.device("meta"):
        raw = make_network(spec)(torch.zeros(2, 3, resolution, resolution))
    anchors = len(make_anchors(spec.detection, resolution))
    assert raw.class_logits.shape == (2, anchors, 3)
    assert raw.box_offsets.shape == (2, anchors, 4)


def test_heads_outputs_are_in_the_order_of_the_anchors() -> None:
    """Maps whose channels spell out their anchors are joined to the very list of anchors."""
    spec = DetectionSpec()
    maps = []
    for side, sizes in zip(map_sides(SMALL), anchor_sizes(spec), strict=True):
        x = torch.zeros(1, len(sizes), 4, side, side)
        centers = (torch.arange(side) + 0.5) / side
        x[:, :, 0], x[:, :, 1] = centers, centers[:, None]  # columns are x, rows are y
        for k, size in enumerate(sizes):
            x[:, k, 2], x[:, k, 3] = size
        maps.append(x.flatten(1, 2))
    heads = torch.nn.ModuleList(torch.nn.Identity() for _ in maps)
    assert np.array_equal(joined(heads, maps, 4)[0], make_anchors(spec, SMALL))


def test_a_classifiers_backbone_moves_in(model: SSDLite) -> None:
    """Same keys, same shapes; and the same maps come out."""
    classifier = random_network(default_spec(Task.CLASSIFICATION, width=0.35, resolution=SMALL))
    assert isinstance(classifier, MobileNetV2)
    own = {n: t.shape for n, t in model.state_dict().items() if n.startswith("features.")}
    theirs = classifier.state_dict()
    assert own == {n: t.shape for n, t in theirs.items() if n.startswith("features.")}
    detector = SSDLite(default_spec(Task.DETECTION, width=0.35, resolution=SMALL, classes=5)).eval()
    load_backbone(detector, theirs)
    for module in (*detector.modules(), *classifier.modules()):
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1e-3
    x = torch.from_numpy(sample_images(model.spec, 1, seed=3))
    with torch.no_grad():
        assert torch.equal(detector.maps(x)[1], classifier.features(x))


def test_a_backbone_of_another_width_is_refused(model: SSDLite) -> None:
    other = make_network(default_spec(Task.CLASSIFICATION, width=0.5))
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_backbone(model, other.state_dict())


@pytest.mark.parametrize("padding", list(PaddingStyle))
def test_the_folded_graph_is_the_module(padding: PaddingStyle) -> None:
    spec = small_spec(padding)
    network = random_network(spec)
    x = sample_images(spec, 3, seed=2)
    with torch.no_grad():
        raw = network(torch.from_numpy(x))
    results = golden.run_outputs(fold(network), x)
    assert list(results) == ["class_logits", "box_offsets"]
    for expected, actual in zip(raw, results.values(), strict=True):
        assert sqnr_db(expected.numpy(), actual) >= FP32.min_sqnr_db


def test_decoded_outputs_are_scores_and_corners(model: SSDLite) -> None:
    spec = model.spec
    assert spec.detection is not None
    x = sample_images(spec, 2, seed=4)
    graph = fold(model, Outputs.DECODED)
    results = golden.run_outputs(graph, x)
    with torch.no_grad():
        raw = model(torch.from_numpy(x))
        anchors = torch.from_numpy(make_anchors(spec.detection, SMALL))
        boxes = decode(raw.box_offsets, anchors, spec.detection)
    assert list(results) == ["scores", "boxes"]
    assert sqnr_db(raw.class_logits.sigmoid().numpy(), results["scores"]) >= FP32.min_sqnr_db
    assert sqnr_db(boxes.numpy(), results["boxes"]) >= FP32.min_sqnr_db


def test_no_offset_is_the_anchor_itself() -> None:
    spec = DetectionSpec()
    anchors = torch.from_numpy(make_anchors(spec, SMALL))
    np.testing.assert_allclose(
        decode(torch.zeros_like(anchors), anchors, spec), corners_of(anchors), atol=1e-7
    )


def test_encode_and_decode_are_inverse() -> None:
    spec = DetectionSpec()
    anchors = torch.from_numpy(make_anchors(spec, SMALL))
    random = np.random.default_rng(0)
    low = torch.from_numpy(random.uniform(0, 0.6, (len(anchors), 2)).astype(np.float32))
    size = torch.from_numpy(random.uniform(0.01, 0.4, (len(anchors), 2)).astype(np.float32))
    corners = torch.cat([low, low + size], 1)
    offsets = encode(corners, anchors, spec)
    np.testing.assert_allclose(decode(offsets, anchors, spec), corners, atol=1e-5)
    of_numpy = decode_float32(offsets.numpy(), anchors.numpy(), 0.1, 0.2)
    np.testing.assert_allclose(of_numpy, corners, atol=1e-5)
    assert of_numpy.dtype == np.float32


def test_a_box_without_area_encodes_to_finite_offsets() -> None:
    anchors = torch.tensor([[0.5, 0.5, 0.2, 0.2]])
    assert encode(torch.full((1, 4), 0.5), anchors, DetectionSpec()).isfinite().all()


def test_its_checkpoint_reads_back(model: SSDLite, tmp_path: Path) -> None:
    """In our own format, which states the spec; and it is built."""
    path = tmp_path / "detector.safetensors"
    save_checkpoint(path, model.spec, model.state_dict())
    checkpoint = load_checkpoint(path)
    assert checkpoint.spec == model.spec
    loaded = build_network(checkpoint).state_dict()
    assert all(torch.equal(loaded[n], t) for n, t in model.state_dict().items())
    result = invoke("build", path, "--out", tmp_path / "build", "-t", "onnx", "-p", "fp32")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "build" / "model-fp32.onnx").is_file()


def test_describe_counts_it() -> None:
    result = invoke("describe", "--task", "detection", "--classes", "81")
    assert "4,337,013" in result.stdout
    assert "788.830 M" in result.stdout
    assert "2034 x 81" in result.stdout


def test_options_of_another_task_are_refused() -> None:
    result = invoke("describe", "--task", "detection", "--full-aspp")
    assert result.exit_code == 5
    assert "add --task segmentation" in result.stderr


def test_two_results_are_not_taken_for_one(model: SSDLite) -> None:
    graph = fold(model)
    assert [tensor.name for tensor in graph.outputs] == ["class_logits", "box_offsets"]
    with pytest.raises(GraphError, match="class_logits, box_offsets"):
        _ = graph.output


@pytest.mark.parametrize(
    ("names", "network"),
    [
        (["backbone.features.0.1.block.0.0.weight", "head.regression_head.x.weight"], "SSDLite"),
        (["backbone.1.block.0.0.weight", "classifier.0.convs.0.0.weight"], "segmenter"),
    ],
)
def test_torchvisions_are_refused_for_their_backbone(
    names: list[str], network: str, tmp_path: Path
) -> None:
    torch.save({name: torch.zeros(1) for name in names}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=f"{network} is built on MobileNetV3.*{names[0]}"):
        load_checkpoint(tmp_path / "model.pth")
