"""Artifacts timed in processes of their own: turns, failures, pairs, and what is left behind."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from graphs import make_spec
from profile_worker import DIARY, TARGETS

from exporter.devices import host, host_process, host_rounds
from exporter.devices.host_facts import device, thermal
from exporter.devices.host_process import Worker
from exporter.devices.host_rounds import LEAD, ROUNDS, turn_lengths
from exporter.devices.host_subjects import subjects_in
from exporter.devices.request import ProfileRequest
from exporter.errors import ArtifactError, DeviceError, UnsupportedError
from exporter.files import sha256, size
from exporter.latency.records import Measured, Settings, ThermalStatus
from exporter.latency.statistics import compare, summarize
from exporter.manifest import ArtifactRecord, Manifest, Source, write_manifest
from exporter.spec import HeadLayer, PaddingStyle, Precision
from exporter.vectors import FOLDER, make_vectors, write_vectors
from exporter.verdicts import Outcome, Parity

SIDE = 32
QUICK = Settings(iterations=4, warmup=2)
FAKE_WORKER = (sys.executable, str(Path(__file__).with_name("profile_worker.py")))
Make = Callable[..., Path]


@pytest.fixture
def diary(tmp_path: Path, monkeypatch) -> Path:
    """What the fake runtimes wrote down; `profile` starts them instead of the real ones."""
    path = tmp_path / "diary"
    path.touch()
    monkeypatch.setenv(DIARY, str(path))
    monkeypatch.setattr(host_process, "COMMAND", FAKE_WORKER)
    return path


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A build directory of artifacts for the fake runtime: a name and a plan each."""

    def made(*plans: dict, folder: str = "build", suffix: str = "fake", side: int = SIDE) -> Path:
        build = tmp_path / folder
        spec = make_spec(0.35, side, PaddingStyle.TORCH, (HeadLayer(units=4),))
        vectors = make_vectors(np.zeros((1, side, side, 3), np.uint8))
        write_vectors(build / FOLDER, vectors, {"fp32": {"logits": np.zeros((5, 4), np.float32)}})
        records = []
        for plan in plans:
            path = build / f"{plan['name']}.{plan.pop('suffix', suffix)}"
            path.write_text(json.dumps({"ms": 0, **plan}))
            records.append(
                ArtifactRecord(
                    target=path.suffix[1:],
                    precision=Precision.FP32,
                    path=path.name,
                    size_bytes=size(path),
                    sha256=sha256(path),
                    parity=Parity(outcome=Outcome.SAME, tolerance="EXACT"),
                )
            )
        source = Source(name="x", format="x", sha256="0")
        manifest = Manifest(
            spec=spec, source=source, calibration=None, graphs=(), artifacts=tuple(records)
        )
        write_manifest(manifest, build)
        return build

    return made


def lines(diary: Path, verb: str) -> list[str]:
    words = [line.split() for line in diary.read_text().splitlines()]
    return [rest[1] for rest in words if rest[0] == verb]


def profile(build: Path, settings: Settings = QUICK, **request: object):
    asked = ProfileRequest(build=build, settings=settings, **request)
    return host.profile(asked, TARGETS, lambda _: None)


def by_name(found) -> dict:
    return {artifact.artifact: artifact for artifact in found.artifacts}


def test_artifacts_take_turns_in_alternating_order(make: Make, diary: Path) -> None:
    """The first inference and the warm-up of each, then rounds: forth, back, forth, back."""
    found = profile(make({"name": "a"}, {"name": "b"}))
    turn = 1 + LEAD
    opened = 1 + QUICK.warmup
    rounds = [name * turn for pair in ("ab", "ba", "ab", "ba") for name in pair]
    assert "".join(lines(diary, "run")) == "a" * opened + "b" * opened + "".join(rounds)
    for artifact in found.artifacts:
        assert artifact.outcome is Measured.MEASURED
        assert artifact.latency is not None
        assert len(artifact.latency.samples_ms) == QUICK.iterations
        assert artifact.runtime == "a runtime 1.0"
        assert artifact.undelegated == 3
        assert artifact.peak_rss_bytes is not None
        assert artifact.peak_rss_bytes > 1 << 20
        assert any("no times of layers" in note for note in artifact.notes)


