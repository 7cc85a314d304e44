"""Builds of detectors and segmenters, with a fake target: every output through every record."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from conftest import invoke
from fakes import FakeBackend, FakeRunner, fake_target
from graphs import random_network
from test_preprocess import picture

from exporter.checkpoints import save_checkpoint
from exporter.errors import ArtifactError, UnsupportedError
from exporter.events import Event, Finished
from exporter.graph_file import load_graph
from exporter.manifest import Manifest, read_manifest
from exporter.outputs import NmsMode, Outputs
from exporter.pipeline import BuildRequest, build, jobs_for
from exporter.published import default_spec
from exporter.quantize.settings import QatSettings
from exporter.reference import Request
from exporter.spec import Precision
from exporter.target import Runner, Target
from exporter.tasks import Task
from exporter.verdicts import Outcome
from exporter.verify import verify

BOTH = (Precision.INT8, Precision.FP32)
CASES = [
    (Task.DETECTION, Outputs.RAW, NmsMode.NONE, {"class_logits", "box_offsets"}),
    (Task.DETECTION, None, NmsMode.NONE, {"scores", "boxes"}),
    (Task.DETECTION, None, NmsMode.GRAPH, {"detections"}),
    (Task.SEGMENTATION, None, NmsMode.NONE, {"logits"}),
    (Task.SEGMENTATION, Outputs.LOWRES_LOGITS, NmsMode.NONE, {"lowres_logits"}),
    (Task.SEGMENTATION, Outputs.LABELS, NmsMode.NONE, {"labels"}),
]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[Task, Path]:
    folder, found = tmp_path_factory.mktemp("checkpoints"), {}
    for task, side in ((Task.DETECTION, 64), (Task.SEGMENTATION, 65)):
        spec = default_spec(task, width=0.1, resolution=side, classes=3)
        spec = dataclasses.replace(spec, labels=("background", "cat", "dog"))
        found[task] = folder / f"{task}.safetensors"
        save_checkpoint(found[task], spec, random_network(spec).state_dict())
    return found


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for index in range(3):
        picture(200 + 40 * index, 150).save(folder / f"{index}.png")
    return folder


def run(
    checkpoint: Path,
    photos: Path,
    out: Path,
    *targets: Target,
    outputs: Outputs | None = None,
    nms: NmsMode = NmsMode.NONE,
    qat: QatSettings | None = None,
) -> list[Event]:
    request = Request(
        checkpoint=checkpoint,
        calibration=(photos,),
        calibration_count=8,
        outputs=outputs,
        nms=nms,
        qat=qat,
    )
    return list(build(BuildRequest(request=request, jobs=jobs_for(targets, BOTH), out=out)))


def manifest_of(events: list[Event]) -> Manifest:
    assert isinstance(events[-1], Finished)
    return events[-1].manifest


@pytest.mark.parametrize(("task", "outputs", "nms", "names"), CASES)
def test_every_output_is_built_proved_and_verified(
    task, outputs, nms, names, checkpoints, photos, tmp_path
) -> None:
    targets = {"one": fake_target("one"), "two": fake_target("two")}
    out = tmp_path / "build"
    events = run(checkpoints[task], photos, out, *targets.values(), outputs=outputs, nms=nms)
    manifest = manifest_of(events)
    assert manifest == read_manifest(out)
    assert [a.parity.outcome for a in manifest.artifacts] == [Outcome.SAME] * 4
    assert [p.outcome for p in manifest.pairs] == [Outcome.SAME] * 2
    for precision in BOTH:
        graph = load_graph(out / f"model-{precision}.graph")
        assert {tensor.name for tensor in graph.outputs} == names
    several = len(names) > 1
    assert all(bool(a.parity.outputs) is several for a in manifest.artifacts)
    assert all(a.quality.top1_agreement > 0.3 for a in manifest.artifacts)
    found = manifest_of(list(verify(out, targets)))
    assert [a.parity.outcome for a in found.artifacts] == [Outcome.SAME] * 4


class Noisy(FakeRunner):
    """One value of the last output is a little off."""

    def results(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        found = {name: value.copy() for name, value in super().results(images).items()}
        name = list(found)[-1]
        found[name].flat[-1] += np.asarray(1 if found[name].dtype == np.uint8 else 0.03)
        return found


@dataclasses.dataclass(frozen=True)
class NoisyBackend(FakeBackend):
    def load(self, path: Path) -> Runner:
        return Noisy(load_graph(path), 0.0)


@pytest.mark.parametrize(("task", "outputs", "nms", "names"), CASES)
def test_one_value_of_one_output_is_drift(
    task, outputs, nms, names, checkpoints, photos, tmp_path
) -> None:
    """In an int8 artifact any, and of boxes one that is off by three hundredths."""
    noisy = Target(info=fake_target("noisy").info, backend=NoisyBackend())
    events = run(checkpoints[task], photos, tmp_path / "b", noisy, outputs=outputs, nms=nms)
    record = manifest_of(events).artifacts[0]
    assert record.precision is Precision.INT8
    assert record.parity.outcome is Outcome.DRIFTED


def test_verify_notices_other_references(checkpoints, photos, tmp_path) -> None:
    """Digests of megabytes are as strict as logits."""
    out = tmp_path / "build"
    target = fake_target("one")
    run(checkpoints[Task.SEGMENTATION], photos, out, target)
    path = out / "golden" / "expected.json"
    data = json.loads(path.read_text())
    kept = data["outputs"]["int8-xnnpack"]["logits"]
    kept["sha256"][0] = kept["sha256"][1]
    path.write_text(json.dumps(data, sort_keys=True))
    with pytest.raises(ArtifactError, match="not the bytes that were built"):
        list(verify(out, {"one": target}))


def test_a_manifest_without_its_task_settings_is_damaged(checkpoints, photos, tmp_path) -> None:
    out = tmp_path / "build"
    run(checkpoints[Task.DETECTION], photos, out, fake_target())
    data = json.loads((out / "manifest.json").read_text())
    del data["spec"]["detection"]
    (out / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(ArtifactError, match=r"manifest\.json: damaged manifest"):
        read_manifest(out)


def test_integers_of_heads_can_be_trained(checkpoints, photos, tmp_path) -> None:
    settings = QatSettings(steps=3, batch=4)
    for task in checkpoints:
        out = tmp_path / str(task)
        manifest = manifest_of(run(checkpoints[task], photos, out, fake_target(), qat=settings))
        assert manifest.quantization is not None
        assert len(manifest.quantization.stages) == 3
        assert manifest.artifacts[0].parity.outcome is Outcome.SAME


def test_native_suppression_is_refused_where_there_is_none(checkpoints, photos, tmp_path) -> None:
    with pytest.raises(UnsupportedError, match="fake has no non-maximum suppression of its own"):
        run(
            checkpoints[Task.DETECTION],
            photos,
            tmp_path / "build",
            fake_target(),
            nms=NmsMode.NATIVE,
        )
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--outputs", "labels"], "classification has no outputs labels"),
        (["--nms", "graph"], "needs a detector's decoded outputs, not logits"),
        (["--demo", "cooking"], "'cooking' is not one of"),
    ],
)
def test_results_that_a_model_lacks_are_refused(arguments, message, tmp_path) -> None:
    result = invoke("build", *arguments, "-p", "fp32", "--out", str(tmp_path / "b"))
    assert result.exit_code in (2, 5)
    assert message in " ".join(result.output.replace("│", " ").split())
    assert not (tmp_path / "b").exists()


def test_a_demo_beside_a_checkpoint_is_refused(checkpoints, tmp_path) -> None:
    path = str(checkpoints[Task.DETECTION])
    result = invoke("build", path, "--demo", "detection", "--out", str(tmp_path / "b"))
    assert result.exit_code == 5
    assert "cannot both be built" in result.output
