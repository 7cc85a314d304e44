"""Artifacts made in processes side by side: the same bytes, and a crash that costs one artifact."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes import FakeBackend, fake_target
from graphs import TWO_LAYERS, make_spec, random_model
from test_preprocess import picture

from exporter.checkpoints import save_checkpoint
from exporter.events import ArtifactChecked, Event, Finished, StageStarted, TargetFailed
from exporter.pipeline import BuildRequest, build
from exporter.request import Request
from exporter.spec import PaddingStyle, Precision
from exporter.target import Target
from exporter.worker_process import Sent
from exporter.workers import Workers, default_workers
from targets import TargetName, get

TESTS = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Dying(FakeBackend):
    """Ends the process that emits it, unless that is the one that was started for it."""

    parent: int = 0
    at: str = "emit"
    flag: Path = Path()

    def emit(self, graph, precision, options, path):  # type: ignore[no-untyped-def]
        if os.getpid() != self.parent and (path.stem == "tiny") == (self.at == "preparation"):
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().emit(graph, precision, options, path)


@dataclasses.dataclass(frozen=True)
class Patient(FakeBackend):
    """Keeps its process busy until there is a file."""

    flag: Path = Path()

    def emit(self, graph, precision, options, path):  # type: ignore[no-untyped-def]
        deadline = time.monotonic() + 120
        while path.stem != "tiny" and not self.flag.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        return super().emit(graph, precision, options, path)


def dying(name: str, at: str, flag: Path) -> Target:
    backend = Dying(parent=os.getpid(), at=at, flag=flag)
    return dataclasses.replace(fake_target(name), backend=backend)


def patient(name: str, flag: Path) -> Target:
    return dataclasses.replace(fake_target(name), backend=Patient(flag=flag))


@pytest.fixture(scope="module")
def request_(tmp_path_factory) -> Request:
    folder = tmp_path_factory.mktemp("inputs")
    spec = make_spec(0.35, 64, PaddingStyle.SAME, TWO_LAYERS)
    save_checkpoint(folder / "mine.safetensors", spec, random_model(spec).state_dict())
    (folder / "photos").mkdir()
    for index in range(3):
        picture(200 + 40 * index, 150).save(folder / "photos" / f"{index}.png")
    return Request(
        checkpoint=folder / "mine.safetensors",
        calibration=(folder / "photos",),
        calibration_count=16,
    )


def run(request: Request, out: Path, workers: int, *targets: Target) -> list[Event]:
    jobs = tuple((target, Precision.INT8) for target in targets)
    return list(build(BuildRequest(request=request, jobs=jobs, out=out, workers=workers)))


def contents(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def told(events: list[Event]) -> list[str]:
    """What happened, without how long it took."""
    found = []
    for event in events:
        if isinstance(event, StageStarted):
            found.append(event.stage)
        elif isinstance(event, ArtifactChecked):
            found.append(f"checked {event.record.path}")
        elif isinstance(event, TargetFailed):
            found.append(f"failed {event.failure.target}")
    return found


def test_workers_write_what_one_process_writes(request_: Request, tmp_path: Path) -> None:
    """Real targets and fakes, in the order of the jobs, whoever was done first; failures too."""
    targets = [
        get(TargetName.ONNX),
        fake_target("one"),
        fake_target("bad", fails=True),
        get(TargetName.LITERT),
        fake_target("two"),
    ]
    alone = run(request_, tmp_path / "alone", 1, *targets)
    together = run(request_, tmp_path / "together", 3, *targets)
    assert contents(tmp_path / "alone") == contents(tmp_path / "together")
    assert told(alone) == told(together)
    failed = [[e for e in events if isinstance(e, TargetFailed)] for events in (alone, together)]
    assert failed[0] == failed[1]


def test_a_crash_costs_its_own_artifact(request_: Request, tmp_path: Path) -> None:
    """The process is gone without a word; a new one goes on where it was."""
    flag = tmp_path / "flag"
    targets = [dying("dies", "emit", flag), patient("b", flag), fake_target("c"), fake_target("d")]
    events = run(request_, tmp_path / "b", 2, *targets)
    failures = [e for e in events if isinstance(e, TargetFailed)]
    assert [f.failure.error for f in failures] == ["its process died (SIGSEGV)"]
    assert "--jobs 1" in failures[0].hint
    assert isinstance(events[-1], Finished)
    assert [a.target for a in events[-1].manifest.artifacts] == ["b", "c", "d"]
    assert not list((tmp_path / "b").glob("*.dies"))


@pytest.mark.slow
def test_a_crash_of_the_preparation_costs_nothing(request_: Request, tmp_path: Path) -> None:
    """What was only loaded early must not lose an artifact that can be made."""
    flag = tmp_path / "flag"
    targets = [dying("dies", "preparation", flag), patient("b", flag)]
    events = run(request_, tmp_path / "b", 2, *targets)
    assert flag.exists()
    assert not [e for e in events if isinstance(e, TargetFailed)]
    assert (tmp_path / "b" / "model-int8.dies").exists()


@pytest.mark.slow
def test_a_bug_in_a_worker_has_its_traceback(request_: Request, tmp_path: Path) -> None:
    events = run(request_, tmp_path / "b", 2, fake_target("bug", crashes=True), fake_target("b"))
    (failed,) = [e for e in events if isinstance(e, TargetFailed)]
    assert failed.failure.error == "ZeroDivisionError: out of cheese"
    assert "fakes.py" in failed.trace


def test_leaving_early_ends_the_processes(request_: Request, tmp_path: Path) -> None:
    jobs = tuple((fake_target(name), Precision.INT8) for name in "abc")
    options = BuildRequest(request=request_, jobs=jobs).options
    with Workers(3, jobs, options, (0, 1, 2), tmp_path) as workers:
        deadline = time.monotonic() + 30
        while len(workers.processes) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(workers.processes) == 2
    assert not any(process.is_alive() for process in workers.processes)


def test_a_target_travels_by_the_name_of_its_module() -> None:
    target = get(TargetName.ONNX)
    sent = Sent.of(target)
    assert sent.backend == "targets.onnx"
    assert sent.target() == target


def test_a_process_keeps_its_pages_from_the_start(tmp_path: Path) -> None:
    """Before there are other threads, and before torch is there to start some."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "import exporter.worker_process as process\n"
        "seen = []\n"
        "process.keep_pages = lambda: seen.append('torch' in sys.modules)\n"
        "process.begin_process(Path(sys.argv[1]))\n"
        "print(seen)\n"  # which goes where errors go: the parent's output is its own
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr.strip()) == ("", "[False]")


