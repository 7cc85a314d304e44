"""Detectors and segmenters are trained by the engine that trains classifiers."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import invoke
from shape_data import COLORS, SMALL, boxes, masks
from training_data import colors

from exporter import demo, golden
from exporter.checkpoints import TrainedIntegers, build_network, load_checkpoint, save_checkpoint
from exporter.ends import with_ends
from exporter.errors import DataError, UnsupportedError
from exporter.fold import fold_core
from exporter.graph import QuantizedGraph
from exporter.manifest import Calibration, quantization_from_json
from exporter.models import MobileNetV2, Network, make_network
from exporter.outputs import Ends, default_outputs
from exporter.published import default_spec
from exporter.quantize import quantize
from exporter.quantize.settings import Bits
from exporter.quantizing import require_same_structure
from exporter.spec import ModelSpec, PaddingStyle, ResizeRule, torchvision_preprocess
from exporter.tasks import SegmentationSpec, Task
from exporter.training import curves, tensorboard
from exporter.training.augment import NOTHING
from exporter.training.candidates import FloatCandidate, IntegerResults
from exporter.training.detection_objective import DetectionObjective
from exporter.training.distributed import World
from exporter.training.events import (
    Reported,
    Settled,
    Started,
    Trained,
    TrainingEvent,
    Validated,
    flat,
)
from exporter.training.float_learner import FloatLearner
from exporter.training.loading import Batch, to_input, train_batches, val_batches
from exporter.training.nearness import by_name
from exporter.training.optimizers import make_optimizer
from exporter.training.qat import qat
from exporter.training.qat_learner import QatLearner
from exporter.training.recipe import Balance, OptimizerName, Recipe, RecipeName
from exporter.training.recipes import Changes, explain, make_recipe
from exporter.training.run_folder import RunFolder
from exporter.training.runs import Place, find_splits, smallest_map, train
from exporter.training.schedule import Plan
from exporter.training.settings import Arithmetic, Asked, Settings, settle
from exporter.training.start import class_layers, expect_little, starting_point
from exporter.training.targets import ObjectTargets
from exporter.training.views import View, view_of
from exporter.ui.training import TrainingProgress
from exporter.verdicts import (
    BY_LABELS,
    SCORES,
    Accuracy,
    MeanAP,
    MeanIoU,
    Metric,
    Quality,
    Quantization,
    QuantizationStage,
)

CPU = World(device=torch.device("cpu"))
TASKS = (Task.DETECTION, Task.SEGMENTATION)
# The default tests prove each thing on one of them where the other takes the same way.
DETECTION_FIRST = (Task.DETECTION, pytest.param(Task.SEGMENTATION, marks=pytest.mark.slow))
SEGMENTATION_FIRST = (Task.SEGMENTATION, pytest.param(Task.DETECTION, marks=pytest.mark.slow))
SIDES = {Task.DETECTION: 64, Task.SEGMENTATION: 65}
FIGURES = {Task.DETECTION: {"map50", "map"}, Task.SEGMENTATION: {"miou", "pixels"}}
LABELS = ("background", *COLORS)
Data = dict[Task, Path]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    root = tmp_path_factory.mktemp("shapes")
    return {
        Task.DETECTION: boxes(root / "boxes", train=9, val=3),
        Task.SEGMENTATION: masks(root / "masks", train=9, val=3),
    }


def recipe(task: Task, **changes: object) -> Recipe:
    """Fine-tuning of a few small batches."""
    base = make_recipe(RecipeName.FINETUNE, Changes(batch=4, epochs=2), task)
    return dataclasses.replace(base, **changes)


def settings(data: Data, task: Task, how: Recipe | None = None, **changes: object) -> Settings:
    small = {"width": 0.35, "resolution": SIDES[task], "workers": 0, "report_every": 1}
    return Settings(data=data[task], task=task, recipe=how or recipe(task), **{**small, **changes})


Run = tuple[Path, list[TrainingEvent]]


@pytest.fixture(scope="module")
def runs(data: Data, tmp_path_factory: pytest.TempPathFactory) -> dict[Task, Run]:
    """One uninterrupted run of each and everything that it said."""
    out = tmp_path_factory.mktemp("runs")
    return {
        task: (
            out / task.value,
            list(train(settings(data, task), Place(out=out, name=task.value))),
        )
        for task in TASKS
    }


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without pictures of their curves, which take longer than an epoch here."""
    monkeypatch.setattr(curves, "available", lambda: False)


def rows(folder: Path, kind: str) -> list[dict]:
    return [row for row in RunFolder(folder).metrics() if row["kind"] == kind]


# A run


