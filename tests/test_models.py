"""The architecture against published figures (TF-slim's MobileNetV2 table, torchvision's keys)."""

import pytest
import torch

from exporter.costs import costs
from exporter.errors import UnsupportedError
from exporter.models import MobileNetV2, make_network
from exporter.models.blocks import SameConv2d, same_padding
from exporter.published import default_spec
from exporter.spec import (
    HeadLayer,
    ModelSpec,
    PaddingStyle,
    keras_preprocess,
    torchvision_preprocess,
)
from exporter.tasks import Task

PARAMETERS = {
    1.4: 6_108_776,
    1.3: 5_386_792,
    1.0: 3_504_872,
    0.75: 2_636_424,
    0.5: 1_968_680,
    0.35: 1_677_128,
}
# Millions of multiply-adds by width and resolution; the published figures are their floor.
MADDS = {
    (1.4, 224): 582.196,
    (1.3, 224): 509.375,
    (1.0, 224): 300.774,
    (1.0, 192): 221.317,
    (1.0, 160): 154.083,
    (1.0, 128): 99.074,
    (1.0, 96): 56.289,
    (0.75, 224): 209.070,
    (0.75, 192): 153.942,
    (0.75, 160): 107.295,
    (0.75, 128): 69.130,
    (0.75, 96): 39.445,
    (0.5, 224): 97.132,
    (0.5, 192): 71.702,
    (0.5, 160): 50.184,
    (0.5, 128): 32.579,
    (0.5, 96): 18.885,
    (0.35, 224): 59.286,
    (0.35, 192): 43.897,
    (0.35, 160): 30.875,
    (0.35, 128): 20.221,
    (0.35, 96): 11.934,
}


def spec_of(width: float, resolution: int, **fields: object) -> ModelSpec:
    return ModelSpec(
        width=width,
        resolution=resolution,
        preprocess=torchvision_preprocess(resolution),
        **fields,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(("width", "resolution"), MADDS)
def test_every_published_cell(width: float, resolution: int) -> None:
    """All 22 cells of the published table, parameters and multiply-adds."""
    counted = costs(spec_of(width, resolution))
    assert counted.parameters == PARAMETERS[width]
    assert round(counted.multiply_adds / 1e6, 3) == MADDS[width, resolution]


@pytest.mark.parametrize(
    ("task", "resolution"),
    [(Task.CLASSIFICATION, 160), (Task.DETECTION, 160), (Task.SEGMENTATION, 161)],
)
def test_multiply_adds_agree_with_torchs_own_counter(task: Task, resolution: int) -> None:
    """Our count over the folded graph is half of torch's FLOP count over the module."""
    from torch.utils.flop_counter import FlopCounterMode

    spec = default_spec(task, resolution=resolution)
    with torch.device("meta"):
        model = make_network(spec).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.zeros(1, 3, resolution, resolution))
    assert counter.get_total_flops() == 2 * costs(spec).multiply_adds


def test_state_dict_has_torchvisions_keys() -> None:
    """First, last and a middle block by name, and the count: torchvision has 314 tensors."""
    state = MobileNetV2(spec_of(1.0, 224)).state_dict()
    assert len(state) == 314
    assert state["features.0.0.weight"].shape == (32, 3, 3, 3)
    assert state["features.1.conv.0.0.weight"].shape == (32, 1, 3, 3)
    assert state["features.2.conv.2.weight"].shape == (24, 96, 1, 1)
    assert state["features.18.1.running_var"].shape == (1280,)
    assert state["classifier.1.weight"].shape == (1000, 1280)


@pytest.mark.parametrize("resolution", [32, 33, 97, 160])
@pytest.mark.parametrize("padding", list(PaddingStyle))
@pytest.mark.parametrize("width", [0.1, 0.35, 2.0])
def test_any_width_and_resolution_runs(
    width: float, resolution: int, padding: PaddingStyle
) -> None:
    spec = spec_of(width, resolution, padding=padding, head=(HeadLayer(units=7),))
    with torch.no_grad():
        logits = MobileNetV2(spec).eval()(torch.zeros(2, 3, resolution, resolution))
    assert logits.shape == (2, 7)


@pytest.mark.parametrize(
    ("size", "expected"), [(96, (0, 1)), (97, (1, 1)), (7, (1, 1)), (160, (0, 1))]
)
def test_same_padding_puts_the_odd_pixel_after(size: int, expected: tuple[int, int]) -> None:
    """The values of TensorFlow's documentation for kernel 3 and stride 2."""
    assert same_padding(size, 3, 2) == expected


def test_same_convolution_equals_explicit_padding() -> None:
    conv = SameConv2d(3, 4, 3, 2, bias=False)
    x = torch.randn(1, 3, 10, 11)
    padded = torch.nn.functional.pad(x, (1, 1, 0, 1))  # width 11 is odd, height 10 is even
    assert torch.equal(conv(x), torch.nn.functional.conv2d(padded, conv.weight, stride=2))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 0.0}, "width"),
        ({"width": -1.0}, "width"),
        ({"resolution": 31, "preprocess": keras_preprocess(31)}, "31 px"),
        ({"labels": ("a", "b")}, "2 labels for a model of 1000"),
        ({"preprocess": torchvision_preprocess(160)}, "160 px but the model takes 224"),
    ],
)
def test_impossible_specs_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        ModelSpec(**fields)  # type: ignore[arg-type]


def test_spec_survives_json() -> None:
    spec = spec_of(0.35, 97, padding=PaddingStyle.SAME, bn_eps=1e-3)
    assert ModelSpec.from_json(spec.to_json()) == spec
