"""The integer simulation, fewer bits, block-wise training and the guard that judges it."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Generator
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from conftest import invoke
from graphs import (
    TWO_LAYERS,
    make_graphs,
    make_spec,
    make_tiny_graph,
    random_model,
    random_network,
    replace_op,
    sample_images,
    skew_qparams,
)

from exporter import golden
from exporter.errors import UnsupportedError
from exporter.fold import fold, fold_core
from exporter.graph import Add, Conv, Linear, Output, QuantizedGraph, Weight, round_bias
from exporter.manifest import read_manifest
from exporter.metrics import sqnr_db
from exporter.published import default_spec
from exporter.quantize import quantize
from exporter.quantize.block_qat import split, train_blocks
from exporter.quantize.equalize import equalize
from exporter.quantize.fake_quant import FusedNetwork
from exporter.quantize.integer_network import IntegerNetwork, float32_is_exact
from exporter.quantize.qat_network import QatNetwork
from exporter.quantize.ranges import calibrate
from exporter.quantize.rounding import round_bias_steps, round_to_codes
from exporter.quantize.settings import Bits, QatSettings
from exporter.quantize.stages import CORRECTED, RANGES, TRAINED, Refined, refine
from exporter.quantize.to_graph import to_graph
from exporter.spec import HeadLayer, PaddingStyle, Precision
from exporter.target import ExportOptions
from exporter.tasks import Task
from exporter.verdicts import Quality, Quantization, QuantizationStage
from targets import TargetName, get

T = TypeVar("T")
W4 = Bits(weights=4)
SHORT = QatSettings(bits=W4, steps=20, batch=8)
WRECKING = QatSettings(steps=2, batch=4, lr=3.0)


def result_of(generator: Generator[Any, None, T]) -> T:
    """What a generator returns when nobody looks at what it yields."""
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


@functools.cache
def small_model() -> tuple[QuantizedGraph, np.ndarray, np.ndarray]:
    """A float graph at 64 pixels, images to train on and images held out."""
    spec = make_spec(0.35, 64, PaddingStyle.TORCH, (HeadLayer(units=20),))
    graph = fold(random_model(spec, seed=4))
    return graph, sample_images(spec, 32, seed=1), sample_images(spec, 32, seed=2)


@functools.cache
def refined(settings: QatSettings = SHORT) -> Refined:
    return result_of(refine(*small_model(), settings))


def same(a: QuantizedGraph, b: QuantizedGraph) -> bool:
    """Whether two int8 graphs hold the same integers and scales."""
    pairs = list(zip(a.weighted(), b.weighted(), strict=True))
    return a.tensors == b.tensors and all(
        np.array_equal(x.weight.values, y.weight.values)
        and np.array_equal(x.weight.scale, y.weight.scale)
        and np.array_equal(x.bias, y.bias)
        for x, y in pairs
    )


# The integer simulation.


@pytest.mark.parametrize("padding", PaddingStyle)
def test_the_simulation_is_the_golden(padding: PaddingStyle) -> None:
    """Every bit of every logit, also with ranges that calibration never gives."""
    for graph in (int8 := make_graphs(padding=padding, head=TWO_LAYERS)[1], skew_qparams(int8)):
        images = sample_images(graph.spec, 20, seed=5)
        assert np.array_equal(IntegerNetwork(graph)(images), golden.run(graph, images))


def test_the_simulation_is_the_golden_on_ties_and_any_zero_point() -> None:
    for seed in range(20):
        graph = make_tiny_graph(seed)
        images = sample_images(graph.spec, 4, seed)
        assert np.array_equal(IntegerNetwork(graph)(images), golden.run(graph, images)), seed


def test_accumulators_past_float32_are_summed_in_float64() -> None:
    """1280 weights of 127 reach 41 million: some of those sums are no float32."""
    _, int8 = make_graphs()
    op = list(int8.weighted())[-1]
    values = np.full_like(op.weight.values, 127)
    values[:, ::3] = -126
    bias = np.full_like(op.bias, 2**24 + 1)
    changed = dataclasses.replace(
        op, weight=Weight(values=values, scale=op.weight.scale / 100), bias=bias
    )
    graph = replace_op(int8, changed)
    assert not float32_is_exact(changed, 255)
    images = sample_images(graph.spec, 8, seed=5)
    assert np.array_equal(IntegerNetwork(graph)(images), golden.run(graph, images))


# Rounding.


def test_rounding_passes_gradients_where_nothing_is_clamped() -> None:
    q = dataclasses.replace(make_graphs()[1].qparams("classifier"), scale=0.5, zero_point=-3)
    x = torch.tensor([-10.0, -0.26, 0.74, 5.9, 6.3], requires_grad=True)
    y = round_to_codes(x, q, -3, 9)
    y.sum().backward()
    assert y.tolist() == [0.0, -0.0, 0.5, 6.0, 6.0]
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 0.0, 1.0, 1.0, 0.0]


def test_biases_round_in_torch_as_they_do_in_the_graph() -> None:
    steps = np.array([0.4, -1.6, 2.0**22 + 1.3, 2.0**30 + 77.0, 0.0])
    unit = np.full(5, 2.0**-10, np.float32)
    bias = torch.from_numpy(steps * unit).float()
    expected = round_bias(bias.double().numpy() / unit) * unit
    assert np.array_equal(
        round_bias_steps(bias, torch.from_numpy(unit)).numpy(), expected.astype(np.float32)
    )


# Bits.


def test_fewer_bits_are_narrower_codes() -> None:
    """4 bits: -7 to 7, with first, last and depthwise layers at 8 as asked."""
    graph = refined().graph
    layers = list(graph.weighted())
    for op in layers:
        keeps_8 = op is layers[0] or op is layers[-1] or (isinstance(op, Conv) and op.depthwise)
        largest = np.abs(op.weight.values.astype(int)).max()
        assert largest == 127 if keeps_8 else largest == 7, op.output
    everything = Bits(weights=6, depthwise=5, edges=4).weight_limits(graph)
    assert sorted(set(everything.values())) == [7, 15, 31]


@pytest.mark.parametrize("name", ["android", "onnx", "litert"])
def test_targets_run_four_bit_weights_unchanged(name: str, tmp_path) -> None:
    """Codes of -7 to 7 are int8 to every runtime; none takes them for something smaller."""
    target, graph = get(TargetName(name)), refined().graph
    path = tmp_path / f"model{target.info.suffix_for(ExportOptions())}"
    target.backend.emit(graph, Precision.INT8, ExportOptions(), path)
    images = small_model()[2][:4]
    expected = golden.run(graph, images, target.info.rules)
    assert np.array_equal(target.backend.load(path)(images), expected)


def test_fewer_bits_of_activation_are_simulated() -> None:
    """ReLU6 outputs, sums and projections take 16 codes; the image and the logits keep 256."""
    folded, images, _ = small_model()
    bits = Bits(activations=4)
    network = FusedNetwork(folded).eval()
    network.set_bits(bits)
    result = result_of(
        refine(folded, images[:16], images[16:], QatSettings(bits=bits, steps=1, batch=4))
    )
    limits = bits.code_limits(result.graph)
    simulated = IntegerNetwork(result.graph, limits)
    values = {}
    for op in result.graph.ops[:-1]:
        inputs = [values[n] for n in op.inputs] or [torch.from_numpy(images[:2])]
        values[op.output] = simulated.steps[op.output](inputs)
        if isinstance(op, Conv | Linear | Add) and op.output != "classifier":
            assert values[op.output].max() - values[op.output].min() <= 15, op.output
    assert not bits.exportable
    assert W4.exportable


@pytest.mark.parametrize("wrong", [{"weights": 1}, {"activations": 9}, {"edges": 0}])
def test_bits_that_no_int8_code_has_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UnsupportedError, match="bits of"):
        Bits(**wrong)


def test_learning_rates_grow_as_bits_shrink() -> None:
    rates = [QatSettings(bits=Bits(weights=b)).learning_rate for b in (8, 6, 4)]
    assert rates == sorted(set(rates))
    assert QatSettings(bits=Bits(activations=4)).learning_rate == rates[-1]


# Block-wise training.


def test_blocks_are_inverted_residuals() -> None:
    """17 of them (the stem leads the first), the head, and the pool with the classifier."""
    folded, images, _ = small_model()
    graph = quantize(folded, images[:2])
    blocks = split(graph)
    assert [op for block in blocks for op in block.ops] == list(graph.ops[1:-1])
    assert len(blocks) == 19
    for before, block in pairwise(blocks):
        assert block.reads == before.writes == (before.ops[-1].output,)


def heads(task: Task, side: int) -> tuple[QuantizedGraph, np.ndarray]:
    spec = default_spec(task, width=0.1, resolution=side, classes=3)
    return fold_core(random_network(spec)), sample_images(spec, 12, seed=0)


@pytest.mark.parametrize(("task", "side"), [(Task.DETECTION, 64), (Task.SEGMENTATION, 65)])
def test_blocks_of_branching_graphs_hand_on_what_later_ones_read(task: Task, side: int) -> None:
    """Each integer operation once; a sum stays with what it adds."""
    floating, images = heads(task, side)
    graph = quantize(floating, images[:4])
    blocks = split(graph)
    integers = [op for op in graph.ops[1:] if graph.tensors[op.output].qparams is not None]
    assert [op for b in blocks for op in b.ops] == [
        op for op in integers if not isinstance(op, Output)
    ]
    known = {graph.input.name}
    for block in blocks:
        assert set(block.reads) <= known
        known |= set(block.writes)
    predictors = [op.output for op in graph.weighted() if op.clamp is None]
    assert {n for n in predictors if n.startswith(("classifier", "regressors"))} <= known
    assert len(blocks) >= (20 if task is Task.DETECTION else 18)


@pytest.mark.parametrize(("task", "side"), [(Task.DETECTION, 64), (Task.SEGMENTATION, 65)])
def test_heads_are_trained_like_the_backbone(task: Task, side: int) -> None:
    floating, images = heads(task, side)
    settings = QatSettings(bits=Bits(weights=4), steps=8, batch=4)
    result = result_of(refine(floating, images[:8], images[8:], settings))
    stages = {stage.name: stage.quality.ratio_db for stage in result.record.stages}
    assert stages[TRAINED] > max(stages[RANGES], stages[CORRECTED]) + 0.2
    expected = golden.run_outputs(result.graph, images[8:])
    for name, value in IntegerNetwork(result.graph).results(images[8:]).items():
        np.testing.assert_array_equal(value, expected[name])


@pytest.mark.parametrize(("task", "side"), [(Task.DETECTION, 64), (Task.SEGMENTATION, 65)])
def test_the_network_to_train_gives_what_the_integers_give(task: Task, side: int) -> None:
    """Within the noise of a rounding here and there; read off, it is the same graph."""
    floating, images = heads(task, side)
    graph = quantize(floating, images[:8])
    network = QatNetwork(equalize(floating, images[:8]), graph)
    with torch.no_grad():
        found = network.results(torch.from_numpy(images[8:]))
    for name, value in golden.run_outputs(graph, images[8:]).items():
        assert sqnr_db(value, found[name].numpy()) > 20.0
    assert network.quantized().tensors == graph.tensors


def test_training_brings_four_bits_nearer_to_float_on_images_it_never_saw() -> None:
    stages = {stage.name: stage for stage in refined().record.stages}
    assert list(stages) == [RANGES, CORRECTED, TRAINED]
    assert stages[TRAINED].kept
    best = max(stages[RANGES].quality.sqnr_db, stages[CORRECTED].quality.sqnr_db)
    assert stages[TRAINED].quality.sqnr_db > best + 0.5


def test_the_figures_are_those_of_the_golden() -> None:
    """What is judged is what ships."""
    folded, _, held = small_model()
    result = refined()
    exact = sqnr_db(golden.run(folded, held), golden.run(result.graph, held))
    assert result.record.winner.quality.sqnr_db == pytest.approx(exact, abs=1e-3)


def test_training_is_reproducible_and_the_seed_matters() -> None:
    folded, images, _ = small_model()
    int8 = quantize(folded, images)

    def trained(seed: int) -> QuantizedGraph:
        settings = QatSettings(steps=2, batch=4, seed=seed)
        return result_of(train_blocks(folded, int8, images[:8], settings))

    assert same(trained(0), trained(0))
    assert not same(trained(0), trained(1))


def test_training_keeps_every_scale() -> None:
    folded, images, _ = small_model()
    int8 = quantize(folded, images)
    trained = result_of(train_blocks(folded, int8, images, QatSettings(steps=1, batch=4)))
    assert trained.tensors == int8.tensors
    changed = 0
    for a, b in zip(int8.weighted(), trained.weighted(), strict=True):
        assert np.array_equal(a.weight.scale, b.weight.scale)
        changed += int((a.weight.values != b.weight.values).sum())
    assert changed > 0


def test_the_guard_rejects_training_that_does_harm() -> None:
    """What is left is bit for bit what `quantize` gives."""
    folded, images, _ = small_model()
    result = refined(WRECKING)
    ranges, corrected, trained = result.record.stages
    assert ranges.kept
    assert not trained.kept
    assert trained.quality.sqnr_db < corrected.quality.sqnr_db
    assert result.record.winner is corrected
    assert same(result.graph, quantize(folded, images))


def test_trained_blocks_leave_no_mean_error() -> None:
    """Of graphs that differ in biases only, since nothing is learned at a rate this small."""
    folded, images, _ = small_model()
    network = FusedNetwork(folded).eval()
    with torch.no_grad():
        calibrate(network, torch.from_numpy(images))
    plain = to_graph(network)
    settings = QatSettings(steps=1, batch=4, lr=1e-9, mirror=False)
    trained = result_of(train_blocks(folded, plain, images, settings))
    for before, after in zip(plain.weighted(), trained.weighted(), strict=True):
        assert np.array_equal(before.weight.values, after.weight.values)
    reference = golden.run(folded, images)

    def mean_error(graph: QuantizedGraph) -> float:
        """Of the worst class, in steps of the logits."""
        error = (IntegerNetwork(graph)(images) - reference).mean(0)
        return float(np.abs(error).max() / graph.qparams("classifier").scale)

    assert mean_error(plain) > 1.0
    assert mean_error(trained) < 0.25  # 32 roundings leave 0.05 in the mean


def test_a_block_that_diverges_keeps_what_it_had() -> None:
    folded, images, _ = small_model()
    int8 = quantize(folded, images)
    settings = QatSettings(steps=1, batch=4, lr=float("inf"))
    assert same(int8, result_of(train_blocks(folded, int8, images[:8], settings)))


def test_the_gain_is_over_the_next_best() -> None:
    def stage(name: str, ratio: float, kept: bool) -> QuantizationStage:
        figures = Quality(images=1, sqnr_db=ratio, top1_agreement=1.0, kl=0.0, max_abs=0.0)
        return QuantizationStage(name=name, quality=figures, kept=kept)

    record = Quantization(
        stages=(stage("a", 20.0, True), stage("b", 19.0, False), stage("c", 20.5, True))
    )
    assert record.winner is record.stages[2]
    assert record.told(Task.CLASSIFICATION).startswith(
        "c won: 20.5 dB SQNR to float, 0.5 more than a"
    )


# The command line.


def test_build_with_qat_says_what_won_and_writes_it_down(tmp_path, monkeypatch) -> None:
    """The record is in the manifest; one of before there were such records can still be read."""

    def hurried(graph, images, held_out, settings):
        return refine(graph, images, held_out, dataclasses.replace(settings, steps=2, batch=4))

    monkeypatch.setattr("exporter.quantizing.refine", hurried)
    out = tmp_path / "build"
    run = invoke("build", "--qat", "-t", "onnx", "-o", out)
    assert run.exit_code == 0, run.output
    assert " won: " in run.output
    record = read_manifest(out).quantization
    assert record is not None
    assert [stage.name for stage in record.stages] == [RANGES, CORRECTED, TRAINED]
    assert record.settings["bits"]["weights"] == 8
    data = json.loads((out / "manifest.json").read_text())
    del data["quantization"]
    (tmp_path / "manifest.json").write_text(json.dumps(data))
    assert read_manifest(tmp_path).quantization is None


def test_qat_without_int8_is_refused(tmp_path) -> None:
    run = invoke("build", "--qat", "-p", "fp32", "-t", "onnx", "-o", tmp_path / "build")
    assert run.exit_code == UnsupportedError.exit_code
    assert "--qat" in run.output