@pytest.mark.parametrize("task", TASKS)
def test_a_run_speaks_in_the_tasks_own_figures(runs: dict[Task, Run], task: Task) -> None:
    folder, events = runs[task]
    started = next(e for e in events if isinstance(e, Started))
    assert (started.task, started.classes, started.steps) == (task, 3, 4)
    assert (started.train_images, started.val_images) == (9, 3)
    (trained,) = (e for e in events if isinstance(e, Trained))
    best = [row for row in rows(folder, "val") if row["best"]][-1]
    for row in rows(folder, "val"):
        assert FIGURES[task] <= row.keys()
        assert not {"top1", "top5", "score", "task"} & row.keys()
        assert all(0 <= row[name] <= 1 for name in FIGURES[task])
    assert {name: flat(trained)[name] for name in FIGURES[task]} == {
        name: best[name] for name in FIGURES[task]
    }
    assert (trained.loss, trained.images) == (pytest.approx(best["loss"], rel=1e-5), 3)


@pytest.mark.parametrize("task", TASKS)
def test_a_run_leaves_a_network_that_knows_what_it_is(runs: dict[Task, Run], task: Task) -> None:
    folder, _ = runs[task]
    found = load_checkpoint(folder)
    expected = default_spec(task, width=0.35, resolution=SIDES[task], classes=4)
    assert found.spec == dataclasses.replace(expected, labels=LABELS)
    network = build_network(found)
    with torch.no_grad():
        results = network(torch.zeros(1, 3, SIDES[task], SIDES[task]))
    shape = results.class_logits.shape if task is Task.DETECTION else results.shape
    assert 4 in shape


@pytest.mark.parametrize("task", TASKS)
def test_pictures_are_of_what_the_task_has(runs: dict[Task, Run], task: Task) -> None:
    """A detector has no confusion matrix."""
    folder, _ = runs[task]
    names = {path.name for path in folder.iterdir()}
    expected = {"run.json", "state.pt", "best.safetensors", "last.safetensors", "metrics.jsonl"}
    if curves.available():
        expected |= {"curve.png"} | ({"confusion.png"} if task is Task.SEGMENTATION else set())
    assert names == expected


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("task", SEGMENTATION_FIRST)
def test_a_stopped_run_goes_on_to_the_same_bytes(
    runs: dict[Task, Run], data: Data, tmp_path: Path, task: Task
) -> None:
    """Stopped in the middle of an epoch; order, views, matched anchors and dropout are the same."""
    place = Place(out=tmp_path, name="stopped")
    for event in train(settings(data, task), place):
        if isinstance(event, Reported) and event.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
    list(train(settings(data, task), dataclasses.replace(place, resume=True)))
    folder, _ = runs[task]
    for name in ("best.safetensors", "last.safetensors"):
        assert (tmp_path / "stopped" / name).read_bytes() == (folder / name).read_bytes()
    assert [row["loss"] for row in rows(tmp_path / "stopped", "train")] == [
        row["loss"] for row in rows(folder, "train")
    ]


def test_the_display_has_no_top1_for_a_detector(runs: dict[Task, Run]) -> None:
    class Stream:
        text = ""

        def write(self, text: str) -> None:
            self.text += text

        def flush(self) -> None: ...

        def isatty(self) -> bool:
            return False

    for task, expected in ((Task.DETECTION, "mAP50"), (Task.SEGMENTATION, "mIoU")):
        stream = Stream()
        with TrainingProgress(stream, quiet=False) as progress:  # type: ignore[arg-type]
            for event in runs[task][1]:
                progress.show(event)
        assert f"recipe finetune of {task}" in stream.text
        assert expected in stream.text
        assert "top-1" not in stream.text


def test_tensorboard_gets_the_tasks_figures(runs: dict[Task, Run], monkeypatch) -> None:
    written: list[str] = []

    class SummaryWriter:
        def __init__(self, folder: str) -> None: ...

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append(name)

        def close(self) -> None: ...

    module = type("module", (), {"SummaryWriter": SummaryWriter})
    monkeypatch.setattr(tensorboard.importlib, "import_module", lambda _: module)
    list(tensorboard.mirrored(iter(runs[Task.DETECTION][1]), Path("board")))
    assert {n for n in written if n.startswith("val/")} == {"val/loss", "val/map50", "val/map"}


def test_nothing_is_wrong_with_healthy_runs(runs: dict[Task, Run]) -> None:
    """The health guard knows these networks."""
    for _, events in runs.values():
        assert not [e for e in events if getattr(e, "text", "").startswith("H")]


@pytest.fixture
def without_pycocotools(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pycocotools" else find(name)
    )


