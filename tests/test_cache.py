"""The cache: what a key depends on, what damage does, and that a warm build is the cold one."""

from __future__ import annotations

import ast
import dataclasses
import errno
import io
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import invoke
from fakes import FakeBackend, fake_target

from exporter.cache import keys, limits, sources
from exporter.cache.builds import ARTIFACT, BUILD, NOTE_START, REFERENCE, NotCachedError
from exporter.cache.store import LAYOUT, VARIABLE, Outcome, Store, default_root
from exporter.checkpoints import Overrides
from exporter.errors import ArtifactError
from exporter.events import Event, Finished, Note, StageStarted
from exporter.manifest import read_manifest
from exporter.outputs import NmsMode, Outputs
from exporter.pipeline import BuildRequest, build
from exporter.quantize.settings import QatSettings
from exporter.request import Request
from exporter.spec import Precision, keras_preprocess
from exporter.target import ExportOptions, IoType, Lowering, Target
from exporter.tasks import Task
from targets import TargetName, get

INT8, FP32 = Precision.INT8, Precision.FP32
ROOT = Path(__file__).parents[1]
DAY = 86400.0


# ---------------------------------------------------------------- the store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(root=tmp_path / "cache")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"a" * 100)
    (folder / "inner" / "b.bin").write_bytes(b"b" * 200)
    return folder


def test_what_is_kept_comes_back(store: Store, files: Path, tmp_path: Path) -> None:
    sums = store.keep("kind", "key", files, "a thing")
    found = store.fetch("kind", "key", tmp_path / "out")
    assert found.outcome is Outcome.FOUND
    assert found.sums == sums
    assert (tmp_path / "out" / "inner" / "b.bin").read_bytes() == b"b" * 200
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"a.bin", "inner"}
    assert [(e.kind, e.what) for e in store.entries()] == [("kind", "a thing")]


def test_what_was_never_kept_is_absent(store: Store, tmp_path: Path) -> None:
    assert store.fetch("kind", "key", tmp_path / "out").outcome is Outcome.ABSENT
    assert not (tmp_path / "out").exists()
    assert store.entries() == ()


def damages(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        yield from ((name, how) for how in ("flipped", "cut", "missing", "longer"))


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "longer":
        path.write_bytes(data + b"\0")
    else:
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])


def test_damage_anywhere_is_found_and_removed(store: Store, files: Path, tmp_path: Path) -> None:
    """Every file of an entry, the list of hashes among them; nothing of it is handed out."""
    store.keep("kind", "key", files, "a thing")
    folder = store.folder("kind", "key")
    cases = list(damages(folder))
    assert len(cases) == 4 * 4
    for name, how in cases:
        damage(folder / name, how)
        assert store.fetch("kind", "key", tmp_path / "out").outcome is Outcome.DAMAGED, (name, how)
        assert not folder.exists()
        assert not (tmp_path / "out").exists()
        store.keep("kind", "key", files, "a thing")
    assert store.fetch("kind", "key", tmp_path / "out").outcome is Outcome.FOUND


def test_verify_removes_the_damaged_and_no_other(store: Store, files: Path) -> None:
    for key in ("good", "bad"):
        store.keep("kind", key, files, key)
    damage(store.folder("kind", "bad") / "a.bin", "flipped")
    assert [entry.key for entry in store.damaged()] == ["bad"]
    assert [entry.key for entry in store.entries()] == ["good"]


def test_a_list_that_names_other_places_is_damage(store: Store, files: Path, tmp_path) -> None:
    store.keep("kind", "key", files, "a thing")
    listed = store.folder("kind", "key") / "checksums.json"
    data = json.loads(listed.read_text())
    listed.write_text(json.dumps({**data, "../../secret": data["a.bin"]}))
    assert store.fetch("kind", "key", tmp_path / "out").outcome is Outcome.DAMAGED