def test_the_default_leaves_two_cores_to_threads(monkeypatch) -> None:
    for count in (1, 2, 3):
        monkeypatch.setattr(
            os, "sched_getaffinity", lambda _, n=count: set(range(n)), raising=False
        )
        assert default_workers() == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert default_workers() == 2


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="interrupts as terminals send them")
def test_an_interrupt_ends_all_and_leaves_nothing(tmp_path: Path) -> None:
    """Nothing in the directory, nothing in the temporary one, no process."""
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, "-m", "exporter", "build", "--jobs", "2", "--cache"]
    command += ["--out", str(tmp_path / "out" / "b")]
    environment = {
        **os.environ,
        "TMPDIR": str(tmp_path / "tmp"),
        "MNV2_EXPORT_CACHE": str(tmp_path / "cache"),
    }
    with subprocess.Popen(
        command,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=tmp_path,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("quantize"):
                break
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does: to all of them
        rest = process.stderr.read()
    assert process.returncode == 130
    assert "interrupted: nothing was written" in rest
    assert "Traceback" not in rest
    assert not list((tmp_path / "out").iterdir())
    left = [path.name for path in (tmp_path / "tmp").iterdir() if path.is_dir()]
    assert not [name for name in left if name.startswith(("mnv2-export-", "tmp"))]
    deadline = time.monotonic() + 30  # Python's own helper process ends a moment later
    while alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(process.pid)


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