@pytest.mark.usefixtures("without_pycocotools")
def test_a_detector_is_compared_by_what_can_be_measured(data: Data) -> None:
    spec = default_spec(Task.DETECTION, width=0.35, resolution=64, classes=len(LABELS))
    objective = DetectionObjective(spec, recipe(Task.DETECTION), CPU)
    assert "mnv2-export[coco]" in objective.notes[0]
    model = FloatCandidate(make_network(spec), CPU.device, Arithmetic.FP32)
    tally = objective.evaluate(model, val_batches(views(data, Task.DETECTION), 9))
    assert tally.score is None
    assert objective.rank(tally) == (-tally.loss,)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn", "without_pycocotools")
def test_without_pycocotools_the_loss_is_compared(data: Data, tmp_path: Path) -> None:
    events = list(train(settings(data, Task.DETECTION), Place(out=tmp_path, name="plain")))
    assert any("mnv2-export[coco]" in getattr(e, "text", "") for e in events)
    validated = [e for e in events if isinstance(e, Validated)]
    assert all(e.score is None for e in validated)
    best = min(validated, key=lambda e: e.loss)
    (trained,) = (e for e in events if isinstance(e, Trained))
    assert (trained.best_epoch, trained.score) == (best.epoch, None)
    assert [row["map"] for row in rows(tmp_path / "plain", "val")] == [None, None]


# What is learned


def overfitted(data: Data, task: Task, how: Recipe, steps: int) -> Iterator[tuple[float, float]]:
    """Loss and the first figure on the pictures that are trained on, before and after."""
    asked = settings(data, task, how, init=demo.CHECKPOINT, width=None)
    splits = find_splits(asked)
    start = starting_point(asked, splits.train.labels)
    plan = Plan(recipe=how, images=len(splits.train))
    learner = FloatLearner(start.model, plan, CPU, Arithmetic.FP32, 1)
    plain = list(val_batches(view_of(splits.train, learner.spec, NOTHING), how.batch))
    learner.begin(0)
    for step in range(steps + 1):
        if step in (0, steps):
            tally = learner.evaluate(learner.candidate(plain), plain)
            yield tally.loss, learner.rank(tally)[0]
            learner.begin(0)
        learner.update(plain[step % len(plain)], step, 0)


@pytest.mark.parametrize("task", DETECTION_FIRST)
def test_a_few_pictures_are_learned(data: Data, task: Task) -> None:
    """From a classifier's backbone, without augmentation: mAP and mIoU rise clearly."""
    how = recipe(task, lr=5e-3, batch=9, epochs=24, ema=0.9, warmup_epochs=0.0)
    (loss, score), (later, better) = overfitted(data, task, how, 24)
    assert later < loss / 2
    assert score < 0.25
    assert better > {Task.DETECTION: 0.4, Task.SEGMENTATION: 0.5}[task]


@pytest.mark.slow
def test_the_focal_loss_of_a_detector_falls(data: Data) -> None:
    how = recipe(Task.DETECTION, lr=5e-3, batch=9, epochs=6, ema=0.9, loss=Balance.FOCAL)
    (loss, _), (later, _) = overfitted(data, Task.DETECTION, how, 6)
    assert later < 0.8 * loss


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "epochs", "least"), [(Task.DETECTION, 30, 0.4), (Task.SEGMENTATION, 14, 0.55)]
)
def test_unseen_pictures_are_learned_with_the_recipe_as_it_is(
    tmp_path: Path, task: Task, epochs: int, least: float
) -> None:
    """Of a few hundred updates, with boxes a detector learns at half the pace."""
    make = {Task.DETECTION: boxes, Task.SEGMENTATION: masks}[task]
    path = make(tmp_path / "data", train=120, val=24)
    options = ["--init", demo.CHECKPOINT, "--resolution", SIDES[task] + 32, "--batch", 8]
    place = ["--epochs", epochs, "--workers", 0, "--out", tmp_path / "runs", "--json"]
    done = invoke("train", path, "--task", task, *options, *place)
    assert done.exit_code == 0, done.output
    run = json.loads(done.stdout)["run"]
    assert run["map50" if task is Task.DETECTION else "miou"] > least


# Batches


def views(data: Data, task: Task) -> View:
    asked = settings(data, task)
    spec = default_spec(task, width=0.35, resolution=SIDES[task], classes=len(LABELS))
    return view_of(find_splits(asked).train, spec, NOTHING)


