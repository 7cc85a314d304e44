"""Training: recipes by their sources, and a loop that survives kills, full disks and NaN."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import invoke
from training_data import SMALL, colors, recipe, settings

from exporter import demo
from exporter.checkpoints import load_checkpoint, save_checkpoint
from exporter.errors import (
    ArtifactError,
    MissingDependencyError,
    TrainingError,
    UnsupportedError,
)
from exporter.models import MobileNetV2
from exporter.spec import HeadLayer, ModelSpec, torchvision_preprocess
from exporter.training import curves, tensorboard
from exporter.training.candidates import FloatCandidate
from exporter.training.device import pick_device, pick_precision
from exporter.training.distributed import World
from exporter.training.ema import decay_at, measure_statistics
from exporter.training.events import Reported, Started, Trained, TrainingEvent, Validated
from exporter.training.float_learner import FloatLearner
from exporter.training.freeze import freeze
from exporter.training.loading import Batch
from exporter.training.optimizers import RMSpropTF, make_optimizer, parameter_groups
from exporter.training.recipes import (
    ADAMW,
    PAPER,
    SGD,
    Changes,
    OptimizerName,
    Recipe,
    RecipeName,
    explain,
    make_recipe,
)
from exporter.training.run_folder import RunFolder
from exporter.training.runs import Place, own_cores, train
from exporter.training.schedule import Plan
from exporter.training.settings import Arithmetic, Asked, Device, Settings, settle
from exporter.training.start import starting_point
from exporter.training.validation import evaluate
from exporter.ui.training import TrainingProgress

IMAGENET = 1_281_167
CPU = World(device=torch.device("cpu"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colors(tmp_path_factory.mktemp("colors") / "data")


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[TrainingEvent]]:
    """One uninterrupted run and everything that it said."""
    out = tmp_path_factory.mktemp("runs")
    events = list(train(settings(data), Place(out=out, name="whole")))
    return out / "whole", events


def rows(folder: Path, kind: str) -> list[dict]:
    return [row for row in RunFolder(folder).metrics() if row["kind"] == kind]


def losses(folder: Path) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in rows(folder, "train")]


# Recipes, optimizer, schedule


def test_rmsprop_is_tensorflows_on_steps_computed_by_hand() -> None:
    """s = .9 s + .1 g^2 from 1; m = .9 m + .1 g / sqrt(s + 1); w = w - m, for g = 0.5, then -2."""
    weight = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = RMSpropTF([weight], lr=0.1)
    # s: 0.9 + 0.1 * 0.25 = 0.925, then 0.9 * 0.925 + 0.1 * 4 = 1.2325
    # m: 0.05 / sqrt(1.925) = 0.0360374985, then 0.0324337486 - 0.2 / sqrt(2.2325) = -0.1014211476
    for gradient, expected in ((0.5, 0.9639625015), (-2.0, 1.0653836491)):
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        assert weight.item() == pytest.approx(expected, abs=1e-9)


def test_torchs_rmsprop_at_its_default_eps_is_another_optimizer() -> None:
    """Its first step is lr / sqrt(0.1) however small the gradient; TensorFlow's shrinks with it."""
    moved = {}
    for name in ("torch", "tensorflow"):
        weight = torch.nn.Parameter(torch.tensor([1.0]))
        if name == "torch":
            options = {"alpha": 0.9, "momentum": 0.9, "eps": 1e-8}
            optimizer: torch.optim.Optimizer = torch.optim.RMSprop([weight], lr=0.045, **options)
        else:
            optimizer = RMSpropTF([weight], lr=0.045)
        weight.grad = torch.tensor([1e-4])
        optimizer.step()
        moved[name] = 1.0 - weight.double().item()
    assert moved["torch"] == pytest.approx(0.045 / math.sqrt(0.1), rel=1e-3)
    assert moved["tensorflow"] < 1e-5


