"""Small graphs and images that tests share: random weights with healthy batch norm statistics."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import torch
from torch import nn

from exporter.fold import fold
from exporter.graph import (
    RELU,
    RELU6,
    Add,
    Clamp,
    Conv,
    Input,
    Linear,
    Op,
    Output,
    Pool,
    QParams,
    QuantizedGraph,
    Reshape,
    Tensor,
    Weight,
)
from exporter.models import MobileNetV2, Network, make_network
from exporter.quantize import quantize
from exporter.spec import (
    Activation,
    HeadLayer,
    ModelSpec,
    PaddingStyle,
    keras_preprocess,
    torchvision_preprocess,
)
from exporter.validate import validate

Head = tuple[HeadLayer, ...]
ONE_LAYER: Head = (HeadLayer(units=20),)
TWO_LAYERS: Head = (HeadLayer(units=24, activation=Activation.RELU), HeadLayer(units=20))
CALIBRATION_IMAGES = 12
STATISTICS_IMAGES = 16
TINY_SIDE = 32
GRID = 6  # random colors per side before they are blurred into an image


@functools.cache
def make_graphs(
    width: float = 0.35,
    resolution: int = 96,
    padding: PaddingStyle = PaddingStyle.SAME,
    head: Head = ONE_LAYER,
) -> tuple[QuantizedGraph, QuantizedGraph]:
    """(float graph, int8 graph) of one random model; equal arguments give the same graphs."""
    torch.set_num_threads(1)
    spec = make_spec(width, resolution, padding, head)
    graph = fold(random_model(spec))
    return graph, quantize(graph, sample_images(spec, CALIBRATION_IMAGES, seed=1))


def make_spec(width: float, resolution: int, padding: PaddingStyle, head: Head) -> ModelSpec:
    """SAME padding comes with Keras' preprocessing, torch's with torchvision's."""
    same = padding is PaddingStyle.SAME
    contract = (keras_preprocess if same else torchvision_preprocess)(resolution)
    return ModelSpec(
        width=width,
        resolution=resolution,
        labels=tuple(f"thing {i}" for i in range(head[-1].units)),
        head=head,
        padding=padding,
        preprocess=contract,
    )


def random_model(spec: ModelSpec, seed: int = 0) -> MobileNetV2:
    """A random classifier."""
    model = random_network(spec, seed)
    assert isinstance(model, MobileNetV2)
    return model


def random_network(spec: ModelSpec, seed: int = 0) -> Network:
    """Random weights whose logits depend on the image, as torch's initialization alone does not.

    Batch norm statistics are measured on images, so every layer hands on a signal of unit size.
    """
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        model = make_network(spec)
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)  # by fan in, which is 9 for a depthwise
            elif isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.8, 1.2)
                module.bias.normal_(1, 0.5)  # mostly inside ReLU6, so int8 is not chaotic
                module.momentum = 1.0
            elif isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                nn.init.normal_(module.bias, 0.0, 0.1)
        model.train()(torch.from_numpy(sample_images(spec, STATISTICS_IMAGES, seed)))
    return model.eval()


def sample_images(spec: ModelSpec, count: int, seed: int) -> np.ndarray:
    """Float32 (count, 3, r, r): smooth random 8-bit images, normalized by the spec's contract."""
    scale, bias = spec.preprocess.affine()
    pixels = sample_pixels(spec, count, seed).astype(np.float32)
    return np.asarray(pixels * scale[:, None, None] + bias[:, None, None])


def sample_pixels(spec: ModelSpec, count: int, seed: int) -> np.ndarray:
    """Uint8 (count, 3, r, r), blurred color grids with a little noise."""
    rng = np.random.default_rng(seed)
    colors = torch.from_numpy(rng.uniform(-40, 295, (count, 3, GRID, GRID)))
    size = (spec.resolution, spec.resolution)
    smooth = nn.functional.interpolate(colors, size, mode="bicubic", align_corners=True).numpy()
    return np.clip(np.rint(smooth + rng.normal(0, 4, smooth.shape)), 0, 255).astype(np.uint8)


def replace_qparams(graph: QuantizedGraph, changes: dict[str, QParams]) -> QuantizedGraph:
    """The int8 graph with other parameters on some tensors and on every view of them.

    Weights and int32 biases stay as they are: it is another network, and every bit as good a test.
    """
    changes = dict(changes)
    for op in graph.ops:
        if isinstance(op, Pool | Reshape | Output) and op.input in changes:
            changes[op.output] = changes[op.input]
    tensors = {
        name: dataclasses.replace(tensor, qparams=changes.get(name, tensor.qparams))
        for name, tensor in graph.tensors.items()
    }
    changed = dataclasses.replace(graph, tensors=tensors)
    validate(changed)
    return changed