def aged(store: Store, key: str, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(store.folder("kind", key), (then, then))


def test_pruning_by_age_and_by_size_takes_what_was_unused_longest(store: Store, files) -> None:
    for key, days in (("old", 40), ("older", 50), ("new", 1), ("now", 0)):
        store.keep("kind", key, files, key)
        aged(store, key, days)
    removed = store.prune(older_than_seconds=45 * DAY)
    assert [entry.key for entry in removed] == ["older"]
    size = store.entries()[0].size_bytes
    assert [entry.key for entry in store.prune(max_bytes=2 * size)] == ["old"]
    assert [entry.key for entry in store.entries()] == ["new", "now"]


def test_use_counts_as_new(store: Store, files: Path, tmp_path: Path) -> None:
    for key in ("used", "unused"):
        store.keep("kind", key, files, key)
        aged(store, key, 40)
    store.fetch("kind", "used", tmp_path / "out")
    assert [entry.key for entry in store.prune(older_than_seconds=30 * DAY)] == ["unused"]


def test_a_reader_whose_entry_is_pruned_meanwhile_finds_nothing(
    store: Store, files: Path, tmp_path: Path, monkeypatch
) -> None:
    """Absent, not damaged: it builds, and nobody is told of a broken disk."""
    import exporter.cache.copies as module

    store.keep("kind", "key", files, "a thing")
    copy, copied = module.copy, []

    def interrupted(source: Path, target: Path) -> str:
        if copied:
            store.clear()
        copied.append(source)
        return copy(source, target)

    monkeypatch.setattr(module, "copy", interrupted)
    assert store.fetch("kind", "key", tmp_path / "out").outcome is Outcome.ABSENT
    assert not (tmp_path / "out").exists()


def test_an_entry_that_is_exchanged_while_it_is_read_is_read_again(
    store: Store, files: Path, tmp_path: Path, monkeypatch
) -> None:
    """Pruned by one process and kept anew by another, on another day, it is no damage."""
    import exporter.cache.copies as module

    store.keep("kind", "key", files, "a thing")
    copy, copied = module.copy, []

    def exchanged(source: Path, target: Path) -> str:
        if len(copied) == 1:
            copied.append(source)
            store.clear()
            store.keep("kind", "key", files, "made on another day")
        copied.append(source)
        return copy(source, target)

    monkeypatch.setattr(module, "copy", exchanged)
    assert store.fetch("kind", "key", tmp_path / "out").outcome is Outcome.FOUND
    assert (tmp_path / "out" / "a.bin").read_bytes() == b"a" * 100
    assert len(store.entries()) == 1


def test_pruning_sweeps_out_what_a_killed_process_left(store: Store, files: Path) -> None:
    store.keep("kind", "key", files, "a thing")
    abandoned, fresh = (store.base / "unfinished" / name for name in ("abandoned", "fresh"))
    for folder in (abandoned, fresh):
        folder.mkdir()
    os.utime(abandoned, (time.time() - 2 * DAY,) * 2)
    store.prune(max_bytes=10**9)
    assert not abandoned.exists()
    assert fresh.exists()
    assert len(store.entries()) == 1


def keep_many(root: Path, files: Path, turns: int) -> None:
    store = Store(root=root)
    for turn in range(turns):
        store.keep("kind", f"key{turn % 5}", files, "a thing")


def test_writers_readers_and_pruning_at_once(store: Store, files: Path, tmp_path: Path) -> None:
    """What a reader gets is whole, whoever writes and prunes meanwhile."""
    context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
    writers = [context.Process(target=keep_many, args=(store.root, files, 60)) for _ in range(2)]
    for writer in writers:
        writer.start()
    outcomes = set()
    for turn in range(60):
        found = store.fetch("kind", f"key{turn % 5}", tmp_path / f"out{turn}")
        outcomes.add(found.outcome)
        if found.outcome is Outcome.FOUND:
            assert (tmp_path / f"out{turn}" / "a.bin").read_bytes() == b"a" * 100
        if turn % 10 == 0:
            store.prune(max_bytes=1)
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert Outcome.DAMAGED not in outcomes
    keep_many(store.root, files, 5)
    assert store.damaged() == ()
    assert len(store.entries()) == 5


def test_where_the_cache_is(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "mine"))
    assert default_root() == tmp_path / "mine"
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_root() == tmp_path / "xdg" / "mnv2-export"
    monkeypatch.setattr("sys.platform", "darwin")
    assert default_root().parts[-3:] == ("Library", "Caches", "mnv2-export")


