"""Ranges, the tie-free input, bias correction, and the integers they end in."""

import dataclasses

import numpy as np
import pytest
import torch
from graphs import make_graphs, make_spec, random_model, sample_images

from exporter import golden, threads
from exporter.fold import fold
from exporter.graph import RELU6, Add, Conv, Linear, QuantizedGraph
from exporter.metrics import sqnr_db
from exporter.preprocess import normalize
from exporter.quantize import quantize
from exporter.quantize.equalize import (
    FP16_NORMAL,
    LARGEST_GAIN,
    balance,
    channel_ranges,
    equalize,
    gains_of,
    streams,
)
from exporter.quantize.fake_quant import FusedNetwork, Mode
from exporter.quantize.ranges import TIE_MARGIN, affine_qparams, calibrate, image_qparams
from exporter.quantize.to_graph import to_graph
from exporter.spec import (
    HeadLayer,
    PaddingStyle,
    Preprocess,
    keras_preprocess,
    torchvision_preprocess,
)
from exporter.validate import validate

CONTRACTS = {
    "keras": keras_preprocess(96),
    "torchvision": torchvision_preprocess(96),
    "unit": Preprocess(resize_size=96, crop_size=96),
    "bytes": Preprocess(resize_size=96, crop_size=96, value_range=(0.0, 255.0)),
    "odd": Preprocess(resize_size=96, crop_size=96, mean=(0.5, 0.4, 0.3), std=(0.21, 0.3, 1.7)),
}


@pytest.mark.parametrize("name", CONTRACTS)
def test_no_pixel_is_a_rounding_tie(name: str) -> None:
    """Each 8-bit value of each channel has one code under every way to write the normalization."""
    contract = CONTRACTS[name]
    q = image_qparams(contract)
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    codes = golden.quantize(normalize(pixels, contract), q)
    u = pixels.transpose(0, 3, 1, 2).astype(np.float32)
    low, high = (np.float32(v) for v in contract.value_range)
    mean, std = (
        np.asarray(v, np.float32)[None, :, None, None] for v in (contract.mean, contract.std)
    )
    spellings = [
        ((u / np.float32(255)) * (high - low) + low - mean) / std,
        (u * ((high - low) / np.float32(255)) + (low - mean)) / std,
        (u - (mean - low) * np.float32(255) / (high - low))
        * ((high - low) / np.float32(255))
        / std,
        (
            (u.astype(np.float64) / 255 * (float(high) - float(low)) + float(low) - mean) / std
        ).astype(np.float32),
    ]
    for x in spellings:
        assert np.array_equal(golden.quantize(x.astype(np.float32), q), codes)
        assert np.array_equal(golden.quantize(x.astype(np.float32), q, golden.Rules.ORT), codes)
    assert (
        np.abs(golden.dequantize(codes, q) - normalize(pixels, contract)).max() <= q.scale * 0.501
    )


def test_the_naive_input_scale_is_all_ties() -> None:
    """Why the search exists: at 1 / 127.5 every pixel is a tie, and spellings disagree."""
    u = np.arange(256, dtype=np.float32)
    q = affine_qparams(-1.0, 1.0)
    one = golden.quantize(u / np.float32(127.5) - np.float32(1), q)
    other = golden.quantize((u - np.float32(127.5)) / np.float32(127.5), q)
    assert (one != other).sum() > 20


def test_ranges_represent_zero_exactly_and_cover_relu6() -> None:
    graph = make_graphs()[1]
    for op in graph.ops:
        q = graph.qparams(op.output)
        assert -128 <= q.zero_point <= 127
        assert float(np.float32(q.scale)) == q.scale
        if isinstance(op, Conv) and op.clamp == RELU6:
            assert q.zero_point == -128
            assert 255 * q.scale <= 6.0 * (1 + 1e-6)


def test_quantization_is_reproducible() -> None:
    folded, int8 = make_graphs()
    again = quantize(folded, sample_images(folded.spec, 12, seed=1))
    for a, b in zip(int8.weighted(), again.weighted(), strict=True):
        assert np.array_equal(a.weight.values, b.weight.values)
        assert np.array_equal(a.bias, b.bias)
    assert int8.tensors == again.tensors


