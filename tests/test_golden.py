"""The integer rules, against a plain-Python statement of the kernels' arithmetic."""

import math

import numpy as np
import pytest
import torch
from graphs import make_graphs, sample_images, skew_qparams

from exporter import golden
from exporter.graph import (
    Add,
    Conv,
    Linear,
    Pool,
    QParams,
    QuantizedGraph,
    Weight,
    accumulator_scale,
)
from exporter.spec import PaddingStyle, Rules

f32 = np.float32


def trace_of(graph: QuantizedGraph, rules: Rules) -> dict[str, np.ndarray]:
    values: dict[str, np.ndarray] = {}
    images = sample_images(graph.spec, 1, seed=9)
    golden.run(graph, images, rules, trace=values.__setitem__)
    return values


@pytest.fixture(scope="module", params=list(PaddingStyle))
def graph(request) -> QuantizedGraph:
    return skew_qparams(make_graphs(padding=request.param)[1])


def test_convolutions_one_output_at_a_time(graph: QuantizedGraph) -> None:
    """A sampled output of every layer, summed in Python integers and rounded as XNNPACK does."""
    values = trace_of(graph, Rules.XNNPACK)
    random = np.random.default_rng(0)
    for op in graph.weighted():
        target, source = graph.qparams(op.output), graph.qparams(op.input)
        index = tuple(int(random.integers(0, n)) for n in values[op.output].shape)
        channel = index[1]
        acc = int(op.bias[channel]) + taps(op, values[op.input], source.zero_point, index)
        multiplier = f32(accumulator_scale(op, graph)[channel] / f32(target.scale))
        code = round(float(f32(f32(acc) * multiplier))) + target.zero_point
        low, high = -128, 127
        if op.clamp is not None:
            low = max(low, round(0.0 / target.scale) + target.zero_point)
            high = min(high, round(float(f32(6.0) / f32(target.scale))) + target.zero_point)
        assert values[op.output][index] == min(max(code, low), high), op.output