def test_the_learning_rate_may_change_between_steps() -> None:
    """It scales what enters the momentum, not what is in it, as in TensorFlow."""
    weight = torch.nn.Parameter(torch.tensor([0.0], dtype=torch.float64))
    optimizer = RMSpropTF([weight], lr=1.0)
    weight.grad = torch.tensor([1.0], dtype=torch.float64)
    optimizer.step()
    first = weight.item()
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step()
    assert weight.item() - first == pytest.approx(0.9 * first)


def test_the_paper_recipe_is_the_published_one() -> None:
    assert (PAPER.lr, PAPER.batch, PAPER.decay_factor, PAPER.decay_epochs) == (0.045, 96, 0.98, 2.5)
    assert (PAPER.momentum, PAPER.square_decay, PAPER.eps) == (0.9, 0.9, 1.0)
    assert (PAPER.weight_decay, PAPER.label_smoothing, PAPER.ema) == (4e-5, 0.1, 0.9999)
    assert round(Plan(recipe=PAPER, images=IMAGENET, workers=8).steps, -4) == 700_000


@pytest.mark.parametrize("workers", [1, 8])
def test_the_rate_falls_every_two_and_a_half_passes_over_the_data(workers: int) -> None:
    """2.5 / N epochs of one worker's steps, in which N workers see N times as much."""
    plan = Plan(recipe=PAPER, images=IMAGENET, workers=workers)
    assert plan.lr(0) == pytest.approx(0.045 * workers)
    assert plan.decay_steps == int(IMAGENET / 96 * 2.5 / workers)
    assert plan.lr(plan.decay_steps - 1) == plan.lr(0)
    assert plan.lr(plan.decay_steps) == pytest.approx(0.98 * plan.lr(0))


def test_finetune_warms_up_and_falls_to_zero() -> None:
    plan = Plan(recipe=ADAMW, images=3200, workers=2)
    rates = [plan.lr(step) for step in range(plan.steps)]
    top = rates.index(max(rates))
    assert abs(top - plan.steps_per_epoch) <= 1
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert max(rates) == pytest.approx(ADAMW.lr)
    assert rates[-1] < 1e-3 * ADAMW.lr


@pytest.mark.parametrize("how", [PAPER, ADAMW, SGD], ids=lambda r: r.optimizer)
def test_every_value_has_a_source(how) -> None:
    lines = explain(how)
    names = [field.name for field in dataclasses.fields(how) if field.name != "name"]
    assert [line.name for line in lines] == names
    assert all(line.source and line.value for line in lines)
    assert not any("command line" in line.source for line in lines)


@pytest.mark.parametrize("how", [PAPER, ADAMW, SGD], ids=lambda r: r.optimizer)
def test_what_is_explained_is_what_the_optimizer_has(how: Recipe) -> None:
    """Nothing that it uses is called "not part of this recipe", and nothing is left out."""
    group = make_optimizer(small_model(), how).param_groups[0]
    shown = {line.name: line for line in explain(how)}
    has = {name: group[name] for name in ("lr", "weight_decay", "momentum", "eps") if name in group}
    if "betas" in group:
        has |= {"momentum": group["betas"][0], "square_decay": group["betas"][1]}
    elif "square_decay" in group:
        has["square_decay"] = group["square_decay"]
    for name, value in {**has, "flip": how.flip}.items():
        assert shown[name].value == f"{value:g}", name
        assert "not part" not in shown[name].source, name
    assert group.get("nesterov", False) == ("Nesterov" in shown["optimizer"].source and how == SGD)


def test_explain_prints_them_and_what_was_changed() -> None:
    shown = invoke("train", "--recipe", "paper", "--explain", "--lr", "0.01")
    text = " ".join(shown.stdout.split())
    assert shown.exit_code == 0
    for expected in ("inside the", "Sandler et al. 2018", "asynchronously", "the command line"):
        assert expected in text
    document = json.loads(invoke("train", "--explain", "--json").stdout)
    assert {line["name"]: line["value"] for line in document["settings"]}["optimizer"] == "adamw"