def test_quantization_is_the_same_on_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    folded, _ = make_graphs()
    images = sample_images(folded.spec, 40, seed=1)  # three batches
    found = []
    for count in (1, 3):
        monkeypatch.setattr(threads, "workers", lambda count=count: count)
        found.append(quantize(folded, images))
    one, three = found
    assert one.tensors == three.tensors
    for a, b in zip(one.weighted(), three.weighted(), strict=True):
        assert np.array_equal(a.weight.values, b.weight.values)
        assert np.array_equal(a.bias, b.bias)


def test_bias_correction_brings_int8_nearer_to_float() -> None:
    """The same ranges and weights, with and without the correction, on images not used for it."""
    spec = make_spec(0.35, 96, PaddingStyle.TORCH, (HeadLayer(units=20),))
    folded = fold(random_model(spec, seed=4))
    images, held = sample_images(spec, 32, seed=1), sample_images(spec, 32, seed=2)
    plain = FusedNetwork(folded).eval()
    with torch.no_grad():
        calibrate(plain, torch.from_numpy(images))
    reference = golden.run(folded, held)
    before = sqnr_db(reference, golden.run(to_graph(plain), held))
    after = sqnr_db(reference, golden.run(quantize(folded, images), held))
    assert after > before + 1.0


def test_equalized_streams_are_the_same_model() -> None:
    folded, _ = make_graphs()
    images = sample_images(folded.spec, 8, seed=1)
    equal = equalize(folded, images)
    held = sample_images(folded.spec, 4, seed=2)
    assert sqnr_db(golden.run(folded, held), golden.run(equal, held)) > 100.0
    assert equal.tensors == folded.tensors


def test_streams_are_linear_and_tied_by_their_sums() -> None:
    """One per resolution stage and projection; nothing that a clamp or the classifier reads."""
    folded, _ = make_graphs()
    found = streams(folded)
    ops = {op.output: op for op in folded.ops}
    for stream in found:
        assert all(isinstance(ops[n], Add) or ops[n].clamp is None for n in stream)
    tied = {name: stream for stream in found for name in stream}
    sums = [op for op in folded.ops if isinstance(op, Add)]
    assert sums
    for op in sums:
        assert tied[op.a] is tied[op.b] is tied[op.output]
    assert folded.input.name not in tied
    assert "classifier" not in tied


def test_equalizing_brings_channels_half_way_to_the_largest() -> None:
    folded, _ = make_graphs()
    images = sample_images(folded.spec, 8, seed=1)
    stream = streams(folded)[0]
    before = channel_ranges(folded, images, set(stream))
    after = channel_ranges(equalize(folded, images), images, set(stream))
    largest = np.maximum.reduce([before[name] for name in stream])
    gains = gains_of(largest)
    assert gains.min() == 1.0
    assert 1.1 < gains.max() <= LARGEST_GAIN
    for name in stream:
        assert np.allclose(after[name], before[name] * gains, rtol=1e-4)
    short = gains < LARGEST_GAIN
    halfway = np.sqrt(largest.max() * largest)  # in the logarithm
    assert np.allclose((largest * gains)[short], halfway[short], rtol=1e-4)


def test_balanced_scales_change_no_integer() -> None:
    """Logits are equal to the last bit, and no scale is needlessly too small for fp16."""
    folded, _ = make_graphs()
    images = sample_images(folded.spec, 8, seed=1)
    int8 = quantize(folded, images)
    name = next(n for stream in streams(int8) for n in stream)
    skewed = _scaled_stream(int8, name, 2.0**-6)
    balanced = balance(skewed)
    validate(balanced)
    assert np.array_equal(golden.run(balanced, images), golden.run(int8, images))
    lost = [
        sum(int((op.weight.scale < FP16_NORMAL).sum()) for op in graph.weighted())
        for graph in (skewed, balanced, int8)
    ]
    assert lost[0] > lost[1]
    assert lost[1] <= lost[2]
    for before, after in zip(skewed.weighted(), balanced.weighted(), strict=True):
        assert np.array_equal(before.weight.values, after.weight.values)
        assert np.array_equal(before.bias, after.bias)