def equal(a: Batch, b: Batch) -> bool:
    same = torch.equal(a.images, b.images) and torch.equal(a.indices, b.indices)
    if isinstance(a.labels, torch.Tensor):
        assert isinstance(b.labels, torch.Tensor)
        return same and torch.equal(a.labels, b.labels)
    assert isinstance(b.labels, ObjectTargets)
    return (
        same
        and torch.equal(a.labels.classes, b.labels.classes)
        and torch.equal(a.labels.offsets, b.labels.offsets)
        and all(
            np.array_equal(one.boxes, other.boxes) and np.array_equal(one.classes, other.classes)
            for one, other in zip(a.labels.objects, b.labels.objects, strict=True)
        )
    )


@pytest.mark.parametrize("task", DETECTION_FIRST)
def test_batches_do_not_depend_on_workers(data: Data, task: Task) -> None:
    view = views(data, task)
    here, there = (list(train_batches(view, 4, epoch=1, seed=3, workers=n)) for n in (0, 1))
    assert len(here) == len(there) == 2
    assert all(equal(a, b) for a, b in zip(here, there, strict=True))
    later = list(train_batches(view, 4, epoch=1, seed=3, skip=1))
    assert equal(later[0], here[1])
    assert not equal(next(iter(train_batches(view, 4, epoch=2, seed=3))), here[0])


def test_a_detectors_targets_are_divided_as_its_images(data: Data) -> None:
    (batch,) = val_batches(views(data, Task.DETECTION), 9)
    targets = batch.labels
    assert isinstance(targets, ObjectTargets)
    assert targets.classes.shape == targets.offsets.shape[:2]
    assert [len(objects.boxes) for objects in targets.objects] == [2] * 9
    parts = targets.chunk(4)
    assert [len(part) for part in parts] == [len(part) for part in batch.images.chunk(4)]
    assert torch.equal(torch.cat([part.classes for part in parts]), targets.classes)
    assert [o for part in parts for o in part.objects] == list(targets.objects)


@pytest.mark.parametrize("task", TASKS)
def test_the_loss_of_a_split_does_not_depend_on_its_batches(data: Data, task: Task) -> None:
    asked = settings(data, task)
    start = starting_point(asked, LABELS)
    plan = Plan(recipe=recipe(task), images=9)
    learner = FloatLearner(start.model, plan, CPU, Arithmetic.FP32, 1)
    candidate = learner.candidate(train_batches(views(data, task), 4, epoch=0, seed=0))
    found = [learner.evaluate(candidate, val_batches(views(data, task), n)) for n in (2, 9)]
    assert found[0].loss == pytest.approx(found[1].loss, rel=1e-5)
    assert found[0].score == found[1].score
    assert found[0].images == found[1].images == 9


# Starting points


def classifier(path: Path, **changes: object) -> MobileNetV2:
    """One in a file, with statistics that tell it from a new one."""
    torch.manual_seed(1)
    spec = ModelSpec(width=0.35, resolution=96, preprocess=torchvision_preprocess(96), **changes)
    model = MobileNetV2(spec)
    save_checkpoint(path, spec, model.state_dict())
    return model


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("padding", "bn_eps"), [(PaddingStyle.TORCH, 1e-5), (PaddingStyle.SAME, 1e-3)]
)
def test_a_backbone_stays_the_function_that_it_was(
    data: Data, tmp_path: Path, task: Task, padding: PaddingStyle, bn_eps: float
) -> None:
    """Weights, batch norm's epsilon, padding and the values of pixels; pictures are stretched."""
    path = tmp_path / "classifier.safetensors"
    old = classifier(path, padding=padding, bn_eps=bn_eps).eval()
    start = starting_point(settings(data, task, init=path, width=None), LABELS)
    spec = start.model.spec
    assert (spec.padding, spec.bn_eps, spec.width, spec.labels) == (padding, bn_eps, 0.35, LABELS)
    assert spec.preprocess.mean == old.spec.preprocess.mean
    assert spec.preprocess.resize_rule is ResizeRule.STRETCH
    assert spec.preprocess.resize_size == spec.resolution == SIDES[task]
    assert "the heads are new" in start.notes[0]
    x = torch.randn(1, 3, SIDES[task], SIDES[task])
    upto = 14  # dilation changes what follows in a segmenter
    with torch.no_grad():
        assert torch.equal(start.model.eval().features[:upto](x), old.features[:upto](x))