def test_each_artifact_has_a_process_of_its_own_and_the_threads_asked_for(make, diary) -> None:
    found = profile(make({"name": "a"}, {"name": "b"}), Settings(iterations=1, threads=2))
    loads = [line.split() for line in diary.read_text().splitlines() if line.startswith("load")]
    assert len({pid for _, _, pid, _ in loads}) == 2
    assert [threads for *_, threads in loads] == ["2", "2"]
    assert [artifact.threads for artifact in found.artifacts] == [2, 2]
    for _, _, pid, _ in loads:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_an_artifact_is_fed_the_first_golden_vector(make: Make, diary: Path) -> None:
    profile(make({"name": "a"}))
    assert f"feed a 1 3 {SIDE} {SIDE} float32" in diary.read_text()


@pytest.mark.parametrize("iterations", [1, 2, 49, 50, 51, 75, 1000])
def test_rounds_time_as_often_as_was_asked_for(iterations: int) -> None:
    lengths = turn_lengths(iterations)
    assert sum(lengths) == iterations
    assert len(lengths) == min(ROUNDS, iterations)
    assert max(lengths) - min(lengths) <= 1


FAULTS = {
    "die": (Measured.FAILED, "the process died of SIGABRT: out of cheese"),
    "refuse": (Measured.NOT_RUN, "this CPU has no cheese"),
    "break": (Measured.FAILED, "ValueError: cheese"),
}


@pytest.mark.parametrize("at", ["load", "run", "trace"])
def test_one_that_fails_is_told_and_the_others_go_on(make: Make, diary: Path, at: str) -> None:
    bad = [{"name": does, "at": at, "does": does} for does in FAULTS]
    found = by_name(profile(make(*bad, {"name": "good"})))
    for does, (outcome, said) in FAULTS.items():
        artifact = found[f"{does}.fake"]
        if at == "trace":  # it was measured before
            assert artifact.outcome is Measured.MEASURED
            assert f"no times of layers: {said}" in artifact.notes
        else:
            assert (artifact.outcome, artifact.reason) == (outcome, said)
            assert artifact.latency is None
    assert found["good.fake"].outcome is Measured.MEASURED


def test_one_that_hangs_is_killed(make: Make, diary: Path, monkeypatch) -> None:
    monkeypatch.setattr(host_rounds, "LEAST_SECONDS", 2.0)
    bad = {"name": "bad", "at": "run", "after": 1, "does": "hang"}
    found = by_name(profile(make(bad, {"name": "good"})))
    assert found["bad.fake"].reason == "no answer within 2 s"
    assert found["good.fake"].outcome is Measured.MEASURED


def test_a_library_that_prints_is_not_taken_for_an_answer(make: Make, diary: Path) -> None:
    (found,) = profile(make({"name": "loud", "at": "run", "does": "shout"})).artifacts
    assert found.outcome is Measured.MEASURED


def test_nothing_is_left_running_when_it_is_interrupted(make: Make, diary: Path) -> None:
    def interrupt(line: str) -> None:
        if line.startswith("round"):
            raise KeyboardInterrupt

    request = ProfileRequest(build=make({"name": "a"}), settings=QUICK)
    with pytest.raises(KeyboardInterrupt):
        host.profile(request, TARGETS, interrupt)
    (pid,) = (line.split()[2] for line in diary.read_text().splitlines() if "load" in line)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_what_is_not_measured_says_why(make: Make, diary: Path) -> None:
    build = make(
        {"name": "a"},
        {"name": "b", "suffix": "missing"},
        {"name": "c", "suffix": "moon"},
        {"name": "d"},
        {"name": "e"},
    )
    (build / "d.fake").write_text("{}")
    (build / "e.fake").unlink()
    found = by_name(profile(build))
    assert found["a.fake"].outcome is Measured.MEASURED
    assert found["b.missing"].outcome is Measured.NOT_RUN
    assert found["b.missing"].reason == "fake needs fakelib (pip install fakelib)"
    assert found["c.moon"].outcome is Measured.NOT_RUN
    assert "the moon" in found["c.moon"].reason
    assert found["d.fake"].outcome is Measured.FAILED
    assert "SHA-256 differs from the manifest" in found["d.fake"].reason
    assert found["e.fake"].reason == "missing; build again"


