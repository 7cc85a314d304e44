"""A build with targets given as values: what is written, what is said, what a failure leaves."""

import json
from pathlib import Path

import numpy as np
import pytest
from fakes import fake_target

from exporter.checkpoints import Overrides
from exporter.errors import (
    ArtifactError,
    DataError,
    MissingDependencyError,
    TargetError,
    UnsupportedError,
)
from exporter.events import ArtifactChecked, Event, Finished, TargetFailed
from exporter.manifest import Manifest, read_manifest
from exporter.pipeline import BuildRequest, build, jobs_for, offered_jobs
from exporter.reference import Request
from exporter.spec import Precision
from exporter.target import Target
from exporter.verdicts import Outcome
from exporter.verify import verify

BOTH = (Precision.INT8, Precision.FP32)


def run(
    checkpoint: Path,
    photos: Path | None,
    out: Path,
    *targets: Target,
    precisions: tuple[Precision, ...] = (Precision.INT8,),
) -> list[Event]:
    request = Request(
        checkpoint=checkpoint,
        overrides=Overrides(),
        calibration=(photos,) if photos else (),
        calibration_count=16,
    )
    jobs = jobs_for(targets, precisions)
    return list(build(BuildRequest(request=request, jobs=jobs, out=out)))


def manifest_of(events: list[Event]) -> Manifest:
    assert isinstance(events[-1], Finished)
    return events[-1].manifest


