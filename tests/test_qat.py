"""End-to-end training of integers: the network, the run, its guard and the checkpoint it leaves."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import invoke
from graphs import make_spec, random_model, sample_images
from test_training_distributed import launch
from training_data import SMALL, colors, settings

from exporter import golden
from exporter.checkpoints import (
    TrainedIntegers,
    build_model,
    load_checkpoint,
    save_checkpoint,
)
from exporter.errors import CheckpointError
from exporter.fold import fold
from exporter.graph import QuantizedGraph
from exporter.graph_file import load_graph
from exporter.manifest import Calibration, read_manifest
from exporter.metrics import sqnr_db
from exporter.quantize import health, quantize
from exporter.quantize.fake_quant import FusedNetwork
from exporter.quantize.integer_network import IntegerNetwork
from exporter.quantize.qat_network import QatNetwork
from exporter.quantize.rounding import round_learned
from exporter.quantize.settings import Bits, QatSettings
from exporter.quantize.stages import CORRECTED, END_TO_END, RANGES, TRAINED, Guard, Judged
from exporter.spec import HeadLayer, PaddingStyle
from exporter.tasks import Task
from exporter.training.distributed import World
from exporter.training.events import Settled, Trained
from exporter.training.loading import Batch
from exporter.training.qat import START, qat
from exporter.training.qat_learner import QatLearner, bits_of
from exporter.training.recipes import QAT, Changes, RecipeName, explain, make_recipe
from exporter.training.run_folder import RunFolder
from exporter.training.runs import Place
from exporter.training.schedule import Plan
from exporter.training.settings import Settings
from exporter.verdicts import Metric, Outcome, Quality, Quantization

QUICK = ("--batch", 8, "--workers", 0, "--epochs", 2)


@pytest.fixture(scope="module")
def pair() -> tuple[QuantizedGraph, QuantizedGraph, np.ndarray]:
    """A float graph, its int8 graph and images."""
    spec = make_spec(0.35, 32, PaddingStyle.SAME, (HeadLayer(units=5),))
    graph = fold(random_model(spec, seed=3))
    images = sample_images(spec, 24, seed=5)
    return graph, quantize(graph, images), images


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colors(tmp_path_factory.mktemp("colors") / "data")


@pytest.fixture(scope="module")
def float_run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs whose latest is a float model."""
    out = tmp_path_factory.mktemp("runs")
    assert invoke("train", data, *SMALL, "--epochs", 6, "-o", out, "-q").exit_code == 0
    return out


def asked(data: Path, float_run: Path, **changes: object) -> Settings:
    how = make_recipe(RecipeName.QAT, Changes(batch=8, epochs=2))
    how = dataclasses.replace(how, block_steps=4, **changes)
    init = float_run / "finetune-1" / "best.safetensors"
    return settings(data, how, width=None, resolution=None, init=init)


@pytest.fixture(scope="module")
def run(data: Path, float_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list]:
    """One whole run, its learning rate high enough to change codes."""
    out = tmp_path_factory.mktemp("qat")
    events = list(qat(asked(data, float_run, lr=1e-3), Place(out=out, name="whole")))
    return out / "whole", events


def same(a: QuantizedGraph, b: QuantizedGraph) -> bool:
    return a.tensors == b.tensors and all(
        np.array_equal(x.weight.values, y.weight.values) and np.array_equal(x.bias, y.bias)
        for x, y in zip(a.weighted(), b.weighted(), strict=True)
    )