def test_without_a_home_directory_there_is_a_cure(monkeypatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in (VARIABLE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    result = invoke("cache")
    assert result.exit_code == 5
    assert f"set {VARIABLE} to a directory" in result.stderr
    assert "Traceback" not in result.output


def test_a_relative_directory_of_caches_is_none(monkeypatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    assert default_root() == Path.home() / ".cache" / "mnv2-export"


def test_a_full_disk_of_the_reader_costs_no_entry(store, files, tmp_path, monkeypatch) -> None:
    """It is the copy that cannot be written; the entry is as good as ever."""
    import exporter.cache.copies as module

    class Full(io.FileIO):
        def write(self, data):  # type: ignore[no-untyped-def]
            raise OSError(errno.ENOSPC, "No space left on device")

    store.keep("kind", "key", files, "a thing")
    with monkeypatch.context() as patch:
        patch.setattr(module, "_opened", lambda target: Full(target, "w"))
        with pytest.raises(OSError, match="No space left"):
            store.fetch("kind", "key", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert store.fetch("kind", "key", tmp_path / "out").outcome is Outcome.FOUND


def test_a_short_write_is_continued(store, files, tmp_path, monkeypatch) -> None:
    import exporter.cache.copies as module

    class Slow(io.FileIO):
        def write(self, data):  # type: ignore[no-untyped-def]
            return super().write(data[:7])

    store.keep("kind", "key", files, "a thing")
    monkeypatch.setattr(module, "_opened", lambda target: Slow(target, "w"))
    assert store.fetch("kind", "key", tmp_path / "out").outcome is Outcome.FOUND
    assert (tmp_path / "out" / "a.bin").read_bytes() == b"a" * 100


def test_what_may_not_be_read_is_absent_and_stays(store, files, tmp_path, monkeypatch) -> None:
    import exporter.cache.store as module

    def forbidden(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    store.keep("kind", "key", files, "a thing")
    with monkeypatch.context() as patch:
        patch.setattr(module, "copied", forbidden)
        assert store.fetch("kind", "key", tmp_path / "out").outcome is Outcome.ABSENT
    assert store.fetch("kind", "key", tmp_path / "out").outcome is Outcome.FOUND


def test_an_entry_is_readable_to_whom_the_umask_allows(store: Store, files: Path) -> None:
    before = os.umask(0o022)
    try:
        store.keep("kind", "key", files, "a thing")
    finally:
        os.umask(before)
    assert store.folder("kind", "key").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("call", ["clear", "damaged", "prune"])
def test_what_cannot_be_removed_is_not_said_to_be(store, files, monkeypatch, call) -> None:
    def read_only(*_: object) -> None:
        raise PermissionError(errno.EROFS, "Read-only file system")

    store.keep("kind", "key", files, "a thing")
    damage(store.folder("kind", "key") / "a.bin", "cut")
    monkeypatch.setattr(Path, "rename", read_only)
    with pytest.raises(ArtifactError, match="entries cannot be removed"):
        getattr(store, call)(**({"max_bytes": 0} if call == "prune" else {}))
    assert len(store.entries()) == 1


@pytest.mark.parametrize(
    ("text", "size"), [("", 5 * 10**9), ("1.5GB", 15 * 10**8), ("none", None), ("0B", 0)]
)
def test_the_limit_can_be_stated(monkeypatch, text: str, size: int | None) -> None:
    monkeypatch.setenv(limits.VARIABLE, text)
    assert limits.stated() == size


# ---------------------------------------------------------------- sources and keys


def parsed(path: Path) -> set[str]:
    """What a file imports, read by Python's own parser."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_no_import_of_ours_is_overlooked() -> None:
    """The pattern may see more than there is, never less."""
    paths = [p for folder in sources.PACKAGES for p in (ROOT / folder).rglob("*.py")]
    assert len(paths) > 100
    for path in paths:
        assert parsed(path) <= set(sources.imported(path)), path


def test_a_target_depends_on_its_own_modules_only() -> None:
    onnx, ios = (set(sources.files(f"targets.{name}")) for name in ("onnx", "ios"))
    assert "targets.onnx_writer" in onnx - ios
    assert "targets.mil.integers" in ios - onnx
    assert {"exporter.target", "exporter.graph"} <= onnx & ios
    assert "exporter.ui.tables" not in onnx


def test_the_reference_depends_on_the_demo_and_not_on_what_is_shown() -> None:
    found = set(sources.files(*keys.REFERENCE_CODE))
    assert {"exporter.quantize.ranges", "exporter.golden", "exporter.demo.scenes"} <= found
    assert any(name.endswith(".safetensors") for name in found)
    assert not [n for n in found if n.startswith(("exporter.ui", "exporter.report", "targets"))]
    assert not [n for n in found if n.endswith("_commands")]


def test_an_edit_changes_the_digest(tmp_path: Path, monkeypatch) -> None:
    for package in sources.PACKAGES:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    monkeypatch.setattr(sources, "_folder", lambda package: tmp_path / package)

    def digest(name: str) -> str:
        return sources.digest_of(sources.files(name))

    before = {name: digest(f"targets.{name}") for name in ("onnx", "ios")}
    with (tmp_path / "targets" / "onnx_writer.py").open("a") as file:
        file.write("# an edit\n")
    assert digest("targets.onnx") != before["onnx"]
    assert digest("targets.ios") == before["ios"]


def request_of(checkpoint: Path | None, photos: Path, **changes: object) -> Request:
    own = {"checkpoint": checkpoint, "calibration": (photos,), "calibration_count": 16, **changes}
    return Request(**own)  # type: ignore[arg-type]


def test_each_ingredient_changes_the_reference_key(checkpoint, photos, tmp_path) -> None:
    other = tmp_path / "other.safetensors"
    data = checkpoint.read_bytes()
    other.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    same_name = tmp_path / "same" / checkpoint.name
    same_name.parent.mkdir()
    same_name.write_bytes(other.read_bytes())
    renamed = shutil.copyfile(checkpoint, tmp_path / "renamed.safetensors")
    fewer = shutil.copytree(photos, tmp_path / "fewer")
    (fewer / "2.png").unlink()
    requests = [
        request_of(checkpoint, photos),
        request_of(other, photos),
        request_of(same_name, photos),
        request_of(renamed, photos),  # the manifest names the file
        request_of(checkpoint, fewer),
        request_of(checkpoint, photos, calibration_count=17),
        request_of(checkpoint, photos, calibration=()),
        request_of(checkpoint, photos, overrides=Overrides(resolution=96)),
        request_of(checkpoint, photos, overrides=Overrides(labels=("a",))),
        request_of(checkpoint, photos, overrides=Overrides(preprocess=keras_preprocess)),
        request_of(checkpoint, photos, overrides=Overrides(preprocess=keras_preprocess(64))),
        request_of(checkpoint, photos, qat=QatSettings()),
        request_of(checkpoint, photos, outputs=Outputs.RAW),
        request_of(checkpoint, photos, nms=NmsMode.GRAPH),
        request_of(None, photos),
        request_of(None, photos, demo=Task.DETECTION),
    ]
    found = [keys.reference_key(request, needs_int8=True) for request in requests]
    found.append(keys.reference_key(requests[0], needs_int8=False))
    assert len(set(found)) == len(found)


def test_nothing_else_changes_the_reference_key(checkpoint, photos, tmp_path, monkeypatch) -> None:
    """Not the directories, not the times, not the demo where there is a checkpoint."""
    before = keys.reference_key(request_of(checkpoint, photos), needs_int8=True)
    moved = tmp_path / "elsewhere" / checkpoint.name
    moved.parent.mkdir()
    shutil.copyfile(checkpoint, moved)
    copied = Path(shutil.copytree(photos, tmp_path / "photos"))
    os.utime(moved, (0, 0))
    monkeypatch.chdir(tmp_path)
    request = request_of(moved, copied, demo=Task.DETECTION)
    assert keys.reference_key(request, needs_int8=True) == before


def test_each_ingredient_changes_an_artifact_key(monkeypatch) -> None:
    litert, onnx = get(TargetName.LITERT), get(TargetName.ONNX)
    evidence = {"model-int8.graph": "a"}
    found = [
        keys.artifact_key(litert, INT8, ExportOptions(), evidence),
        keys.artifact_key(onnx, INT8, ExportOptions(), evidence),
        keys.artifact_key(litert, FP32, ExportOptions(), evidence),
        keys.artifact_key(litert, INT8, ExportOptions(io=IoType.INT8), evidence),
        keys.artifact_key(litert, INT8, ExportOptions(), {"model-int8.graph": "b"}),
    ]
    tools = {**keys.tools(), "onnx": "0.0.0"}
    monkeypatch.setattr(keys, "tools", lambda: tools)
    found.append(keys.artifact_key(litert, INT8, ExportOptions(), evidence))
    assert len(set(found)) == len(found)


def test_the_processors_instructions_change_every_key(tmp_path: Path, monkeypatch) -> None:
    """Kernels are chosen by them; what the kernel knows of the processor's bugs is no matter."""
    listed = tmp_path / "cpuinfo"
    found = []
    for flags in ("fpu avx2 fma ibrs", "fma avx2 fpu", "fpu avx2 fma avx512_vnni"):
        listed.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
        found.append(keys.instructions(listed))
    assert found == ["avx2 fma", "avx2 fma", "avx2 avx512_vnni fma"]
    assert keys.tools()["instructions"] == keys.instructions()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert keys.tools.__wrapped__() != keys.tools()


def test_an_edit_after_the_digest_is_seen(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "__init__.py").write_text("")
    path = tmp_path / "targets" / "mine.py"
    path.write_text("x = 1\n")
    monkeypatch.setattr(sources, "_folder", lambda package: tmp_path / package)
    monkeypatch.setattr(sources, "_digests", {})
    monkeypatch.setattr(sources, "_read", {})
    first = sources.digest("targets.mine")
    assert sources.unchanged()
    path.write_text("x = 22\n")
    assert not sources.unchanged()
    assert sources.digest("targets.mine") == first
    path.unlink()
    assert not sources.unchanged()


def test_another_targets_option_changes_nothing() -> None:
    litert = get(TargetName.LITERT)
    options = ExportOptions(lowering=Lowering.STOCK, batch=4)
    assert keys.artifact_key(litert, INT8, options, {}) == keys.artifact_key(
        litert, INT8, ExportOptions(), {}
    )


def test_every_option_is_some_targets_own() -> None:
    """One that no target owned would be in no key."""
    owned = {name for target in TargetName for name in keys.own_options(target)}
    assert owned == {field.name for field in dataclasses.fields(ExportOptions)}


def test_what_has_no_lasting_name_has_no_key() -> None:
    with pytest.raises(TypeError, match="cannot be part of a key"):
        keys.plain(Overrides(preprocess=lambda side: keras_preprocess(side)))


# ---------------------------------------------------------------- builds

EMITTED: list[str] = []


@dataclasses.dataclass(frozen=True)
class Counting(FakeBackend):
    """Says what it was asked to write; `version` stands for its source."""

    name: str = ""
    version: int = 0

    def emit(self, graph, precision, options, path):  # type: ignore[no-untyped-def]
        EMITTED.append(self.name)
        return super().emit(graph, precision, options, path)


def counting(name: str, version: int = 0, **faults: object) -> Target:
    target = fake_target(name)
    backend = Counting(name=name, version=version, **faults)  # type: ignore[arg-type]
    return dataclasses.replace(target, backend=backend)


def run(
    checkpoint: Path, photos: Path, out: Path, store: Store | None, *targets: Target, **more: object
) -> list[Event]:
    EMITTED.clear()
    build_request = BuildRequest(
        request=request_of(checkpoint, photos),
        jobs=tuple((target, INT8) for target in targets),
        out=out,
        cache=store,
        **more,  # type: ignore[arg-type]
    )
    return list(build(build_request))


@pytest.fixture(scope="module")
def warm(checkpoint, photos, tmp_path_factory) -> Path:
    """A cache that has seen two targets."""
    folder = tmp_path_factory.mktemp("warm")
    store = Store(root=folder / "cache")
    run(checkpoint, photos, folder / "build", store, counting("one"), counting("two"))
    return folder


@pytest.fixture
def copy(warm: Path, tmp_path: Path) -> Store:
    return Store(root=Path(shutil.copytree(warm / "cache", tmp_path / "cache")))


def notes(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Note)]


def contents(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def without_cache_notes(data: bytes) -> dict[str, object]:
    manifest: dict[str, object] = json.loads(data)
    for artifact in manifest["artifacts"]:  # type: ignore[attr-defined]
        kept = [note for note in artifact["notes"] if not note.startswith("from the cache: ")]
        assert len(kept) == len(artifact["notes"]) - 1
        artifact["notes"] = kept
    return manifest


def test_a_warm_build_is_the_cold_one(warm, copy, checkpoint, photos, tmp_path) -> None:
    """Byte for byte, but for the note that says when the proof was made."""
    events = run(checkpoint, photos, tmp_path / "b", copy, counting("one"), counting("two"))
    assert EMITTED == []
    assert not [e for e in events if isinstance(e, StageStarted) and e.stage == "quantize"]
    cold, again = contents(warm / "build"), contents(tmp_path / "b")
    manifest, remade = cold.pop("manifest.json"), again.pop("manifest.json")
    assert cold == again
    assert json.loads(manifest) == without_cache_notes(remade)
    assert len([n for n in notes(events) if "from the cache: proved when it was made" in n]) == 2


def test_a_build_without_the_cache_makes_everything(warm, checkpoint, photos, tmp_path) -> None:
    events = run(checkpoint, photos, tmp_path / "b", None, counting("one"), counting("two"))
    assert EMITTED == ["one", "two"]
    assert contents(tmp_path / "b") == contents(warm / "build")
    assert not any("cache" in note for note in notes(events))


def test_one_targets_change_makes_that_one_again(copy, checkpoint, photos, tmp_path) -> None:
    run(checkpoint, photos, tmp_path / "b", copy, counting("one"), counting("two", version=1))
    assert EMITTED == ["two"]
    run(checkpoint, photos, tmp_path / "b", copy, counting("one"), counting("two", version=1))
    assert EMITTED == []


def test_a_real_option_makes_its_artifact_again(copy, checkpoint, photos, tmp_path) -> None:
    real = [get(TargetName.LITERT), get(TargetName.ONNX)]
    run(checkpoint, photos, tmp_path / "a", copy, *real)
    events = run(
        checkpoint, photos, tmp_path / "b", copy, *real, options=ExportOptions(io=IoType.INT8)
    )
    cached = [note for note in notes(events) if "from the cache" in note]
    assert len(cached) == 1
    assert cached[0].startswith("model-int8.onnx: ")
    a, b = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert a["model-int8.onnx"] == b["model-int8.onnx"]
    assert a["model-int8.tflite"] != b["model-int8.tflite"]


def test_the_order_of_targets_does_not_matter(copy, checkpoint, photos, tmp_path) -> None:
    run(checkpoint, photos, tmp_path / "b", copy, counting("two"), counting("one"))
    assert EMITTED == []


@pytest.mark.parametrize("kind", [REFERENCE, ARTIFACT, BUILD])
def test_a_damaged_entry_is_made_again(kind, copy, checkpoint, photos, tmp_path, warm) -> None:
    for entry in copy.entries():
        if entry.kind == kind:
            biggest = max(entry.path.rglob("*.*"), key=lambda p: p.stat().st_size)
            damage(biggest, "flipped")
    events = run(checkpoint, photos, tmp_path / "b", copy, counting("one"), counting("two"))
    assert any(f"the cache's {kind} " in n and "was damaged" in n for n in notes(events))
    again = ["one", "two"] if kind == ARTIFACT else []
    assert again == EMITTED
    assert contents(tmp_path / "b").keys() == contents(warm / "build").keys()
    events = run(checkpoint, photos, tmp_path / "b", copy, counting("one"), counting("two"))
    assert not any("damaged" in note for note in notes(events))
    assert EMITTED == []


def test_only_what_was_proved_the_same_is_kept(copy, checkpoint, photos, tmp_path) -> None:
    drifted = counting("three", error=1.0)
    silent = counting("four", cannot_run=True)
    for _ in range(2):
        run(checkpoint, photos, tmp_path / "b", copy, counting("one"), drifted, silent)
        assert EMITTED == ["three", "four"]


def test_a_failed_target_is_not_kept(copy, checkpoint, photos, tmp_path) -> None:
    for _ in range(2):
        events = run(
            checkpoint, photos, tmp_path / "b", copy, counting("one"), counting("x", 0, fails=True)
        )
        assert EMITTED == ["x"]
        assert isinstance(events[-1], Finished)
        assert len(events[-1].manifest.failures) == 1


def test_only_cached_makes_nothing(copy, checkpoint, photos, tmp_path) -> None:
    targets = (counting("one"), counting("two"))
    run(checkpoint, photos, tmp_path / "b", copy, *targets, only_cached=True)
    with pytest.raises(NotCachedError):
        run(checkpoint, photos, tmp_path / "c", copy, *targets, counting("new"), only_cached=True)
    assert EMITTED == []
    assert not (tmp_path / "c").exists()


def test_a_cache_that_cannot_be_written_is_a_note(checkpoint, photos, tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = Store(root=tmp_path / "file")
    events = run(checkpoint, photos, tmp_path / "b", store, counting("one"))
    assert isinstance(events[-1], Finished)
    assert [n for n in notes(events) if "nothing is kept" in n] == [
        f"{tmp_path / 'file'}: nothing is kept (Not a directory)"
    ]


def test_nothing_is_kept_of_a_source_that_was_edited(
    checkpoint, photos, tmp_path, monkeypatch
) -> None:
    """What was loaded late may be the edited one: no key says which."""
    store = Store(root=tmp_path / "cache")
    monkeypatch.setattr(sources, "unchanged", lambda: False)
    events = run(checkpoint, photos, tmp_path / "b", store, counting("one"))
    assert any("our own source was edited meanwhile" in note for note in notes(events))
    assert store.entries() == ()


def test_nothing_is_kept_of_a_checkpoint_that_was_replaced_meanwhile(
    checkpoint, photos, tmp_path
) -> None:
    """Hashed before it was read: the key would be another checkpoint's."""
    own = shutil.copyfile(checkpoint, tmp_path / "own.safetensors")
    store = Store(root=tmp_path / "cache")
    build_request = BuildRequest(
        request=request_of(own, photos), jobs=((counting("one"), INT8),), out=tmp_path / "b"
    )
    for event in build(dataclasses.replace(build_request, cache=store)):
        if isinstance(event, StageStarted) and event.stage == "quantize":
            own.write_bytes(own.read_bytes() + b" ")
    assert store.entries() == ()


def test_a_build_cuts_the_cache_back_and_says_so(
    copy, checkpoint, photos, tmp_path, monkeypatch
) -> None:
    for entry in copy.entries():
        os.utime(entry.path, (0, 0))
    monkeypatch.setenv(limits.VARIABLE, "1B")
    events = run(checkpoint, photos, tmp_path / "b", copy, counting("new"))
    assert any(f"over {limits.VARIABLE}" in note for note in notes(events))
    assert copy.entries() == ()
    monkeypatch.setenv(limits.VARIABLE, "much")
    events = run(checkpoint, photos, tmp_path / "c", copy, counting("new"))
    assert any("MNV2_EXPORT_CACHE_SIZE=much: no size" in note for note in notes(events))
    assert len(copy.entries()) == 3


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_is_one_line(checkpoint, photos, tmp_path, monkeypatch, code) -> None:
    import exporter.building as module

    def full(*_: object) -> None:
        raise OSError(code, os.strerror(code), str(tmp_path / "b"))

    monkeypatch.setattr(module, "_copy_beside", full)
    with pytest.raises(ArtifactError, match="cannot be written") as caught:
        run(checkpoint, photos, tmp_path / "b", None, counting("one"))
    assert "make room" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def build_once(checkpoint: Path, photos: Path, out: Path, root: Path) -> None:
    run(checkpoint, photos, out, Store(root=root), counting("one"), counting("two"))


@pytest.mark.slow
def test_two_builds_at_once_share_a_cache(checkpoint, photos, tmp_path, warm) -> None:
    context = multiprocessing.get_context("spawn")
    root = tmp_path / "cache"
    builds = [
        context.Process(target=build_once, args=(checkpoint, photos, tmp_path / name, root))
        for name in ("a", "b")
    ]
    for process in builds:
        process.start()
    for process in builds:
        process.join()
        assert process.exitcode == 0
    assert contents(tmp_path / "a").keys() == contents(tmp_path / "b").keys()
    store = Store(root=root)
    assert store.damaged() == ()
    assert sorted(entry.kind for entry in store.entries()) == [ARTIFACT, ARTIFACT, BUILD, REFERENCE]
    run(checkpoint, photos, tmp_path / "c", store, counting("one"), counting("two"))
    assert EMITTED == []


def test_verify_proves_what_came_from_the_cache(copy, checkpoint, photos, tmp_path) -> None:
    from exporter.verify import verify

    target = counting("one")
    run(checkpoint, photos, tmp_path / "b", copy, target)
    *_, last = verify(tmp_path / "b", {"one": target})
    assert isinstance(last, Finished)
    assert not last.manifest.drifted
    kept = [a.notes for a in read_manifest(tmp_path / "b").artifacts]
    assert all(any(NOTE_START in note for note in own) for own in kept)
    assert not any(NOTE_START in note for a in last.manifest.artifacts for note in a.notes)


# ---------------------------------------------------------------- the command


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch, files: Path) -> Store:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    store = Store()
    store.keep("artifact", "a" * 64, files, "model-int8.pte of demo")
    store.keep("reference", "b" * 64, files, "graphs of demo")
    return store


def test_the_command_shows_what_there_is(own_cache: Store) -> None:
    result = invoke("cache")
    assert result.exit_code == 0, result.output
    assert str(own_cache.root) in result.stdout.replace("\n", "")
    assert "2 entries" in result.stdout
    assert "artifact" in result.stdout
    data = json.loads(invoke("cache", "--json").stdout)
    assert {entry["what"] for entry in data["entries"]} == {
        "model-int8.pte of demo",
        "graphs of demo",
    }


def test_the_command_prunes_verifies_and_clears(own_cache: Store) -> None:
    damage(own_cache.folder("reference", "b" * 64) / "a.bin", "cut")
    data = json.loads(invoke("cache", "--verify", "--json").stdout)
    assert [entry["kind"] for entry in data["removed"]] == ["reference"]
    data = json.loads(invoke("cache", "--prune", "--older-than", "1h", "--json").stdout)
    assert data["removed"] == []
    data = json.loads(invoke("cache", "--prune", "--max-size", "0B", "--json").stdout)
    assert len(data["removed"]) == 1
    (own_cache.root / "mine.txt").write_text("not ours to remove")
    assert invoke("cache", "--clear").exit_code == 0
    assert [p.name for p in own_cache.root.iterdir()] == ["mine.txt"]
    assert not (own_cache.root / LAYOUT).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prune"], "--prune removes nothing by itself"),
        (["--prune", "--older-than", "3 moons"], "--older-than 3 moons: no age"),
        (["--prune", "--max-size", "1"], "--max-size 1: no size"),
        (["--older-than", "30d"], "say what --prune removes"),
        (["--clear", "--verify"], "three different things"),
    ],
)
def test_bad_input_is_one_line(own_cache: Store, arguments: list[str], message: str) -> None:
    result = invoke("cache", *arguments)
    assert result.exit_code == 5
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert len(own_cache.entries()) == 2


def test_no_build_is_an_artifact_error_as_ever(tmp_path: Path) -> None:
    """A cache does not make a foreign directory replaceable."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("mine")
    with pytest.raises(ArtifactError):
        run(tmp_path / "x", tmp_path, tmp_path / "b", Store(root=tmp_path / "c"), counting("one"))