@pytest.fixture(scope="module")
def built(checkpoint, photos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("builds") / "build"
    run(checkpoint, photos, out, fake_target("one"), fake_target("two"), precisions=BOTH)
    return out


def test_a_build_writes_artifacts_graphs_vectors_and_manifest(built: Path) -> None:
    names = {p.relative_to(built).as_posix() for p in built.rglob("*") if p.is_file()}
    assert {
        "manifest.json",
        "model-int8.graph",
        "model-fp32.graph",
        "golden/expected.json",
    } <= names
    assert {f"model-{p}.{t}" for p in BOTH for t in ("one", "two")} <= names
    assert {"golden/00-black.png", "golden/03-noise.png", "golden/04-image00.png"} <= names
    manifest = read_manifest(built)
    assert [a.parity.outcome for a in manifest.artifacts] == [Outcome.SAME] * 4
    assert len(manifest.pairs) == 2
    assert manifest.artifacts[0].quality.sqnr_db > 10
    assert json.loads((built / "manifest.json").read_text())["schema_version"] == 1


def test_builds_are_reproducible(built, checkpoint, photos, tmp_path) -> None:
    """Every file of a second build has the bytes of the first, the manifest's included."""
    again = tmp_path / "build"
    run(checkpoint, photos, again, fake_target("one"), fake_target("two"), precisions=BOTH)
    files = sorted(p.relative_to(built) for p in built.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    for file in files:
        assert (built / file).read_bytes() == (again / file).read_bytes(), file


def test_golden_vectors_are_what_the_references_compute(built: Path) -> None:
    from exporter import golden
    from exporter.graph_file import load_graph
    from exporter.vectors import read_vectors, vector_images

    vectors, stored = read_vectors(built / "golden")
    graph = load_graph(built / "model-int8.graph")
    images = vector_images(vectors, graph)
    assert np.array_equal(stored["int8-xnnpack"]["logits"], golden.run(graph, images))
    assert vectors.pixels[0].max() == 0
    assert vectors.pixels[1].min() == 255


def test_a_failing_target_does_not_stop_the_others(checkpoint, photos, tmp_path) -> None:
    events = run(checkpoint, photos, tmp_path / "b", fake_target("bad", fails=True), fake_target())
    assert [e.failure.target for e in events if isinstance(e, TargetFailed)] == ["bad"]
    manifest = manifest_of(events)
    assert [a.target for a in manifest.artifacts] == ["fake"]
    assert manifest.failures[0].error == "fake cannot do this"


def test_a_bug_in_one_sdk_does_not_stop_the_others(checkpoint, photos, tmp_path) -> None:
    events = run(
        checkpoint, photos, tmp_path / "b", fake_target("bad", crashes=True), fake_target()
    )
    (failed,) = (e for e in events if isinstance(e, TargetFailed))
    assert failed.failure.error == "ZeroDivisionError: out of cheese"
    assert "fakes.py" in failed.trace
    assert [a.target for a in manifest_of(events).artifacts] == ["fake"]


def test_a_precision_that_a_named_target_lacks_is_refused_up_front() -> None:
    with pytest.raises(UnsupportedError, match="fake has no fp16 artifact") as caught:
        jobs_for([fake_target()], [Precision.INT8, Precision.FP16])
    assert caught.value.hint == "it offers int8, fp32"


def test_unnamed_targets_are_built_in_the_precisions_that_they_have() -> None:
    target = fake_target()
    assert offered_jobs([target], [Precision.FP16, Precision.FP32]) == ((target, Precision.FP32),)


def test_drift_is_found_and_recorded(checkpoint, photos, tmp_path) -> None:
    events = run(checkpoint, photos, tmp_path / "b", fake_target(error=0.5), fake_target("good"))
    manifest = manifest_of(events)
    assert manifest.drifted == ("model-int8.fake", "model-int8.fake against model-int8.good")


def test_not_run_is_neither_same_nor_drift(checkpoint, photos, tmp_path) -> None:
    events = run(checkpoint, photos, tmp_path / "b", fake_target(cannot_run=True), fake_target("x"))
    checked = [e.record for e in events if isinstance(e, ArtifactChecked)]
    assert checked[0].parity.outcome is Outcome.NOT_RUN
    assert checked[0].parity.reason == "only fakes run this"
    manifest = manifest_of(events)
    assert manifest.drifted == ()
    assert manifest.pairs[0].outcome is Outcome.NOT_RUN


def test_a_missing_dependency_stops_before_any_work(checkpoint, photos, tmp_path) -> None:
    with pytest.raises(MissingDependencyError, match="fakelib"):
        run(checkpoint, photos, tmp_path / "b", fake_target(missing=True))
    assert list(tmp_path.iterdir()) == []


def test_int8_without_photos_says_what_to_do(checkpoint, tmp_path) -> None:
    with pytest.raises(DataError, match="calibration images") as caught:
        run(checkpoint, None, tmp_path / "b", fake_target())
    assert "--calibration" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_float_artifacts_need_no_photos(checkpoint, tmp_path) -> None:
    events = run(checkpoint, None, tmp_path / "b", fake_target(), precisions=(Precision.FP32,))
    assert manifest_of(events).artifacts[0].parity.outcome is Outcome.SAME
    assert manifest_of(events).calibration is None


def test_a_directory_that_is_no_build_is_left_alone(checkpoint, photos, tmp_path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtifactError, match="not an earlier build"):
        run(checkpoint, photos, tmp_path, fake_target())
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("text", ['{"name": "pwa"}', "not json", '{"schema_version": 1}'])
def test_a_foreign_manifest_does_not_make_a_build(checkpoint, photos, tmp_path, text) -> None:
    """Web apps and browser extensions keep a manifest.json too."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "app.js").write_text("years of work")
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match="not an earlier build"):
        run(checkpoint, photos, tmp_path, fake_target())
    assert (tmp_path / "src" / "app.js").exists()


def test_notes_in_an_earlier_build_are_kept(built, checkpoint, photos, tmp_path) -> None:
    import shutil

    out = Path(shutil.copytree(built, tmp_path / "build"))
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match=r"notes\.txt"):
        run(checkpoint, photos, out, fake_target())
    assert (out / "notes.txt").read_text() == "mine"
    (out / "notes.txt").unlink()
    run(checkpoint, photos, out, fake_target())
    assert [a.target for a in read_manifest(out).artifacts] == ["fake"]


def test_a_runtime_that_crashes_is_drift(checkpoint, photos, tmp_path) -> None:
    crashing = fake_target(run_crashes=True)
    events = run(checkpoint, photos, tmp_path / "b", crashing, fake_target("x"))
    manifest = manifest_of(events)
    assert manifest.artifacts[0].parity.outcome is Outcome.DRIFTED
    assert "cannot be run: ZeroDivisionError" in manifest.artifacts[0].parity.reason
    assert manifest.artifacts[1].parity.outcome is Outcome.SAME


def test_options_are_checked_before_any_work(checkpoint, photos, tmp_path) -> None:
    with pytest.raises(UnsupportedError, match="with these options"):
        run(checkpoint, photos, tmp_path / "b", fake_target("good"), fake_target(refuses=True))
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_when_every_target_fails(checkpoint, photos, tmp_path) -> None:
    with pytest.raises(TargetError, match="no target wrote"):
        run(checkpoint, photos, tmp_path / "b", fake_target(fails=True))
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_that_was_not_finished_is_removed(checkpoint, photos, tmp_path) -> None:
    bad = fake_target("bad", crashes_after_writing=True)
    run(checkpoint, photos, tmp_path / "b", bad, fake_target())
    assert not (tmp_path / "b" / "model-int8.bad").exists()


def test_a_failed_build_leaves_the_earlier_one(built, checkpoint, tmp_path) -> None:
    import shutil

    out = tmp_path / "build"
    shutil.copytree(built, out)
    before = (out / "manifest.json").read_bytes()
    with pytest.raises(DataError):
        run(checkpoint, None, out, fake_target())
    assert (out / "manifest.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["build"]


class TestVerify:
    """`verify` on builds that something happened to."""

    targets = {"one": fake_target("one"), "two": fake_target("two")}  # noqa: RUF012

    @pytest.fixture
    def build(self, built: Path, tmp_path: Path) -> Path:
        import shutil

        return Path(shutil.copytree(built, tmp_path / "build"))

    def verified(self, folder: Path, targets=None) -> Manifest:
        return manifest_of(list(verify(folder, targets or self.targets)))

    def test_an_untouched_build_is_the_same(self, build: Path) -> None:
        manifest = self.verified(build)
        assert manifest.drifted == ()
        assert len(manifest.artifacts) == 4

    def test_a_changed_artifact_has_drifted(self, build: Path) -> None:
        path = build / "model-int8.one"
        data = bytearray(path.read_bytes())
        data[-100] ^= 1
        path.write_bytes(data)
        manifest = self.verified(build)
        assert "model-int8.one" in manifest.drifted
        record = manifest.artifacts[0]
        assert "SHA-256" in record.parity.reason

    def test_a_runtime_that_computes_otherwise_has_drifted(self, build: Path) -> None:
        targets = {**self.targets, "two": fake_target("two", error=0.25)}
        assert "model-int8.two" in self.verified(build, targets).drifted

    @pytest.mark.parametrize(
        "name", ["model-int8.one", "model-fp32.graph", "golden/00-black.png", "manifest.json"]
    )
    def test_a_missing_file_is_named(self, build: Path, name: str) -> None:
        (build / name).unlink()
        with pytest.raises(ArtifactError, match=name.split("/")[0]):
            self.verified(build)

    @pytest.mark.parametrize("name", ["model-int8.graph", "golden/04-image00.png"])
    def test_a_changed_reference_is_refused(self, build: Path, name: str) -> None:
        data = bytearray((build / name).read_bytes())
        data[len(data) // 2] ^= 1
        (build / name).write_bytes(data)
        with pytest.raises(ArtifactError, match="SHA-256"):
            self.verified(build)

    @pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema_version": 99}', "not json"])
    def test_a_damaged_manifest_is_named(self, build: Path, text: str) -> None:
        (build / "manifest.json").write_text(text)
        with pytest.raises(ArtifactError, match=r"manifest\.json"):
            self.verified(build)


@pytest.mark.parametrize("kind", ["artifacts", "graphs"])
@pytest.mark.parametrize("path", ["../away.pte", "/etc/passwd", "..", "a\\b", ""])
def test_a_manifest_leads_nowhere_else(built, tmp_path, kind: str, path: str) -> None:
    data = json.loads((built / "manifest.json").read_text())
    data[kind][0]["path"] = path
    (tmp_path / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(ArtifactError, match=r"damaged manifest .*is not a file name"):
        read_manifest(tmp_path)