def logits(network: QatNetwork, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network(torch.from_numpy(images)).numpy()


def fit(network: QatNetwork, teacher: FusedNetwork, images: np.ndarray, lr: float) -> None:
    """Twenty updates towards the teacher's logits."""
    x = torch.from_numpy(images)
    target = teacher(x).detach()
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    for _ in range(20):
        optimizer.zero_grad()
        (network(x) - target).square().mean().backward()
        optimizer.step()


# The network


def test_untrained_it_is_the_graph_it_began_with(pair) -> None:
    float_graph, graph, images = pair
    network = QatNetwork(float_graph, graph)
    assert same(network.quantized(), graph)
    exact = IntegerNetwork(graph)(images)
    # Float rounding is off by a step here and there, which these random weights amplify.
    rounding = sqnr_db(golden.run(float_graph, images), exact)
    assert sqnr_db(exact, logits(network, images)) > rounding + 6.0


def test_without_rounding_it_is_the_float_network(pair) -> None:
    float_graph, graph, images = pair
    network = QatNetwork(float_graph, graph, rounding=False)
    assert sqnr_db(golden.run(float_graph, images), logits(network, images)) > 90.0


@pytest.mark.parametrize("learn", [False, True])
def test_training_brings_the_integers_nearer_and_moves_only_learned_ranges(pair, learn) -> None:
    float_graph, _, images = pair
    bits = Bits(weights=4)
    network = FusedNetwork(float_graph)
    limits = bits.weight_limits(float_graph)
    start = _four_bits(float_graph, images, bits)
    network = QatNetwork(float_graph, start, weight_limits=limits, learn_ranges=learn)
    fit(network, FusedNetwork(float_graph).eval(), images, lr=1e-3)
    trained = network.quantized()
    reference = golden.run(float_graph, images)
    before, after = (sqnr_db(reference, golden.run(g, images)) for g in (start, trained))
    assert after > before + 1.0
    assert np.array_equal(golden.run(trained, images), IntegerNetwork(trained)(images))
    moved = [n for n in start.tensors if start.qparams(n) != trained.qparams(n)]
    assert bool(moved) == learn
    assert start.qparams(start.input.name) == trained.qparams(start.input.name)
    for name in moved:
        scale = trained.qparams(name).scale
        assert float(np.float32(scale)) == scale
        assert trained.qparams(name).zero_point == start.qparams(name).zero_point
    for op in trained.weighted():
        assert np.abs(op.weight.values.astype(int)).max() <= limits[op.output]


def _four_bits(graph: QuantizedGraph, images: np.ndarray, bits: Bits) -> QuantizedGraph:
    from exporter.quantize.ranges import calibrate
    from exporter.quantize.to_graph import to_graph

    network = FusedNetwork(graph).eval()
    network.set_bits(bits)
    with torch.no_grad():
        calibrate(network, torch.from_numpy(images))
    return to_graph(network)


@pytest.mark.parametrize("clamped", [False, True])
def test_a_learned_scale_has_the_gradient_of_lsq(clamped: bool) -> None:
    """Esser et al. 2020, equation 3; beyond a clamp's bound the output does not move at all."""
    low, high, size = -128, 72, 0.03
    x = torch.linspace(-5.0, 4.0, 500, requires_grad=True)
    scale = torch.tensor(size, requires_grad=True)
    y = round_learned(x, scale, 0, low, high, clamped=clamped)
    assert torch.equal(y, (x / scale).round().clamp(low, high) * scale)
    weight = torch.linspace(0.5, 1.5, 500)
    (y * weight).sum().backward()
    steps = (x / size).detach()
    slope = torch.where(steps > high + 0.5, 0.0 if clamped else float(high), steps.round() - steps)
    slope = torch.where(steps < low - 0.5, float(low), slope)
    expected = (slope * weight).sum() / (x.numel() * (high - low)) ** 0.5
    assert scale.grad == pytest.approx(float(expected), rel=1e-4)
    inside = (steps > low - 0.5) & (steps < high + 0.5)
    assert torch.equal(x.grad, torch.where(inside, weight, torch.zeros(500)))


def test_learned_ranges_stay_in_sight(pair) -> None:
    network = QatNetwork(*pair[:2], learn_ranges=True)
    factors = list(network.factors.values())
    with torch.no_grad():
        factors[0].fill_(-1.0)
        factors[1].fill_(50.0)
    network.keep_ranges()
    assert (factors[0].item(), factors[1].item(), factors[2].item()) == (0.25, 4.0, 1.0)
    network.quantized()


def test_the_loss_does_not_depend_on_parts_of_the_batch(data: Path, float_run: Path) -> None:
    model = build_model(load_checkpoint(float_run / "latest"))
    graph = fold(model)
    images = sample_images(model.spec, 16, seed=1)
    none = Calibration(images=16, sha256="", origin="")
    record = Quantization(stages=())
    integers = TrainedIntegers(graph=quantize(graph, images), record=record, calibration=none)
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=rng)
    batch = Batch(images=pixels, labels=torch.arange(8) % 3, indices=torch.arange(8))
    losses = []
    for parts in (1, 4):
        plan = Plan(recipe=make_recipe(RecipeName.QAT, Changes(batch=8)), images=80)
        learner = QatLearner(model, graph, integers, plan, World(), parts, spread={"logits": 2.0})
        learner.begin(0)
        losses.append(learner.update(batch, 0, 0).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_figure_that_is_none_is_never_kept(pair) -> None:
    figures = iter([20.0, math.nan, 30.0, math.nan])

    def judge(graph: QuantizedGraph) -> Judged:
        nan = Quality(images=1, sqnr_db=next(figures), top1_agreement=1.0, kl=0.0, max_abs=0.0)
        return Judged(quality=nan)

    guard = Guard(judge, QatSettings())
    kept = [guard.offer(name, pair[1]).kept for name in "abcd"]
    assert kept == [True, False, True, False]


def test_a_range_that_does_not_come_to_rest_is_found(pair) -> None:
    _, graph, _ = pair
    name = next(graph.weighted()).output
    tensor = graph.tensors[name]
    wider = dataclasses.replace(tensor.qparams, scale=tensor.qparams.scale * 1.02)
    moved = dataclasses.replace(
        graph, tensors={**graph.tensors, name: dataclasses.replace(tensor, qparams=wider)}
    )
    assert health.check_frozen(graph, graph) == ()
    assert [f.id for f in health.check_frozen(graph, moved)] == ["H403"]


# The run


def test_a_run_ends_in_a_checkpoint_with_its_integers(run, float_run: Path) -> None:
    folder, events = run
    record = next(e.record for e in events if isinstance(e, Settled))
    assert [s.name for s in record.stages] == [RANGES, CORRECTED, TRAINED, END_TO_END]
    assert all(s.quality.images == s.accuracy.images > 0 for s in record.stages)
    assert record.settings["end_to_end"]["lr"] == 1e-3
    best = load_checkpoint(folder / "best.safetensors")
    assert best.integers is not None
    assert best.integers.record == record
    started = load_checkpoint(folder / START).integers
    assert started.record.stages == record.stages[:3]
    original = load_checkpoint(float_run / "finetune-1")  # a run stands for its best checkpoint
    assert best.spec == original.spec
    assert all(torch.equal(best.state_dict[n], t) for n, t in original.state_dict.items())
    done = next(e for e in events if isinstance(e, Trained))
    assert done.quality.sqnr_db == pytest.approx(record.winner.quality.sqnr_db)
    assert (done.best_epoch is not None) == record.stages[-1].kept
    assert {"curve.png", "confusion.png", "last.safetensors"} <= {p.name for p in folder.iterdir()}


def test_the_last_checkpoint_does_not_claim_to_have_won(run) -> None:
    """Its int8 graph is of the last epoch, whichever stage was best."""
    folder, _ = run
    rows = [row for row in RunFolder(folder).metrics() if row["kind"] == "val"]
    record = load_checkpoint(folder / "last.safetensors").integers.record
    assert record.built == END_TO_END
    assert record.chosen.quality.sqnr_db == pytest.approx(rows[-1]["quality"]["sqnr_db"])
    assert record.stages[-1].kept == rows[-1]["best"]
    worse = dataclasses.replace(record.stages[-1], kept=False)
    lost = dataclasses.replace(record, stages=(*record.stages[:-1], worse))
    assert lost.winner is not worse
    assert lost.told(Task.CLASSIFICATION).startswith("end-to-end QAT is what this is: ")


def test_a_finished_run_without_its_metrics_is_still_settled(run, tmp_path: Path) -> None:
    shutil.copytree(run[0], tmp_path / "bare")
    (tmp_path / "bare" / "metrics.jsonl").unlink()
    began = RunFolder(run[0]).read_run()
    place = Place(out=tmp_path, name="bare", resume=True)
    assert isinstance(list(qat(began.settings, place))[-1], Settled)


def test_the_guard_keeps_what_was_better(data: Path, float_run: Path, tmp_path: Path) -> None:
    """A rate that wrecks the network: the file is the start's, and the loss is on record."""
    wrecking = asked(data, float_run, lr=0.3, epochs=1)
    events = list(qat(wrecking, Place(out=tmp_path, name="wrecked")))
    record = next(e.record for e in events if isinstance(e, Settled))
    assert not record.stages[-1].kept
    assert record.winner.name != END_TO_END
    folder = tmp_path / "wrecked"
    start, best = (load_checkpoint(folder / n).integers for n in (START, "best.safetensors"))
    assert same(start.graph, best.graph)
    assert next(e for e in events if isinstance(e, Trained)).best_epoch is None
    assert "won" in record.told(Task.CLASSIFICATION)


def test_labels_are_judged_by_top1(data: Path, float_run: Path, tmp_path: Path) -> None:
    mixed = asked(data, float_run, distill=0.5, epochs=1)
    events = list(qat(mixed, Place(out=tmp_path, name="mixed")))
    record = next(e.record for e in events if isinstance(e, Settled))
    assert record.metric is Metric.TOP1
    assert "points more than" in record.told(Task.CLASSIFICATION)


def test_a_run_that_stopped_goes_on_as_if_it_had_not(run, tmp_path: Path) -> None:
    """From the files as a kill after the first epoch leaves them."""
    folder, _ = run
    copy = tmp_path / "cut"
    shutil.copytree(folder, copy)
    whole = RunFolder(folder)
    events = []
    for event in qat(whole.read_run().settings, Place(out=tmp_path, name="again")):
        events.append(event)
        if getattr(event, "epoch", 0) == 1 and hasattr(event, "best"):
            break  # the generator is dropped as a kill would drop it
    resumed = list(qat(whole.read_run().settings, Place(out=tmp_path, name="again", resume=True)))
    assert isinstance(resumed[-1], Settled)
    rows = [
        [(r["kind"], r["step"], r["loss"]) for r in RunFolder(f).metrics()]
        for f in (folder, tmp_path / "again")
    ]
    assert rows[0] == rows[1]
    a, b = (load_checkpoint(f / "last.safetensors").integers for f in (folder, tmp_path / "again"))
    assert same(a.graph, b.graph)


@pytest.mark.slow
def test_two_workers_train_the_same_integers(data: Path, float_run: Path, tmp_path: Path) -> None:
    options = ["--data", data, "--batch", 4, "--workers", 0, "--epochs", 1, "-o", tmp_path]
    arguments = ["-m", "exporter", "qat", float_run / "latest", *options, "--name", "two", "-q"]
    launch([str(a) for a in arguments], tmp_path)
    integers = load_checkpoint(tmp_path / "two").integers
    assert integers.record.stages[-1].name == END_TO_END
    assert integers.record.stages[0].quality.images == 3  # each of the split once


# The checkpoint


def test_build_takes_the_integers_as_they_are(run, tmp_path: Path) -> None:
    folder, _ = run
    result = invoke("build", folder, "-t", "onnx", "-t", "android", "--out", tmp_path / "b", "-q")
    assert result.exit_code == 0, result.output
    manifest = read_manifest(tmp_path / "b")
    integers = load_checkpoint(folder).integers
    built = load_graph(tmp_path / "b" / "model-int8.graph")
    for op, own in zip(built.weighted(), integers.graph.weighted(), strict=True):
        assert np.array_equal(op.weight.values, own.weight.values)
        assert np.array_equal(op.bias, own.bias)
    images = sample_images(built.spec, 4, seed=0)
    assert np.array_equal(golden.run(built, images), golden.run(integers.graph, images))
    assert manifest.quantization == integers.record
    assert manifest.calibration == integers.calibration
    assert {a.parity.outcome for a in manifest.artifacts} <= {Outcome.SAME, Outcome.NOT_RUN}
    assert invoke("verify", tmp_path / "b", "-q").exit_code == 0


def test_few_bits_of_activation_are_for_study(data, float_run: Path, tmp_path: Path) -> None:
    few = asked(data, float_run, activation_bits=4, weight_bits=4, epochs=1)
    list(qat(few, Place(out=tmp_path, name="few")))
    integers = load_checkpoint(tmp_path / "few").integers
    assert integers.activation_bits == 4
    refused = invoke("build", tmp_path / "few", "-t", "onnx", "--out", tmp_path / "b")
    assert refused.exit_code == 5
    assert "4 bits of activation" in refused.output
    invoke("build", tmp_path / "few", "-t", "onnx", "-p", "fp32", "--out", tmp_path / "b", "-q")
    assert [a.path for a in read_manifest(tmp_path / "b").artifacts] == ["model-fp32.onnx"]


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--qat"], "trained already"), (["--resolution", "64"], "is for 32 px")],
)
def test_build_refuses_what_the_integers_are_not(run, tmp_path, options, said) -> None:
    refused = invoke("build", run[0], "-t", "onnx", "--out", tmp_path / "b", *options)
    assert refused.exit_code == 5, refused.output
    assert said in refused.output
    assert not (tmp_path / "b").exists()