@pytest.mark.parametrize("task", DETECTION_FIRST)
def test_an_own_checkpoint_goes_on_with_its_heads(
    runs: dict[Task, Run], data: Data, task: Task
) -> None:
    folder, _ = runs[task]
    old = build_network(load_checkpoint(folder))
    asked = settings(data, task, init=folder, width=None, resolution=None)
    same = starting_point(asked, LABELS)
    assert "is kept" in same.notes[0]
    x = torch.randn(1, 3, SIDES[task], SIDES[task])

    def logits(network: torch.nn.Module) -> torch.Tensor:
        with torch.no_grad():
            found = network.eval()(x)
        return found.class_logits if task is Task.DETECTION else found.movedim(1, -1)

    assert torch.equal(logits(same.model), logits(old))
    turned = starting_point(asked, ("background", "blue", "red", "green"))
    assert "in the data's order" in turned.notes[0]
    assert torch.equal(logits(turned.model), logits(old)[..., [0, 3, 1, 2]])
    other = starting_point(asked, ("background", "cat"))
    assert other.fresh_head
    assert "the head is new: the checkpoint's was for 4 classes" in other.notes[0]
    assert logits(other.model).shape[-1] == 2
    has, fresh = old.state_dict(), other.model.state_dict()
    news = [name for name in has.keys() & fresh.keys() if has[name].shape != fresh[name].shape]
    assert sorted(news) == sorted(
        f"{layer}.{kind}" for layer in class_layers(old) for kind in ("weight", "bias")
    )


def test_the_focal_loss_begins_with_little_expected() -> None:
    """Every empty anchor counts there, so a new head says 1 % (Lin et al. 2017)."""
    spec = default_spec(Task.DETECTION, width=0.35, resolution=64, classes=3)
    network = make_network(spec).eval()
    expect_little(network)
    with torch.no_grad():
        scores = torch.sigmoid(network(torch.zeros(1, 3, 64, 64)).class_logits)
    assert scores.mean() == pytest.approx(0.01, rel=0.3)


def test_a_segmenter_strides_and_looks_around_as_asked(
    runs: dict[Task, Run], data: Data, tmp_path: Path
) -> None:
    """On a classifier's backbone, and with the weights of one that strode otherwise."""
    task, init = Task.SEGMENTATION, tmp_path / "classifier.safetensors"
    classifier(init)
    asked = settings(data, task, init=init, width=None, output_stride=8, full_aspp=True)
    spec = starting_point(asked, LABELS).model.spec
    assert spec.segmentation == SegmentationSpec(output_stride=8, full_aspp=True)
    folder, _ = runs[task]
    old = build_network(load_checkpoint(folder))
    asked = settings(data, task, init=folder, width=None, output_stride=8)
    model = starting_point(asked, LABELS).model
    assert model.spec.segmentation == SegmentationSpec(output_stride=8)
    kept = model.state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in old.state_dict().items())
    with pytest.raises(UnsupportedError, match="has the pyramid without dilated branches"):
        starting_point(dataclasses.replace(asked, full_aspp=True), LABELS)
    read = Settings.from_json(json.loads(json.dumps(asked.to_json())))
    assert read.output_stride == 8
    with pytest.raises(UnsupportedError, match="--output-stride 16, but the run to resume has 8"):
        settle(Asked(output_stride=16), read)


# Recipes


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        (RecipeName.PAPER, None),
        (RecipeName.FINETUNE, None),
        (RecipeName.FINETUNE, OptimizerName.SGD),
    ],
)
def test_every_value_has_a_source(
    task: Task, name: RecipeName, optimizer: OptimizerName | None
) -> None:
    """And what the optimizer has is part of the recipe."""
    how = make_recipe(name, Changes(optimizer=optimizer), task)
    lines = {line.name: line for line in explain(how, task)}
    names = {field.name for field in dataclasses.fields(how) if field.name != "name"}
    assert lines.keys() == names
    assert not any("command line" in line.source for line in lines.values())
    spec = default_spec(task, width=0.35, resolution=SIDES[task], classes=2)
    group = make_optimizer(make_network(spec), how).param_groups[0]
    for key in ("lr", "weight_decay", "momentum", "square_decay"):
        if key in group:
            assert lines[key].value == f"{group[key]:g}"
            assert "not part" not in lines[key].source
    assert group.get("nesterov", False) == (optimizer is OptimizerName.SGD)


def test_ssdlite_is_trained_as_published() -> None:
    """200,000 updates of 24 of COCO's images by TensorFlow's RMSProp; the rate never falls."""
    how = make_recipe(RecipeName.PAPER, Changes(), Task.DETECTION)
    assert (how.lr, how.square_decay, how.momentum, how.eps) == (0.004, 0.9, 0.9, 1.0)
    assert how.loss is Balance.HARD_NEGATIVES
    plan = Plan(recipe=how, images=118_287)
    assert plan.steps == pytest.approx(200_000, rel=0.02)
    assert plan.decay_steps == pytest.approx(800_720, rel=0.001)
    assert plan.lr(plan.steps - 1) == 0.004