def skew_qparams(graph: QuantizedGraph, seed: int = 3) -> QuantizedGraph:
    """The int8 graph with ranges that no calibration gives: every rule of the kernels matters.

    ReLU6 outputs get zero points above -128 and ranges past 6, sums and logits lean to one side.
    """
    rng = np.random.default_rng(seed)
    changes = {}
    for op in graph.ops:
        if isinstance(op, Conv | Linear | Add):
            q = graph.qparams(op.output)
            scale = float(np.float32(q.scale * rng.uniform(0.8, 1.5)))
            zero_point = int(np.clip(q.zero_point + rng.integers(-30, 31), -128, 127))
            changes[op.output] = QParams(scale=scale, zero_point=zero_point)
    return replace_qparams(graph, changes)


def make_tiny_graph(seed: int) -> QuantizedGraph:
    """A small int8 graph with every operation and hostile parameters.

    Scales are often powers of two or one step of each other, so sums, means and clamp bounds fall
    on rounding ties; zero points are anywhere; the accumulators cover the whole output range.
    """
    rng = np.random.default_rng(seed)
    spec = make_spec(0.35, TINY_SIDE, PaddingStyle.TORCH, (HeadLayer(units=4),))
    ops: list[Op] = [
        Input(output="input"),
        _tiny_conv(rng, "input", "stem", (8, 3, 3, 3), stride=2, clamp=RELU6),
        _tiny_conv(rng, "stem", "depthwise", (8, 1, 3, 3), groups=8, clamp=RELU6),
        _tiny_conv(rng, "depthwise", "project", (8, 8, 1, 1)),
        Add(a="stem", b="project", output="add"),
        Pool(input="add", output="pool"),
        Reshape(input="pool", output="flatten", shape=(1, 8)),
        _tiny_linear(rng, "flatten", "classifier.0", (6, 8), RELU),
        _tiny_linear(rng, "classifier.0", "classifier", (4, 6)),
        Output(input="classifier", output="logits"),
    ]
    tensors: dict[str, Tensor] = {}
    for op in ops:
        if isinstance(op, Input):
            shape = (1, 3, TINY_SIDE, TINY_SIDE)
        else:
            shape = op.output_shape(tensors[op.inputs[0]].shape)
        shared = isinstance(op, Pool | Reshape | Output)
        q = tensors[op.inputs[0]].qparams if shared else _hostile_qparams(rng)
        tensors[op.output] = Tensor(name=op.output, shape=shape, qparams=q)
    graph = QuantizedGraph(spec=spec, ops=tuple(ops), tensors=tensors)
    scaled = tuple(
        _fill_range(op, graph) if isinstance(op, Conv | Linear) else op for op in graph.ops
    )
    graph = dataclasses.replace(graph, ops=scaled)
    validate(graph)
    return graph


def _tiny_conv(
    rng: np.random.Generator,
    source: str,
    output: str,
    shape: tuple[int, ...],
    *,
    stride: int = 1,
    groups: int = 1,
    clamp: Clamp | None = None,
) -> Conv:
    before, after = ((0, 0), (0, 0), (0, 1), (1, 1))[shape[2]]
    return Conv(
        input=source,
        output=output,
        weight=Weight(values=rng.integers(-127, 128, shape).astype(np.int8)),
        bias=rng.integers(-2000, 2000, shape[0]).astype(np.int32),
        stride=(stride, stride),
        padding=(before, before, after, after),
        groups=groups,
        clamp=clamp,
    )


def _tiny_linear(
    rng: np.random.Generator,
    source: str,
    output: str,
    shape: tuple[int, int],
    clamp: Clamp | None = None,
) -> Linear:
    return Linear(
        input=source,
        output=output,
        weight=Weight(values=rng.integers(-127, 128, shape).astype(np.int8)),
        bias=rng.integers(-2000, 2000, shape[0]).astype(np.int32),
        clamp=clamp,
    )


def _hostile_qparams(rng: np.random.Generator) -> QParams:
    scale = rng.choice(
        [2.0**-5, 2.0**-6, 6 / 255, 6 / 127.5, 6 / 100.5, 0.03 + 0.02 * rng.random()]
    )
    return QParams(scale=float(np.float32(scale)), zero_point=int(rng.integers(-128, 128)))


def _fill_range(op: Conv | Linear, graph: QuantizedGraph) -> Conv | Linear:
    """Weight scales that spread the accumulator's noise over about 100 output codes."""
    source, target = graph.qparams(op.input), graph.qparams(op.output)
    taps = np.prod(op.weight.values.shape[1:])
    spread = 70.0 * 70.0 * np.sqrt(taps) / 50.0  # accumulator steps per output code
    scale = np.full(len(op.bias), target.scale / source.scale / spread, np.float32)
    return dataclasses.replace(op, weight=Weight(values=op.weight.values, scale=scale))


def replace_op(graph: QuantizedGraph, new: Op) -> QuantizedGraph:
    """The graph with the operation that writes `new.output` replaced."""
    ops = tuple(new if op.output == new.output else op for op in graph.ops)
    changed = dataclasses.replace(graph, ops=ops)
    validate(changed)
    return changed