def test_a_build_without_anything_for_this_machine_is_refused(make: Make, diary: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"nothing in it runs .*a\.moon.* the moon"):
        profile(make({"name": "a"}, suffix="moon"))


def test_an_unknown_artifact_is_told_with_those_there_are(make: Make) -> None:
    with pytest.raises(ArtifactError, match=r"holds no artifact b\.fake") as caught:
        subjects_in(make({"name": "a"}), ["b.fake"], TARGETS)
    assert caught.value.hint == "it holds a.fake"


def test_pairs_run_in_turn(make: Make, diary: Path) -> None:
    a, b = make({"name": "a"}), make({"name": "b", "ms": 5}, folder="other")
    settings = Settings(iterations=ROUNDS + 2, warmup=0)
    pair = (a / "a.fake", b / "b.fake")
    (found,) = host.measure_pairs([pair], settings, TARGETS, lambda _: None)
    assert found.rounds == ROUNDS
    assert [len(latency.samples_ms) for latency in (found.a, found.b)] == [ROUNDS + 2] * 2
    assert found.ratio.low <= found.ratio.value <= found.ratio.high
    assert found.ratio.value > 1  # one sleeps, the other does not
    order = "".join(lines(diary, "run"))
    assert order.startswith("ab" + "aaabbb" + "bbbaaa" + "aabb" + "bbaa")  # two rounds time two


def test_each_of_a_pair_is_fed_an_image_of_its_own_build(make: Make, diary: Path) -> None:
    """Builds of two resolutions can be compared; one image would fit only one of them."""
    a, b = make({"name": "a"}), make({"name": "b"}, folder="other", side=64)
    host.measure_pairs([(a / "a.fake", b / "b.fake")], QUICK, TARGETS, lambda _: None)
    said = [line for line in diary.read_text().splitlines() if line.startswith("feed")]
    assert said == [f"feed a 1 3 {SIDE} {SIDE} float32", "feed b 1 3 64 64 float32"]


def test_a_pair_needs_both(make: Make, diary: Path) -> None:
    build = make({"name": "a"}, {"name": "b", "at": "run", "does": "die"}, {"name": "c"})
    (build / "c.fake").write_text("{}")
    for other, error in (("b.fake", DeviceError), ("c.fake", ArtifactError)):
        pair = (build / "a.fake", build / other)
        with pytest.raises(error, match=other):
            host.measure_pairs([pair], QUICK, TARGETS, lambda _: None)


def test_one_artifact_by_itself(make: Make, diary: Path) -> None:
    path = make({"name": "a"}) / "a.fake"
    found = host.measure_one(path, TARGETS["fake"], QUICK)
    assert found.outcome is Measured.MEASURED
    other = path.with_name("z.fake")
    other.write_text("{}")
    with pytest.raises(ArtifactError, match="does not know it"):
        host.measure_one(other, TARGETS["fake"], QUICK)


def test_ratios_cancel_what_hits_both() -> None:
    """The machine slows down threefold half way; b takes twice as long as a throughout."""
    speeds = [1.0] * 15 + [3.0] * 15
    a, b = ([factor * speed for speed in speeds] for factor in (1.0, 2.0))
    of_a, of_b = (summarize(v, load_ms=1.0, first_ms=1.0) for v in (a, b))
    found = compare(of_a, of_b, list(zip(a, b, strict=True)))
    assert not of_a.stable
    assert (found.ratio.low, found.ratio.value, found.ratio.high) == (2.0, 2.0, 2.0)
    assert found.stable
    rising = [(1.0, 1.0 + 0.03 * i) for i in range(30)]
    assert "drifted" in compare(of_a, of_b, rising).verdict
    assert "20 are needed" in compare(of_a, of_b, rising[:10]).verdict