def test_recipes_refuse_what_they_are_not() -> None:
    with pytest.raises(UnsupportedError, match="no adamw"):
        make_recipe(RecipeName.PAPER, Changes(optimizer=OptimizerName.ADAMW))
    with pytest.raises(UnsupportedError, match="no rmsprop"):
        make_recipe(RecipeName.FINETUNE, Changes(optimizer=OptimizerName.RMSPROP))
    with pytest.raises(UnsupportedError, match="not positive"):
        make_recipe(RecipeName.FINETUNE, Changes(lr=0.0))
    with pytest.raises(UnsupportedError, match="19 blocks"):
        make_recipe(RecipeName.FINETUNE, Changes(freeze=20))
    chosen = make_recipe(RecipeName.FINETUNE, Changes(optimizer=OptimizerName.SGD))
    assert chosen == SGD


def test_depthwise_kernels_decay_only_where_the_recipe_says() -> None:
    model = small_model()
    sizes = [sum(p.numel() for p in g["params"]) for g in parameter_groups(model, PAPER)]
    depthwise = sum(
        m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Conv2d) and m.groups > 1
    )
    assert sum(sizes) == sum(p.numel() for p in model.parameters())
    assert sum(p.numel() for p in parameter_groups(model, ADAMW)[0]["params"]) - sizes[0] == (
        depthwise
    )


# Learner


def small_model(classes: int = 3, labels: tuple[str, ...] = ()) -> MobileNetV2:
    torch.manual_seed(0)
    return MobileNetV2(small_spec(classes, labels))


def small_spec(classes: int = 3, labels: tuple[str, ...] = ()) -> ModelSpec:
    head = (HeadLayer(units=classes),)
    contract = torchvision_preprocess(32)
    return ModelSpec(width=0.35, resolution=32, head=head, labels=labels, preprocess=contract)