def test_a_damaged_int8_graph_is_named(run, tmp_path: Path) -> None:
    found = load_checkpoint(run[0])
    spec = dataclasses.replace(found.spec, dropout=0.5)
    other = dataclasses.replace(
        found.integers, graph=dataclasses.replace(found.integers.graph, spec=spec)
    )
    save_checkpoint(tmp_path / "c.safetensors", found.spec, found.state_dict, integers=other)
    with pytest.raises(CheckpointError, match="int8 graph is of another model"):
        load_checkpoint(tmp_path / "c.safetensors")
    data = (run[0] / "best.safetensors").read_bytes()
    for old, new in ((b'"metric":"sqnr_db"', b'"metric":"sqnr_bd"'), (b'"ops":', b'"opz":')):
        (tmp_path / "d.safetensors").write_bytes(_renamed(data, old, new))
        with pytest.raises(CheckpointError, match="int8 graph"):
            load_checkpoint(tmp_path / "d.safetensors")


def _renamed(data: bytes, old: bytes, new: bytes) -> bytes:
    escaped = [text.replace(b'"', b'\\"') for text in (old, new)]
    assert escaped[0] in data
    return data.replace(*escaped)


def test_an_int8_graph_of_another_function_is_refused(run, tmp_path: Path) -> None:
    """Artifacts would equal it, and nothing else would tell."""
    found = load_checkpoint(run[0])
    graph = found.integers.graph
    ops = tuple(
        dataclasses.replace(op, clamp=(0.0, 5.0)) if getattr(op, "clamp", None) else op
        for op in graph.ops
    )
    other = dataclasses.replace(found.integers, graph=dataclasses.replace(graph, ops=ops))
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, found.spec, found.state_dict, integers=other)
    refused = invoke("build", path, "-t", "onnx", "--out", tmp_path / "b")
    assert refused.exit_code == 10, refused.output
    assert "features.0 differs" in refused.output