def test_deeplab_is_trained_as_published() -> None:
    """30,000 updates of 16 of VOC's images; the rate falls as (1 - t) ** 0.9."""
    plan = Plan(recipe=make_recipe(RecipeName.PAPER, Changes(), Task.SEGMENTATION), images=10_582)
    assert plan.steps == pytest.approx(30_000, rel=0.02)
    assert plan.lr(0) == 0.007
    assert plan.lr(plan.steps // 4) == pytest.approx(0.007 * 0.75**0.9, rel=1e-3)
    assert plan.lr(plan.steps - 1) < 1e-4 * 0.02


def test_recipes_of_other_tasks_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="is a detector's"):
        make_recipe(RecipeName.FINETUNE, Changes(loss=Balance.FOCAL), Task.SEGMENTATION)
    with pytest.raises(UnsupportedError, match="no adamw"):
        make_recipe(RecipeName.PAPER, Changes(optimizer=OptimizerName.ADAMW), Task.DETECTION)


# The command line


@pytest.fixture(scope="module")
def paths(
    runs: dict[Task, Run], data: Data, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    return {
        "boxes": data[Task.DETECTION],
        "masks": data[Task.SEGMENTATION],
        "detector": runs[Task.DETECTION][0],
        "segmenter": runs[Task.SEGMENTATION][0],
        "colors": colors(tmp_path_factory.mktemp("colors") / "data", each=4),
        "demo": demo.CHECKPOINT,
    }


DETECT, SEGMENT = ("--task", "detection"), ("--task", "segmentation")
REFUSED = {
    "one picture per batch": (["{boxes}", *DETECT, "--batch", "1"], 4, "a single value"),
    "a pooled map of one": (["{masks}", *SEGMENT, "--batch", "1"], 4, "a single value"),
    "parts of one": (["{masks}", *SEGMENT, *SMALL, "--accumulate", "4"], 4, "a single value"),
    "no multiple": (["{boxes}", *DETECT, "--resolution", "97"], 5, "not a multiple of 32"),
    "no multiple and one": (["{masks}", *SEGMENT, "--resolution", "96"], 5, "of 32 plus 1"),
    "class folders": (["{colors}", *DETECT], 4, "COCO JSON"),
    "class folders for masks": (["{colors}", *SEGMENT], 4, "images/ and masks/"),
    "another width": (["{boxes}", *DETECT, "--init", "{demo}", "--width", "1"], 5, "width 0.35"),
    "a segmenter's checkpoint": (
        ["{boxes}", *DETECT, "--init", "{segmenter}"],
        5,
        "a model for segmentation, where one for detection is trained",
    ),
    "a detector's to classify": (["{colors}", "--init", "{detector}"], 5, "--task detection"),
    "a loss of another task": (["{masks}", *SEGMENT, "--loss", "focal"], 5, "a detector's"),
    "a stride of 4": (["{masks}", *SEGMENT, "--output-stride", "4"], 5, "choose 16 or 8"),
    "a detector's pyramid": (["{boxes}", *DETECT, "--full-aspp"], 5, "a segmenter's"),
    "integers": (["{boxes}", *DETECT, "--recipe", "qat"], 5, "mnv2-export qat"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_gets_one_clear_error(
    case: str, paths: dict[str, Path], tmp_path: Path
) -> None:
    """One line and one of what to do, the documented exit code, and no run folder."""
    arguments, code, message = REFUSED[case]
    filled = [argument.format(**paths) for argument in arguments]
    refused = invoke("train", *filled, "--out", tmp_path / "runs")
    assert refused.exit_code == code, refused.output
    assert message in " ".join(refused.stderr.split())
    assert refused.stderr.startswith("error: ")
    assert len(refused.stderr.splitlines()) <= 2
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("without_pycocotools")
def test_labels_need_what_they_are_judged_by(paths: dict[str, Path], tmp_path: Path) -> None:
    """Without mAP the stages of a detector's integers could not be compared."""
    options = ["--data", paths["boxes"], "--distill", 0.5, "--batch", 4, "--out", tmp_path / "runs"]
    refused = invoke("qat", paths["detector"], *options)
    assert refused.exit_code == 6, refused.output
    assert "--distill 0.5, which is judged by mAP, needs the package pycocotools" in refused.stderr
    assert not (tmp_path / "runs").exists()


def integers_of(
    runs: dict[Task, Run], data: Data, task: Task, place: Place, distill: float
) -> tuple[Quantization, list[TrainingEvent]]:
    """A run of one epoch on a network that has hardly learned."""
    how = make_recipe(RecipeName.QAT, Changes(batch=4, epochs=1, distill=distill), task)
    asked = Settings(
        data=data[task],
        task=task,
        recipe=dataclasses.replace(how, block_steps=1),
        init=runs[task][0],
        workers=0,
        report_every=1,
        val_limit=2,
    )
    events = list(qat(asked, place))
    (settled,) = (e for e in events if isinstance(e, Settled))
    assert [stage.name for stage in settled.record.stages] == [
        "ranges", "bias correction", "block-wise QAT", "end-to-end QAT"
    ]  # fmt: skip
    return settled.record, events


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("task", TASKS)
def test_integers_learn_from_the_float_model(
    runs: dict[Task, Run], data: Data, tmp_path: Path, task: Task
) -> None:
    """Through all stages, by all outputs; the file holds an int8 graph of the same spec."""
    record, events = integers_of(runs, data, task, Place(out=tmp_path, name="qat"), 1.0)
    (validated,) = (e for e in events if isinstance(e, Validated))
    assert (validated.task, validated.images) == (task, 2)
    assert validated.quality is not None
    assert validated.quality.ratio_db > 3  # of a network that has hardly learned
    assert record.metric is Metric.SQNR
    found = load_checkpoint(tmp_path / "qat")
    assert found.integers is not None
    assert found.integers.graph.spec == found.spec
    assert found.spec.task is task


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("task", SEGMENTATION_FIRST)
def test_integers_that_learn_labels_are_judged_by_the_tasks_figure(
    runs: dict[Task, Run], data: Data, tmp_path: Path, task: Task
) -> None:
    """Every stage has it, the best of them is kept, and the checkpoint tells the same."""
    record, _ = integers_of(runs, data, task, Place(out=tmp_path, name="qat"), 0.5)
    assert record.metric is {Task.DETECTION: Metric.MAP, Task.SEGMENTATION: Metric.MIOU}[task]
    assert {type(stage.accuracy) for stage in record.stages} == {SCORES[task]}
    ranks = [stage.rank(record.metric) for stage in record.stages]
    assert record.winner.rank(record.metric) == max(ranks)
    found = load_checkpoint(tmp_path / "qat")
    assert found.integers is not None
    assert found.integers.record == record
    require_same_structure(fold_core(build_network(found)), found.integers.graph)  # as `build` does
    (row,) = rows(tmp_path / "qat", "val")
    assert record.stages[-1].accuracy == SCORES[task](
        images=2, **{name: row[name] for name in FIGURES[task]}
    )


@pytest.fixture(scope="module")
def integers(runs: dict[Task, Run]) -> dict[Task, tuple[Network, QuantizedGraph, TrainedIntegers]]:
    """Float networks that have hardly learned, their graphs and their integers."""
    found = {}
    for task in TASKS:
        model = build_network(load_checkpoint(runs[task][0])).eval()
        graph = fold_core(model)
        rng = np.random.default_rng(0)
        images = rng.uniform(-1, 1, (4, 3, SIDES[task], SIDES[task])).astype(np.float32)
        found[task] = (
            model,
            graph,
            TrainedIntegers(
                graph=quantize(graph, images),
                record=Quantization(stages=()),
                calibration=Calibration(images=4, sha256="", origin=""),
            ),
        )
    return found


@pytest.mark.parametrize("task", SEGMENTATION_FIRST)
def test_integers_are_judged_as_they_ship(integers, data: Data, task: Task) -> None:
    """A segmenter's are enlarged as codes."""
    graph = integers[task][2].graph
    (batch,) = val_batches(views(data, task), 9)
    found = by_name(IntegerResults(graph, Bits())(batch.images[:2]))
    shipped = with_ends(graph, Ends(outputs=default_outputs(task)))
    exact = golden.run_outputs(shipped, to_input(batch.images[:2], graph.spec.preprocess).numpy())
    assert found.keys() == exact.keys()
    assert all(np.array_equal(found[name].numpy(), exact[name]) for name in exact)


@pytest.mark.parametrize("task", TASKS)
def test_labels_and_the_float_model_are_mixed(integers, data: Data, task: Task) -> None:
    """As `distill` says; by labels alone the task's own loss falls."""
    model, graph, start = integers[task]
    spread = dict.fromkeys((tensor.name for tensor in graph.outputs), 1.0)
    (batch,) = val_batches(views(data, task), 9)
    losses = {}
    for distill in (1.0, 0.5, 0.0):
        changes = Changes(batch=9, epochs=6, distill=distill, lr=1e-3)
        plan = Plan(recipe=make_recipe(RecipeName.QAT, changes, task), images=9)
        learner = QatLearner(model, graph, start, plan, CPU, 1, spread)
        learner.begin(0)
        losses[distill] = learner.loss(batch.images, batch.labels).item()
    assert losses[0.5] == pytest.approx((losses[0.0] + losses[1.0]) / 2, rel=1e-4)
    steps = [learner.update(batch, step, 0).item() for step in range(4)]
    assert steps[0] == pytest.approx(losses[0.0], rel=1e-4)
    assert steps[3] < 0.97 * steps[0]


def test_a_record_speaks_in_the_tasks_own_words() -> None:
    """And is the same after a way through JSON."""
    scores = {
        Task.CLASSIFICATION: (Accuracy(images=4, top1=0.5, top5=1.0), "top-1"),
        Task.DETECTION: (MeanAP(images=4, map50=0.9, map=0.5), "mAP"),
        Task.SEGMENTATION: (MeanIoU(images=4, miou=0.5, pixels=0.9), "mIoU"),
    }
    near = Quality(images=4, sqnr_db=20.0, top1_agreement=0.75, kl=None, max_abs=1.0)
    words = {Task.CLASSIFICATION: "top-1", Task.DETECTION: "anchor", Task.SEGMENTATION: "pixel"}
    for task, (score, name) in scores.items():
        worse = dataclasses.replace(score, **{BY_LABELS[task]: 0.25})
        stages = (
            QuantizationStage(name="ranges", quality=near, kept=True, accuracy=worse),
            QuantizationStage(name="end-to-end QAT", quality=near, kept=True, accuracy=score),
        )
        record = Quantization(stages=stages, settings={}, metric=BY_LABELS[task])
        assert record.told(task) == (
            f"end-to-end QAT won: 20.0 dB SQNR to float, 75.0% {words[task]} agreement, "
            f"{name} 50.0%, 25.0 points more than ranges"
        )
        plain = json.loads(json.dumps(dataclasses.asdict(record)))
        assert quantization_from_json(plain) == record


@pytest.mark.usefixtures("undrawn")
def test_the_command_explains_and_trains(paths: dict[str, Path], tmp_path: Path) -> None:
    shown = invoke("train", "--task", "detection", "--recipe", "paper", "--explain")
    assert shown.exit_code == 0
    assert "ssdlite_mobilenet_v2_coco.config" in "".join(shown.stdout.split())
    where = ["--epochs", 1, "--resolution", 64, "--out", tmp_path, "--json"]
    done = invoke("train", paths["boxes"], *DETECT, *SMALL, *where)
    assert done.exit_code == 0, done.output
    run = json.loads(done.stdout)["run"]
    assert Path(run["folder"]).name == "detection-finetune-1"
    assert {"map50", "map", "loss", "images"} <= run.keys()
    again = invoke("train", *DETECT, "--resume", "--out", tmp_path, "--name", run["folder"])
    assert again.exit_code == 0, again.output
    other = invoke("train", *SEGMENT, "--resume", "--out", tmp_path, "--name", run["folder"])
    assert (other.exit_code, "--task segmentation" in other.stderr) == (5, True)


def test_old_runs_are_classifiers() -> None:
    """Their run.json names no task."""
    old = Settings(data=Path("data")).to_json()
    del old["task"], old["recipe"]["loss"]
    assert Settings.from_json(old) == Settings(data=Path("data"))
    asked = Settings(
        data=Path("data"),
        task=Task.DETECTION,
        recipe=make_recipe(RecipeName.FINETUNE, Changes(), Task.DETECTION),
    )
    assert Settings.from_json(json.loads(json.dumps(asked.to_json()))) == asked


def test_batch_norm_needs_more_than_one_value() -> None:
    """SSDLite's last map is one pixel up to 512 px, DeepLab's pooled one always."""
    sides = {
        (Task.DETECTION, 512): 1,
        (Task.DETECTION, 544): 2,
        (Task.SEGMENTATION, 513): 1,
        (Task.CLASSIFICATION, 96): 3,
    }
    for (task, resolution), side in sides.items():
        assert smallest_map(default_spec(task, resolution=resolution)) == side


def test_masks_without_a_label_cannot_be_validated_by(data: Data) -> None:
    task = Task.SEGMENTATION
    start = starting_point(settings(data, task), LABELS)
    plan = Plan(recipe=recipe(task, ema=0.0), images=9)
    learner = FloatLearner(start.model, plan, CPU, Arithmetic.FP32, 1)
    (batch,) = val_batches(views(data, task), 9)
    assert isinstance(batch.labels, torch.Tensor)
    empty = dataclasses.replace(batch, labels=torch.full_like(batch.labels, 255))
    with pytest.raises(DataError, match="no pixel of the validation masks has a label"):
        learner.evaluate(learner.candidate([]), [empty])
    loss = learner.evaluate(learner.candidate([]), [empty, batch]).loss
    assert math.isfinite(loss)
    assert loss == pytest.approx(learner.evaluate(learner.candidate([]), [batch]).loss)
