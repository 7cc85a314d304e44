"""Mobile DeepLabv3: published counts, dilation, and the graph that it folds to."""

import numpy as np
import pytest
import torch
from conftest import invoke
from graphs import random_network, sample_images

from exporter import golden
from exporter.costs import costs
from exporter.errors import UnsupportedError
from exporter.fold import fold
from exporter.graph import Conv, Resize
from exporter.metrics import sqnr_db
from exporter.models import MobileDeepLabV3, load_backbone, make_network
from exporter.models.mobilenetv2 import make_features
from exporter.outputs import Outputs
from exporter.published import default_spec
from exporter.spec import ModelSpec, PaddingStyle
from exporter.tasks import SegmentationSpec, Task
from exporter.verdicts import FP32

SMALL = 97  # px; a map of 7 cells at output stride 16


def small_spec(
    padding: PaddingStyle = PaddingStyle.TORCH, *, stride: int = 16, full: bool = False
) -> ModelSpec:
    segmentation = SegmentationSpec(output_stride=stride, full_aspp=full)
    return default_spec(
        Task.SEGMENTATION,
        width=0.35,
        resolution=SMALL,
        classes=4,
        padding=padding,
        segmentation=segmentation,
    )


def test_published_counts() -> None:
    """2.11 M parameters and 2.75 B multiply-adds in the paper; 4.52 M with the full pyramid."""
    counted = costs(default_spec(Task.SEGMENTATION))
    assert counted.parameters == 2_113_557
    assert round(counted.multiply_adds / 1e9, 4) == 2.7407
    assert counted.outputs == {"logits": (1, 21, 513, 513)}
    full = SegmentationSpec(full_aspp=True)
    assert costs(default_spec(Task.SEGMENTATION, segmentation=full)).parameters == 4_523_541


def test_half_the_output_stride_costs_no_parameter() -> None:
    fine = SegmentationSpec(output_stride=8)
    counted = costs(default_spec(Task.SEGMENTATION, segmentation=fine))
    assert counted.parameters == 2_113_557
    assert counted.layers[-1].output_shape == (1, 21, 65, 65)


@pytest.mark.parametrize("padding", list(PaddingStyle))
@pytest.mark.parametrize("stride", [16, 8])
def test_dilation_computes_what_striding_does(padding: PaddingStyle, stride: int) -> None:
    """Every stride/32-th position of the dilated map is the strided network's, on its weights."""
    spec = default_spec(Task.CLASSIFICATION, width=0.35, resolution=SMALL, padding=padding)
    strided = random_network(spec).features[:-1]
    dilated = make_features(spec, output_stride=stride, last=False).eval()
    dilated.load_state_dict(strided.state_dict())
    x = torch.from_numpy(sample_images(spec, 1, seed=1))
    with torch.no_grad():
        fine, coarse = dilated(x), strided(x)
    step = 32 // stride
    assert fine.shape[2] == (coarse.shape[2] - 1) * step + 1
    assert sqnr_db(coarse.numpy(), fine[..., ::step, ::step].numpy()) >= FP32.min_sqnr_db


@pytest.mark.parametrize(
    ("stride", "rates", "dilations"),
    [(16, [6, 12, 18], [1, 2, 2, 2]), (8, [12, 24, 36], [2, 4, 4, 4])],
)
def test_dilations(stride: int, rates: list[int], dilations: list[int]) -> None:
    """The block that loses its stride keeps the old one; the pyramid's follow the stride."""
    model = make_network(small_spec(stride=stride, full=True))
    assert isinstance(model, MobileDeepLabV3)
    assert [branch[0].dilation[0] for branch in model.branches] == [1, *rates]
    depthwise = [model.features[i].conv[1][0] for i in (14, 15, 16, 17)]
    assert [conv.dilation[0] for conv in depthwise] == dilations


@pytest.mark.parametrize("padding", list(PaddingStyle))
@pytest.mark.parametrize(("stride", "full"), [(16, True), (8, False)])
def test_the_folded_graph_is_the_module(padding: PaddingStyle, stride: int, full: bool) -> None:
    spec = small_spec(padding, stride=stride, full=full)
    model = random_network(spec)
    assert isinstance(model, MobileDeepLabV3)
    x = sample_images(spec, 2, seed=2)
    low = fold(model, Outputs.LOWRES_LOGITS)
    with torch.no_grad():
        images = torch.from_numpy(x)
        expected, small = model(images).numpy(), model.lowres(images).numpy()
    assert expected.shape == (2, 4, SMALL, SMALL)
    assert sqnr_db(expected, golden.run(fold(model), x)) >= FP32.min_sqnr_db
    assert low.output.name == "lowres_logits"
    assert sqnr_db(small, golden.run(low, x)) >= FP32.min_sqnr_db


def test_dilated_depthwise_convolutions_are_in_the_graph() -> None:
    graph = fold(make_network(small_spec()).eval())
    found = {op.output for op in graph.ops if isinstance(op, Conv) and op.dilation == (2, 2)}
    assert found == {f"features.{i}.conv.1" for i in (15, 16, 17)}


def test_a_classifiers_backbone_moves_in() -> None:
    """Without its last convolution, which a segmenter has no use for."""
    classifier = random_network(default_spec(Task.CLASSIFICATION, width=0.35, resolution=SMALL))
    model = make_network(small_spec())
    load_backbone(model, classifier.state_dict())
    state = model.state_dict()
    theirs = classifier.state_dict()
    moved = [name for name in theirs if name in state and name.startswith("features.")]
    assert len(moved) == 306
    assert all(torch.equal(state[name], theirs[name]) for name in moved)


def half_pixel(x: np.ndarray, size: int) -> np.ndarray:
    """Bilinear in one dimension, a pixel at a time: position (i + 0.5) * scale - 0.5."""
    sources = x.shape[-1]
    columns = []
    for i in range(size):
        position = min(max((i + 0.5) * sources / size - 0.5, 0.0), sources - 1.0)
        left = int(position)
        right = min(left + 1, sources - 1)
        columns.append(x[..., left] + (x[..., right] - x[..., left]) * (position - left))
    return np.stack(columns, -1)


@pytest.mark.parametrize(("source", "size"), [(1, 7), (4, 4), (5, 33), (7, 97)])
def test_resize_is_bilinear_with_half_pixel_centers(source: int, size: int) -> None:
    x = np.random.default_rng(source).normal(0, 1, (1, 2, source, source)).astype(np.float32)
    op = Resize(input="x", output="y", size=(size, size))
    rows = half_pixel(x.astype(np.float64), size)
    expected = half_pixel(rows.swapaxes(2, 3), size).swapaxes(2, 3)
    np.testing.assert_allclose(golden._float_step(op, [x]), expected, atol=1e-5)


def test_describe_counts_it() -> None:
    result = invoke("describe", "--task", "segmentation", "--full-aspp")
    assert "4,523,541" in result.stdout
    assert "21 x 513 x 513" in result.stdout
    result = invoke("describe", "--task", "segmentation", "--output-stride", "4")
    assert result.exit_code == 5
    assert "choose 16 or 8" in result.stderr


def test_outputs_of_another_task_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="segmentation has no outputs decoded"):
        fold(make_network(small_spec()).eval(), Outputs.DECODED)