def random_batch(count: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return Batch(images=images, labels=torch.arange(count) % 3, indices=torch.arange(count))


def learner(how=None, accumulate: int = 1, precision: Arithmetic = Arithmetic.FP32) -> FloatLearner:
    plan = Plan(recipe=how or recipe(), images=80)
    made = FloatLearner(small_model(), plan, CPU, precision, accumulate)
    made.begin(0)
    return made


def test_frozen_blocks_keep_weights_and_statistics() -> None:
    made = learner(recipe(freeze=4))
    before = {k: v.clone() for k, v in made.model.state_dict().items()}
    made.update(random_batch(), 0, 0)
    changed = {k for k, v in made.model.state_dict().items() if not torch.equal(v, before[k])}
    assert not [k for k in changed if int(k.split(".")[1]) < 4 and k.startswith("features")]
    assert any(k.startswith("features.4.") and k.endswith("running_mean") for k in changed)
    made.candidate([random_batch()])
    state = made.average.state_dict()
    assert torch.equal(state["features.0.1.running_mean"], before["features.0.1.running_mean"])


def test_the_head_is_trained_alone_first_and_then_all() -> None:
    made = learner(recipe(head_epochs=1))
    made.update(random_batch(), 0, 0)
    assert all(p.grad is None for p in made.model.features.parameters())
    made.begin(1)
    made.update(random_batch(), 1, 0)
    assert all(p.grad is not None for p in made.model.parameters())


def test_parts_of_a_batch_add_up_to_it() -> None:
    """Where batch norm is frozen; elsewhere each part has statistics of its own."""
    gradients = []
    for accumulate in (1, 3):
        made = learner(recipe(head_epochs=1), accumulate)
        made.model.classifier[0].p = 0.0
        made.update(random_batch(), 0, 0)
        gradients.append(made.model.classifier[1].weight.grad.clone())
    assert torch.allclose(*gradients, atol=1e-6)


def test_bf16_learns_and_keeps_float32_weights() -> None:
    made = learner(precision=Arithmetic.BF16)
    found = [made.update(random_batch(), step, 0).item() for step in range(6)]
    assert found[-1] < found[0]
    assert all(p.dtype is torch.float32 for p in made.model.parameters())


def test_dropout_depends_on_the_step_alone() -> None:
    first, second = learner(), learner()
    torch.manual_seed(99)
    assert torch.equal(first.update(random_batch(), 3, 0), second.update(random_batch(), 3, 0))


def test_devices_that_are_not_there() -> None:
    cpu = torch.device("cpu")
    with pytest.raises(UnsupportedError, match="fp16 needs a GPU"):
        pick_precision(Arithmetic.FP16, cpu)
    assert pick_precision(Arithmetic.AUTO, cpu) is Arithmetic.FP32
    if not torch.cuda.is_available():
        with pytest.raises(UnsupportedError, match="--device cuda"):
            pick_device(Device.CUDA)


def test_the_averages_statistics_are_measured() -> None:
    model = small_model()
    inputs = [torch.randn(8, 3, 32, 32) for _ in range(3)]
    measure_statistics(model, inputs, CPU)
    conv, norm = model.features[0][0], model.features[0][1]
    with torch.no_grad():
        means = torch.stack([conv(x).mean((0, 2, 3)) for x in inputs]).mean(0)
    assert torch.allclose(norm.running_mean, means, atol=1e-5)
    assert norm.momentum == 0.1
    assert not model.training
    assert decay_at(0.9999, 0) == pytest.approx(0.1)
    assert decay_at(0.9999, 10**7) == 0.9999


def test_evaluation_counts() -> None:
    model = small_model().eval()
    batch = random_batch(10)
    tally = evaluate(FloatCandidate(model, CPU.device, Arithmetic.FP32), 3, [batch], CPU)
    assert tally.images == 10
    assert tally.accuracy.top5 == 1.0  # of three classes
    assert tally.confusion.sum(1).tolist() == [4, 3, 3]
    assert tally.accuracy.top1 == tally.confusion.diagonal().sum().item() / 10


# Starting points


def test_a_checkpoint_gives_its_weights_and_a_new_head(tmp_path: Path) -> None:
    path = tmp_path / "five.safetensors"
    old = small_model(5)
    save_checkpoint(path, old.spec, old.state_dict())
    start = starting_point(Settings(data=tmp_path, init=path), ("a", "b", "c"))
    assert start.model.spec.labels == ("a", "b", "c")
    assert start.model.spec.resolution == 32
    assert "5 classes, the data has 3" in start.notes[0]
    assert torch.equal(start.model.features[0][0].weight, old.features[0][0].weight)
    assert start.model.classifier[1].weight.shape == (3, 1280)
    with pytest.raises(UnsupportedError, match=r"has width 0\.35"):
        starting_point(Settings(data=tmp_path, init=path, width=1.0), ("a", "b", "c"))


def test_classes_in_another_order_keep_the_head(tmp_path: Path) -> None:
    path = tmp_path / "abc.safetensors"
    old = small_model(3, ("c", "a", "b"))
    save_checkpoint(path, old.spec, old.state_dict())
    start = starting_point(Settings(data=tmp_path, init=path), ("a", "b", "c"))
    assert torch.equal(start.model.classifier[1].weight, old.classifier[1].weight[[1, 2, 0]])
    same = starting_point(Settings(data=tmp_path, init=path), ("c", "a", "b"))
    assert "is kept" in same.notes[0]
    other = starting_point(Settings(data=tmp_path, init=path), ("x", "y", "z"))
    assert "other names" in other.notes[0]


# Whole runs


def test_a_run_tells_its_story(run: tuple[Path, list[TrainingEvent]]) -> None:
    folder, events = run
    started = next(e for e in events if isinstance(e, Started))
    assert (started.classes, started.steps, started.step) == (3, 8, 0)
    assert started.train_images + started.val_images == 36
    assert [e.step for e in events if isinstance(e, Reported)] == list(range(1, 9))
    assert [e.epoch for e in events if isinstance(e, Validated)] == [1, 2]
    (trained,) = (e for e in events if isinstance(e, Trained))
    assert trained.images == started.val_images
    best = [row for row in rows(folder, "val") if row["best"]][-1]
    assert (trained.score.top1, trained.best_epoch) == (best["top1"], best["epoch"])
    assert [row["loss"] for row in rows(folder, "train")] == [
        e.loss for e in events if isinstance(e, Reported)
    ]


def test_a_run_leaves_its_files_and_nothing_else(run: tuple[Path, list]) -> None:
    folder, _ = run
    checkpoint = folder.parent / "latest" / "best.safetensors"
    assert load_checkpoint(checkpoint).spec.labels == ("blue", "green", "red")
    names = {path.name for path in folder.iterdir()}
    expected = {"run.json", "state.pt", "best.safetensors", "last.safetensors", "metrics.jsonl"}
    pictures = {"curve.png", "confusion.png"} if curves.available() else set()
    assert names == expected | pictures


def test_a_new_head_for_the_demo_is_trained_and_built(data: Path, tmp_path: Path) -> None:
    """From --init to an artifact with a proof, in two commands."""
    options = ["--init", demo.CHECKPOINT, "--resolution", "32", "--batch", "8", "--workers", "0"]
    out = tmp_path / "runs"
    done = invoke("train", data, *options, "--epochs", "1", "--head-epochs", "1", "--out", out)
    assert done.exit_code == 0, done.output
    assert "the head is new: the checkpoint's was for 24 classes" in done.stderr
    assert "mnv2-export build" in done.stdout
    checkpoint = out / "latest" / "best.safetensors"
    old, new = load_checkpoint(demo.CHECKPOINT).state_dict, load_checkpoint(checkpoint).state_dict
    assert all(torch.equal(old[k], new[k]) for k in old if k.startswith("features."))
    built = invoke("build", checkpoint, "-t", "onnx", "-p", "fp32", "--out", tmp_path / "b")
    assert built.exit_code == 0, built.output


def test_the_same_seed_gives_the_same_bytes(run: tuple[Path, list], data: Path, tmp_path) -> None:
    folder, _ = run
    list(train(settings(data), Place(out=tmp_path, name="again")))
    for name in ("best.safetensors", "last.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "exporter", "train", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def wait_for(found: Iterator[bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not next(found):
        assert process.poll() is None, "it ended before it was stopped"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_killed_run_goes_on_as_if_it_had_not_been(data: Path, tmp_path: Path) -> None:
    """SIGKILL in mid-epoch, then --resume: every loss and the weights are those of one run."""
    options = [data, *SMALL, "--epochs", 4, "--save-every", 3, "--out", tmp_path]
    state = tmp_path / "killed" / "state.pt"
    with subprocess.Popen(
        command(*options, "--name", "killed", "-q"), env=environment()
    ) as process:
        wait_for(iter(state.exists, None), process)
        process.kill()
    saved = RunFolder(tmp_path / "killed").load_state()["position"]
    assert 0 < saved["batch"] < 4
    assert saved["step"] < 16
    (tmp_path / "killed" / ".state.pt.x1").mkdir(exist_ok=True)  # as a kill while saving leaves
    resumed = invoke("train", *options, "--name", "killed", "--resume", "-q")
    assert resumed.exit_code == 0, resumed.output
    assert invoke("train", *options, "--name", "whole", "-q").exit_code == 0
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    assert sorted(p.name for p in killed.iterdir()) == sorted(p.name for p in whole.iterdir())
    assert [step for step, _ in losses(killed)] == [step for step, _ in losses(whole)]
    for (_, a), (_, b) in zip(losses(killed), losses(whole), strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    a, b = (load_checkpoint(folder / "last.safetensors").state_dict for folder in (killed, whole))
    assert all(torch.allclose(a[name], b[name], rtol=1e-3, atol=1e-4) for name in a)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_run_goes_on(
    run: tuple[Path, list], data: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """In the middle of the first epoch, with a loss that no report has shown yet."""
    asked = settings(data, report_every=2)
    place = Place(out=tmp_path, name="stopped")
    events = []
    for event in train(asked, place):
        events.append(event)
        if isinstance(event, Reported) and event.step == 2:
            os.kill(os.getpid(), number)
    assert isinstance(events[-1], Trained)
    assert (events[-1].signal, events[-1].step, events[-1].score) == (number, 2, None)
    list(train(asked, dataclasses.replace(place, resume=True)))
    folder, _ = run
    name = "last.safetensors"
    assert (tmp_path / "stopped" / name).read_bytes() == (folder / name).read_bytes()
    pairs = [(a + b) / 2 for (_, a), (_, b) in zip(*[iter(losses(folder))] * 2, strict=True)]
    assert [loss for _, loss in losses(tmp_path / "stopped")] == pytest.approx(pairs)


def test_a_stopped_run_has_the_signals_exit_code(data: Path, tmp_path, monkeypatch) -> None:
    shown = TrainingProgress.show

    def show(self: TrainingProgress, event: TrainingEvent) -> None:
        shown(self, event)
        if isinstance(event, Validated):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(TrainingProgress, "show", show)
    stopped = invoke("train", data, *SMALL, "--out", tmp_path)
    assert stopped.exit_code == 128 + signal.SIGTERM, stopped.output
    assert "stopped after 4 updates" in stopped.stderr
    assert "--resume" in stopped.stderr
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
def test_ctrl_c_has_its_exit_code_and_says_how_to_go_on(data: Path, tmp_path: Path) -> None:
    """The whole process group gets it, as from a terminal: those that load images as well."""
    options = [data, *SMALL, "--epochs", 500, "--workers", 1, "--out", tmp_path]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(
        command(*options), env=environment(), start_new_session=True, **pipes
    ) as process:
        wait_for(iter((tmp_path / "finetune-1" / "metrics.jsonl").exists, None), process)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"--resume" in said
    assert b"Traceback" not in said
    assert RunFolder(tmp_path / "finetune-1").load_state() is not None


def test_nan_stops_the_run_and_keeps_the_last_good_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Plan.lr
    monkeypatch.setattr(Plan, "lr", lambda self, step: real(self, step) if step < 5 else math.inf)
    stopped = invoke("train", data, *SMALL, "--epochs", "3", "--out", tmp_path)
    assert stopped.exit_code == TrainingError.exit_code, stopped.output
    assert "no longer a finite number" in stopped.stderr
    assert "best.safetensors" in " ".join(stopped.stderr.split())
    folder = tmp_path / "finetune-1"
    assert load_checkpoint(folder / "best.safetensors").spec.classes == 3
    state = RunFolder(folder).load_state()
    assert state["position"]["epoch"] == 1
    assert all(v.isfinite().all() for v in state["model"].values())
    assert all(math.isfinite(row["loss"]) for row in RunFolder(folder).metrics())


def test_a_full_disk_is_one_line_and_keeps_what_was_saved(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, full = Path.write_bytes, []

    def write_bytes(path: Path, content: bytes) -> int:
        if path.name == "state.pt" and not full:
            full.append(path)  # the first epoch still fits
        elif full:
            real(path, content[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    stopped = invoke("train", data, *SMALL, "--epochs", "3", "--out", tmp_path)
    assert stopped.exit_code == TrainingError.exit_code, stopped.output
    errors = [line for line in stopped.stderr.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert "No space left on device" in errors[0]
    folder = tmp_path / "finetune-1"
    assert RunFolder(folder).load_state()["position"]["epoch"] == 1
    assert load_checkpoint(folder / "best.safetensors")
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


def test_json_is_one_document(data: Path, tmp_path: Path) -> None:
    options = [*SMALL, "--epochs", "1", "--out", tmp_path, "--name", "mine", "--json"]
    done = invoke("train", data, *options)
    document = json.loads(done.stdout)
    assert document["run"]["best_epoch"] == 1
    assert document["run"]["folder"].endswith("mine")
    assert done.stderr == ""
    again = invoke("train", data, *options)
    assert (again.exit_code, json.loads(again.stdout)["exit_code"]) == (9, 9)
    assert "exists already" in again.stderr


def test_a_run_is_resumed_as_it_was(run: tuple[Path, list], data: Path) -> None:
    folder, _ = run
    place = ["--out", folder.parent, "--name", "whole", "--resume"]
    for option, value in (("--epochs", 9), ("--width", 0.5), ("--recipe", "paper"), ("--seed", 4)):
        refused = invoke("train", data, option, value, *place)
        assert refused.exit_code == 5, refused.output
        assert "the run to resume has" in refused.stderr
    nothing = invoke("train", data, "--resume", "--out", folder.parent / "none")
    assert (nothing.exit_code, "no run to resume" in nothing.stderr) == (9, True)
    began = RunFolder(folder).read_run()
    assert (began.settings, began.workers) == (settings(data), 1)
    assert settle(Asked(workers=0), began.settings) == began.settings


def test_computing_and_loading_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("exporter.training.runs.cores", lambda: 8)
    before = torch.get_num_threads()
    for workers, expected in ((0, 8), (3, 5), (8, 1), (20, 1)):
        with own_cores(settings(Path("data"), workers=workers)):
            assert torch.get_num_threads() == expected
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with own_cores(settings(Path("data"), workers=1)):
        assert torch.get_num_threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with own_cores(settings(Path("data"), workers=1)):
        assert torch.get_num_threads() == before


def test_a_run_goes_on_with_its_own_images_only(
    run: tuple[Path, list], data: Path, tmp_path: Path
) -> None:
    """Another class name, or an image more, would train the head on something else, silently."""
    folder, _ = run
    shutil.copytree(folder, tmp_path / "runs" / "moved")
    renamed, grown = tmp_path / "renamed", tmp_path / "grown"
    shutil.copytree(data, renamed)
    (renamed / "blue").rename(renamed / "azure")
    shutil.copytree(data, grown)
    for index in range(20):
        shutil.copy(grown / "red" / "00.png", grown / "red" / f"more{index}.png")
    for other in (renamed, grown):
        place = ["--out", tmp_path / "runs", "--name", "moved", "--resume"]
        refused = invoke("train", other, *place)
        assert refused.exit_code == 4, refused.output
        assert "not those that the run began with" in refused.stderr


def test_a_run_goes_on_without_the_checkpoint_that_it_began_with(
    data: Path, tmp_path: Path
) -> None:
    """`latest` is another run by then, and a file may be gone."""
    start = tmp_path / "start.safetensors"
    model = small_model()
    save_checkpoint(start, model.spec, model.state_dict())
    place = Place(out=tmp_path, name="cut")
    how = recipe(epochs=2)
    asked = settings(data, how, init=start, width=None, resolution=None, save_every=1)
    for event in train(asked, place):
        if isinstance(event, Validated):
            break
    start.unlink()
    resumed = list(train(asked, dataclasses.replace(place, resume=True)))
    assert next(e for e in resumed if isinstance(e, Trained)).epochs == 2


def test_a_damaged_state_is_named(run: tuple[Path, list], data: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / "state.pt").write_bytes(b"PK\x03\x04 not a state")
    with pytest.raises(ArtifactError, match=r"state\.pt: cannot be read"):
        folder.load_state()


BAD_INPUT = {
    "no data": ([], 4, "no images to train on"),
    "missing data": (["nowhere"], 4, "nowhere"),
    "one class": (["{one}"], 4, "one class"),
    "too few images": (["{data}", "--batch", "500"], 4, "fewer than one batch of 500"),
    "a single value": (["{data}", *SMALL, "--accumulate", "8"], 4, "a single value"),
    "tiny resolution": (["{data}", "--resolution", "16"], 5, "16 px"),
    "zero rate": (["{data}", "--lr", "0"], 5, "not positive"),
    "missing init": (["{data}", "--init", "nowhere.pth"], 3, "nowhere.pth"),
    "fp16 on a CPU": (["{data}", "--device", "cpu", "--precision", "fp16"], 5, "fp16 needs a GPU"),
    "head for longer": (["{data}", "--epochs", "2", "--head-epochs", "3"], 5, "--head-epochs 3"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gets_one_clear_error(case: str, data: Path, tmp_path: Path) -> None:
    """The documented exit code, a line that names the cause, and no run that never began."""
    arguments, code, message = BAD_INPUT[case]
    (tmp_path / "one").mkdir()
    shutil.copytree(data / "red", tmp_path / "one" / "red")
    filled = [a.format(one=tmp_path / "one", data=data) for a in arguments]
    refused = invoke("train", *filled, "--out", tmp_path / "runs")
    assert refused.exit_code == code, refused.output
    assert message in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.output
    assert not (tmp_path / "runs").exists()


def test_tensorboard_needs_its_package(data: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tensorboard.importlib.util, "find_spec", lambda _: None)
    refused = invoke("train", data, *SMALL, "--tensorboard", "--out", tmp_path / "runs")
    assert refused.exit_code == MissingDependencyError.exit_code
    assert "[tensorboard]" in refused.stderr
    assert not (tmp_path / "runs").exists()


def test_tensorboard_gets_what_the_metrics_get(run: tuple[Path, list], monkeypatch) -> None:
    written: list[tuple[str, float, int]] = []

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            written.append((folder, 0.0, 0))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def close(self) -> None:
            written.append(("closed", 0.0, 0))

    module = types.SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    _, events = run
    assert list(tensorboard.mirrored(iter(events), Path("board"))) == events
    names = [name for name, _, _ in written]
    assert names[0] == "board"
    assert names[-1] == "closed"
    assert names.count("train/loss") == 8
    assert names.count("val/top1") == 2


def test_a_picture_that_finds_no_room_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "folder").write_bytes(b"")
    with pytest.raises(TrainingError, match=r"curve\.png: cannot be written"):
        curves.draw_confusion(tmp_path / "folder" / "curve.png", np.eye(2, dtype=int), ("a", "b"))


def test_pictures_are_left_out_without_matplotlib(data: Path, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(curves, "available", lambda: False)
    events = list(train(settings(data, recipe(epochs=1)), Place(out=tmp_path, name="plain")))
    assert any("[plots]" in getattr(e, "text", "") for e in events)
    assert not (tmp_path / "plain" / "curve.png").exists()


class Terminal:
    """A stream that says it is one."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


def test_the_bar_shows_loss_rate_speed_and_time_left(run, monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "140")
    _, events = run
    stream = Terminal()
    with TrainingProgress(stream, quiet=False) as progress:
        for event in events:
            progress.show(event)
    for expected in ("epoch 2/2", "loss ", "lr ", "images/s", "left", "best so far", "8/8"):
        assert expected in stream.text, expected


def test_freezing_is_undone() -> None:
    model = small_model()
    freeze(model, 19)
    assert all(p.requires_grad for p in model.classifier.parameters())
    assert not any(p.requires_grad for p in model.features.parameters())
    freeze(model, 0)
    assert all(p.requires_grad for p in model.parameters())