def test_onnx_runtime_computes_with_the_threads_asked_for(tmp_path: Path) -> None:
    """Counted from outside: the operating system's threads of the process."""
    from graphs import make_tiny_graph

    from exporter.target import ExportOptions
    from targets import onnx

    graph = make_tiny_graph(0)
    onnx.emit(graph, Precision.INT8, ExportOptions(), tmp_path / "m.onnx")
    np.save(tmp_path / "image.npy", np.zeros(graph.input.shape, np.float32))
    counts = []
    for threads in (1, 3):
        with host_process.workers(1, threads) as (worker,):
            answer = worker.ask("prepare", 60, target="onnx", threads=threads)
            before = os_threads(worker)
            paths = {"path": str(tmp_path / "m.onnx"), "image": str(tmp_path / "image.npy")}
            worker.ask("open", 60, graph=False, **paths)
            counts.append(os_threads(worker) - before)
        assert answer["threads"] == threads
        assert answer["runtime"].startswith("ONNX Runtime 1.")
    assert counts == [0, 2]


def os_threads(worker: Worker) -> int:
    return len(list(Path(f"/proc/{worker._process.pid}/task").iterdir()))


def test_executorch_says_how_many_threads_it_has() -> None:
    with host_process.workers(1, 3) as (worker,):
        assert worker.ask("prepare", 120, target="android", threads=3)["threads"] == 3


def sysfs(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


ZONE = "sys/class/thermal/thermal_zone0"


@pytest.mark.parametrize(
    ("millidegrees", "status"),
    [
        (40000, ThermalStatus.NONE),
        (85000, ThermalStatus.LIGHT),
        (101000, ThermalStatus.CRITICAL),
    ],
)
def test_heat_is_judged_by_the_limits_that_a_zone_states(tmp_path, millidegrees, status) -> None:
    files = {
        f"{ZONE}/type": "x86_pkg_temp",
        f"{ZONE}/temp": str(millidegrees),
        f"{ZONE}/trip_point_0_type": "passive",
        f"{ZONE}/trip_point_0_temp": "80000",
        f"{ZONE}/trip_point_1_type": "critical",
        f"{ZONE}/trip_point_1_temp": "100000",
        "sys/class/hwmon/hwmon1/name": "k10temp",
        "sys/class/hwmon/hwmon1/temp1_label": "Tctl",
        "sys/class/hwmon/hwmon1/temp1_input": "50500",
    }
    found = thermal(sysfs(tmp_path, files))
    assert found.status is status
    assert found.temperatures_c == {"x86_pkg_temp": millidegrees / 1e3, "k10temp Tctl": 50.5}


def test_a_machine_without_limits_does_not_say_how_hot_it_is(tmp_path: Path) -> None:
    files = {f"{ZONE}/type": "soc", f"{ZONE}/temp": "41000", f"{ZONE}/trip_point_0_temp": "x"}
    assert thermal(sysfs(tmp_path, files)).status is ThermalStatus.UNKNOWN
    assert thermal(tmp_path / "nowhere").temperatures_c == {}


def test_facts_are_those_that_latency_depends_on(tmp_path: Path) -> None:
    files = {
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: A CPU\nflags\t: fpu avx2 avx512_vnni\n\n"
        "processor\t: 1\nmodel name\t: Another",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance",
    }
    found = device(sysfs(tmp_path, files))
    assert found.name.startswith("A CPU, ")
    assert found.facts["features"] == "avx2, avx512_vnni"
    assert found.facts["governor"] == "performance"
    assert "governor" not in device(tmp_path / "nowhere").facts