@pytest.mark.parametrize("rules", list(Rules))
def test_accumulators_are_the_same_in_either_float_type(
    graph: QuantizedGraph, rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = sample_images(graph.spec, 3, seed=3)
    assert any(golden.float32_is_exact(op, 255) for op in graph.weighted())
    narrow = golden.run(graph, images, rules)
    monkeypatch.setattr(golden, "EXACT_BELOW", 0)
    assert not any(golden.float32_is_exact(op, 255) for op in graph.weighted())
    assert np.array_equal(narrow, golden.run(graph, images, rules))


def test_float32_sums_no_products_that_torch_may_transform(
    graph: QuantizedGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(golden, "sums_products", lambda: False)
    for op in graph.weighted():
        assert golden.float32_is_exact(op, 255) == isinstance(op, Linear)


def test_without_onednn_convolutions_are_not_summed_in_float32(graph: QuantizedGraph) -> None:
    """NNPACK, which torch then takes for 16 images and more, is off by whole integers."""
    images = sample_images(graph.spec, 20, seed=4)
    values: list[dict[str, np.ndarray]] = []
    for enabled in (True, False):
        values.append({})
        before = torch.backends.mkldnn.enabled
        torch._C._set_mkldnn_enabled(enabled)
        try:
            golden.run(graph, images, trace=values[-1].__setitem__)
        finally:
            torch._C._set_mkldnn_enabled(before)
    assert all(np.array_equal(values[0][name], values[1][name]) for name in values[0])


KINDS = {  # (inputs, outputs, kernel, groups, dilation, stride)
    "pointwise": (1024, 2, 1, 1, 1, 1),
    "full": (64, 2, 3, 1, 1, 2),
    "dilated": (64, 2, 3, 1, 4, 1),
    "depthwise": (4, 4, 3, 4, 2, 1),
    "linear": (1024, 2, 0, 1, 1, 1),
}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("zero_point", [-128, -1, 127])
@pytest.mark.parametrize("over", [-1, 0])
def test_the_largest_sums_there_can_be_are_exact(kind: str, zero_point: int, over: int) -> None:
    """Every product at its limit and of one sign, the bias making 2^24 or one less of their sum.

    At the limit float32 is refused, below it taken; both give the sum of Python's integers.
    """
    inputs, outputs, kernel, groups, dilation, stride = KINDS[kind]
    reach = max(127 - zero_point, zero_point + 128)
    far = 127 if 127 - zero_point == reach else -128
    shape = (outputs, inputs // groups, kernel, kernel) if kernel else (outputs, inputs)
    random = np.random.default_rng(0)
    weight = Weight(
        values=np.resize(np.array([1, -127, 127, 0, 3], np.int8), shape),
        scale=np.full(outputs, 2.0**-20, f32),
    )
    magnitude = np.abs(weight.values.astype(np.int64)).reshape(outputs, -1).sum(1) * reach
    bias = (2**24 + over - magnitude).astype(np.int32)
    assert (bias > 0).all()
    named = {"input": "x", "output": "y", "weight": weight, "bias": bias, "clamp": None}
    op: Conv | Linear
    if kernel:
        pad, steps = dilation * (kernel // 2), (stride, stride)
        op = Conv(
            **named, stride=steps, padding=(pad,) * 4, groups=groups, dilation=(dilation,) * 2
        )
    else:
        op = Linear(**named)
    assert golden.float32_is_exact(op, reach) == (over < 0)
    # The middle image has every code at the far end where a weight pulls one way, and as near the
    # zero point as it gets where it pulls the other; the others are random.
    x = random.integers(-128, 128, (18, inputs, 9, 9) if kernel else (18, inputs)).astype(np.int8)
    x[9] = far
    source, target = QParams(scale=1.0, zero_point=zero_point), QParams(scale=1.0, zero_point=0)
    seen: list[np.ndarray] = []
    plain = golden._accumulate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            golden, "_accumulate", lambda *a: seen.append(plain(*a).copy()) or seen[-1].copy()
        )
        golden.weighted(op, x, source, target)
    (found,) = seen
    assert found.dtype == (np.float32 if over < 0 else np.float64)
    whole = found.astype(np.int64)
    assert np.array_equal(whole, found)
    for _ in range(30):
        index = (
            int(random.choice([0, 9, 17])),
            *(int(random.integers(0, n)) for n in found.shape[1:]),
        )
        picture = x[index[0] : index[0] + 1]
        assert whole[index] == taps(op, picture, zero_point, (0, *index[1:])), index


def taps(op: Conv | Linear, x: np.ndarray, zero_point: int, index: tuple[int, ...]) -> int:
    """The products of one output, in Python integers; pixels outside the map are zero."""
    weight = op.weight.values[index[1]].astype(int)
    if isinstance(op, Linear):
        return sum(int(w) * (int(v) - zero_point) for w, v in zip(weight, x[0], strict=True))
    first = index[1] if op.depthwise else 0
    total = 0
    for c in range(weight.shape[0]):
        for i in range(weight.shape[1]):
            for j in range(weight.shape[2]):
                row = index[2] * op.stride[0] + i * op.dilation[0] - op.padding[0]
                column = index[3] * op.stride[1] + j * op.dilation[1] - op.padding[1]
                if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                    value = int(x[0, first + c, row, column]) - zero_point
                    total += int(weight[c, i, j]) * value
    return total


def test_xnnpack_add_rounds_half_up_on_integers() -> None:
    """Every pair of codes, with multipliers of 21 bits worked out in Python integers."""
    qa, qb, qy = (
        QParams(scale=float(f32(s)), zero_point=z) for s, z in ((0.021, 4), (0.017, -9), (0.03, 2))
    )
    a, b = (v.astype(np.int8) for v in np.meshgrid(np.arange(-128, 128), np.arange(-128, 128)))
    result = golden.add_xnnpack(a, b, qa, qb, qy)
    ra, rb = float(f32(f32(qa.scale) / f32(qy.scale))), float(f32(f32(qb.scale) / f32(qy.scale)))
    shift = 20 - math.floor(math.log2(max(ra, rb)))
    ma, mb = round(ra * 2**shift), round(rb * 2**shift)
    for i, j in np.random.default_rng(0).integers(0, 256, (500, 2)):
        exact = (int(a[i, j]) - 4) * ma + (int(b[i, j]) + 9) * mb
        code = math.floor(exact / 2**shift + 0.5) + 2
        assert result[i, j] == min(max(code, -128), 127)


def test_the_two_add_rules_differ_somewhere() -> None:
    """Otherwise two goldens would be one too many: sums that are ties in float go other ways."""
    qa = QParams(scale=0.5, zero_point=0)
    qy = QParams(scale=1.0, zero_point=0)
    a, b = (v.astype(np.int8) for v in np.meshgrid(np.arange(-128, 128), np.arange(-128, 128)))
    difference = golden.add_xnnpack(a, b, qa, qa, qy) - golden.add_ort(a, b, qa, qa, qy)
    assert np.abs(difference).max() == 1


def test_the_add_of_a_browser_rounds_every_step() -> None:
    """By hand, one float32 operation at a time; the fused kernel differs somewhere, by one step."""
    qa, qb, qy = (
        QParams(scale=float(f32(s)), zero_point=z) for s, z in ((0.1, 3), (0.07, -8), (0.2, 1))
    )
    a, b = (v.astype(np.int8) for v in np.meshgrid(np.arange(-128, 128), np.arange(-128, 128)))
    plain, fused = (add(a, b, qa, qb, qy) for add in (golden.add_ort_wasm, golden.add_ort))
    for i, j in np.random.default_rng(0).integers(0, 256, (500, 2)):
        x = f32(f32(0.1) * f32(int(a[i, j]) - 3))
        y = f32(f32(0.07) * f32(int(b[i, j]) + 8))
        step = f32(f32(f32(x + y) / f32(0.2)) + f32(129))
        assert plain[i, j] == min(max(round(float(step)) - 128, -128), 127)
    assert np.abs(plain.astype(int) - fused).max() == 1


@pytest.mark.parametrize("side", [1, 3, 4, 7])
def test_pools_are_the_mean_to_half_a_step(side: int) -> None:
    """Both rules: the real mean, requantized, off by at most half a step and float32 noise."""
    source, target = QParams(scale=0.02, zero_point=-37), QParams(scale=0.025, zero_point=11)
    x = np.random.default_rng(side).integers(-128, 128, (2, 50, side, side)).astype(np.int8)
    mean = golden.dequantize(x, source).astype(np.float64).mean((2, 3), keepdims=True)
    for pool in (golden.pool_xnnpack, golden.pool_ort):
        real = golden.dequantize(pool(x, source, target), target)
        inside = np.abs(mean) < 2.0
        assert np.abs(real - mean)[inside].max() <= 0.5 * target.scale * 1.001


def test_every_operation_was_exercised(graph: QuantizedGraph) -> None:
    kinds = {type(op) for op in graph.ops}
    assert {Conv, Linear, Add, Pool} <= kinds


def test_float_graph_equals_the_trained_module() -> None:
    """The float golden is the folded model; only the rounding of batch norm differs."""
    import torch
    from graphs import random_model

    from exporter.metrics import sqnr_db
    from exporter.verdicts import FP32

    folded, _ = make_graphs()
    x = sample_images(folded.spec, 4, seed=2)
    with torch.no_grad():
        expected = random_model(folded.spec)(torch.from_numpy(x)).numpy()
    assert sqnr_db(expected, golden.run(folded, x)) >= FP32.min_sqnr_db