@pytest.mark.parametrize(
    "harm",
    [
        lambda record: record["quantization"].update(stages=[]),
        lambda record: record["quantization"]["stages"][0]["quality"].update(sqnr_db="x"),
        lambda record: record["calibration"].update(images="many"),
        lambda record: record["graph"]["tensors"][3].update(zero_point=float("inf")),
        lambda record: record["graph"]["ops"][1].update(stride=7),
    ],
)
def test_hostile_records_are_one_line(run, tmp_path: Path, harm) -> None:
    path = tmp_path / "h.safetensors"
    data = (run[0] / "best.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    record = json.loads(header["__metadata__"]["mnv2_export"])
    harm(record["int8"])
    header["__metadata__"]["mnv2_export"] = json.dumps(record)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path)
    assert "\n" not in error.value.message


def test_the_same_model_gives_the_same_bytes(run, tmp_path: Path) -> None:
    found = load_checkpoint(run[0])
    assert isinstance(found.integers, TrainedIntegers)
    for name in ("a", "b"):
        save_checkpoint(tmp_path / name, found.spec, found.state_dict, integers=found.integers)
    data = (tmp_path / "a").read_bytes()
    assert data == (tmp_path / "b").read_bytes() == (run[0] / "best.safetensors").read_bytes()


# The command