def _scaled_stream(graph: QuantizedGraph, name: str, factor: float) -> QuantizedGraph:
    """A stream's scale times a power of two, with the weights around it to match."""
    stream = next(stream for stream in streams(graph) if name in stream)
    tensors = dict(graph.tensors)
    for member in stream:
        q = tensors[member].qparams
        qparams = dataclasses.replace(q, scale=q.scale * factor)
        tensors[member] = dataclasses.replace(tensors[member], qparams=qparams)
    ops = []
    for op in graph.ops:
        if isinstance(op, Conv) and (op.output in stream or op.input in stream):
            times = factor if op.output in stream else 1 / factor
            weight = dataclasses.replace(op.weight, scale=op.weight.scale * np.float32(times))
            op = dataclasses.replace(op, weight=weight)
        ops.append(op)
    return dataclasses.replace(graph, ops=tuple(ops), tensors=tensors)


def test_a_dead_channel_gets_no_more_than_the_largest_gain() -> None:
    assert gains_of(np.array([0.0, 1.0, 4.0], np.float32)).tolist() == [LARGEST_GAIN, 2.0, 1.0]
    assert gains_of(np.zeros(2, np.float32)).tolist() == [1.0, 1.0]


def test_fake_quant_and_golden_agree_to_a_few_steps() -> None:
    """The trainable simulation and the integers describe one network."""
    folded, int8 = make_graphs()
    network = FusedNetwork(folded).eval()
    images = torch.from_numpy(sample_images(folded.spec, 12, seed=1))
    with torch.no_grad():
        calibrate(network, images)
        simulated = network(images[:4]).numpy()
    exact = golden.run(to_graph(network), images[:4].numpy())
    assert np.abs(simulated - exact).max() <= 6 * int8.qparams("classifier").scale


def test_float_mode_is_the_float_graph() -> None:
    folded, _ = make_graphs()
    network = FusedNetwork(folded).eval()
    network.set_mode(Mode.OFF)
    x = sample_images(folded.spec, 2, seed=3)
    with torch.no_grad():
        assert np.allclose(network(torch.from_numpy(x)).numpy(), golden.run(folded, x), atol=1e-4)


def test_gradients_reach_every_weight() -> None:
    """Rounding lets gradients through, so the same module can be trained."""
    folded, _ = make_graphs()
    network = FusedNetwork(folded)
    images = torch.from_numpy(sample_images(folded.spec, 4, seed=1))
    with torch.no_grad():
        calibrate(network, images)
    network(images).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_weights_round_to_nearest_of_their_channel() -> None:
    folded, _ = make_graphs()
    network = FusedNetwork(folded).eval()
    with torch.no_grad():
        calibrate(network, torch.from_numpy(sample_images(folded.spec, 4, seed=1)))
    for float_op, op in zip(folded.weighted(), to_graph(network).weighted(), strict=True):
        assert isinstance(op, Conv | Linear)
        error = np.abs(op.weight.dequantized() - float_op.weight.values)
        assert op.weight.scale is not None
        limit = op.weight.scale.reshape((-1,) + (1,) * (error.ndim - 1))
        assert (error <= 0.5001 * limit).all(), op.output


def test_tie_margin_is_above_float_noise() -> None:
    """A pixel normalized in float32 is within 1e-4 steps of its exact value in every contract."""
    for contract in CONTRACTS.values():
        q = image_qparams(contract)
        scale, bias = contract.affine()
        u = np.arange(256)[:, None]
        exact = u * scale.astype(np.float64) + bias.astype(np.float64)
        noisy = u.astype(np.float32) * scale + bias
        assert np.abs(exact - noisy).max() / q.scale < TIE_MARGIN / 10