def test_the_command_prints_stages_and_what_is_next(data, float_run: Path, tmp_path: Path) -> None:
    options = ["--data", data, *QUICK, "--epochs", 1, "-o", tmp_path, "--weights", 4]
    result = invoke("qat", float_run / "latest", *options)
    assert result.exit_code == 0, result.output
    assert "end-to-end QAT" in result.output
    assert "won:" in result.output
    assert f"mnv2-export build {tmp_path / 'qat-1' / 'best.safetensors'}" in result.output
    stored = RunFolder(tmp_path / "qat-1").read_run().settings
    assert stored.recipe.lr == 1e-4  # of few bits
    assert stored.init == (float_run / "finetune-1" / "best.safetensors").resolve()
    document = invoke("qat", "--resume", "-o", tmp_path, "--json")
    assert document.exit_code == 0, document.output
    told = json.loads(document.stdout)
    assert [s["name"] for s in told["quantization"]["stages"]][-1] == END_TO_END


def test_bits_and_blocks_are_the_recipes() -> None:
    recipe = make_recipe(RecipeName.QAT, Changes(weight_bits=6, edge_bits=4, learn_ranges=True))
    assert bits_of(recipe) == Bits(weights=6, edges=4)
    lines = {line.name: line for line in explain(recipe)}
    assert lines["weight_bits"].source == "the command line"
    assert (lines["lr"].value, "1e-4 up to 6 bits" in lines["lr"].source) == ("0.0001", True)
    assert QAT.block_steps == QatSettings().steps
    assert lines["distill"].source.startswith("Ba and Caruana")


def test_bad_input_is_one_line(data: Path, float_run: Path, tmp_path: Path) -> None:
    four = tmp_path / "four"
    shutil.copytree(data, four)
    shutil.copytree(data / "red", four / "crimson")
    model = float_run / "latest"
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "run.json").write_text("{}")
    cases = {
        "no float model": (["qat", "--data", data], 5),
        "no images to train on": (["qat", model], 4),
        "the head is new": (["qat", model, "--data", four], 4),
        "9 bits of weights": (["qat", model, "--data", data, "--weights", 9], 5),
        "--distill 2": (["qat", model, "--data", data, "--distill", 2], 5),
        "is a directory": (["qat", tmp_path, "--data", data], 3),
        "has not finished an epoch": (["qat", unfinished, "--data", data], 3),
        "mnv2-export qat": (["train", data, "--recipe", "qat"], 5),
        "one of the recipe finetune": (["qat", "--resume", "--name", "finetune-1"], 5),
    }
    for said, (arguments, code) in cases.items():
        out = float_run if "--resume" in arguments else tmp_path / "runs"
        result = invoke(*arguments, *QUICK, "-o", out)
        assert (result.exit_code, said in result.output) == (code, True), (said, result.output)
        assert "Traceback" not in result.output
    assert not (tmp_path / "runs").exists()
