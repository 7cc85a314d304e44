"""Two builds side by side: matching, verdicts, the terminal, Markdown, JSON and exit codes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from compared import DRIFTED, build, latency, profiled
from conftest import DemoBuild, invoke

from exporter.comparison import latency as compare_latency
from exporter.comparison.request import CompareRequest, run
from exporter.devices import host
from exporter.errors import DeviceError
from exporter.files import sha256, size
from exporter.latency.records import Median, PairedLatency, Settings, read_profile
from exporter.manifest import read_manifest, write_manifest
from exporter.verdicts import Accuracy, Outcome, Quality

PTE, ONNX, PACKAGE = "model-int8.pte", "model-int8.onnx", "model-int8.mlpackage"


def told(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """The new .pte is larger, and less right."""
    worse = {
        PTE: {
            "accuracy": Accuracy(images=400, top1=0.72, top5=0.94),
            "quality": Quality(images=32, sqnr_db=29.5, top1_agreement=0.9, kl=0.01, max_abs=0.5),
        }
    }
    base = build(tmp_path / "base", {PTE: 1000, ONNX: 800})
    return base, build(tmp_path / "new", {PTE: 1100, ONNX: 800}, worse)


def request(two: tuple[Path, Path], **options: object) -> CompareRequest:
    base, new = two
    return CompareRequest(base=base, new=new, latency=False, **options)  # type: ignore[arg-type]


def quietly(text: str) -> None:
    del text


def test_artifacts_are_matched_by_name(two: tuple[Path, Path]) -> None:
    found = run(request(two), {}, quietly)
    assert [row.artifact for row in found.artifacts] == [PTE, ONNX]
    assert [row.size_ratio for row in found.artifacts] == [1.1, 1.0]
    assert found.changes == ()
    pte = found.artifacts[0]
    assert pte.base is not None
    assert pte.new is not None
    assert [side.accuracy[0].percent for side in (pte.base, pte.new)] == [75.0, 72.0]
    top1 = pte.new.accuracy[0]
    assert top1.low is not None
    assert top1.low < top1.percent < (top1.high or 0.0)  # Wilson's, of 400 images


def test_what_was_added_or_removed_is_told(tmp_path: Path) -> None:
    base = build(tmp_path / "base", {PTE: 10, ONNX: 20})
    new = build(tmp_path / "new", {PTE: 10, PACKAGE: 30})
    result = invoke("compare", base, new, "--no-latency", "--markdown", tmp_path / "c.md")
    assert result.exit_code == 0, result.output
    for text in (result.stdout, (tmp_path / "c.md").read_text()):
        assert f"{ONNX} (removed)" in told(text)
        assert f"{PACKAGE} (added)" in told(text)
        assert f"{PTE} (" not in told(text)


def test_another_model_is_told_and_still_compared(tmp_path: Path) -> None:
    base = build(tmp_path / "base", {PTE: 10})
    new = build(tmp_path / "new", {PTE: 20}, resolution=128)
    found = run(request((base, new)), {}, quietly)
    changed = {change.what: (change.base, change.new) for change in found.changes}
    assert changed["resolution"] == ("96 px", "128 px")
    assert found.artifacts[0].size_ratio == 2.0
    output = told(invoke("compare", base, new, "--no-latency").stdout)
    assert "differs in resolution: 96 px -> 128 px" in output


def test_another_resolution_is_run_in_turn(
    tmp_path: Path, measured: list[tuple[Path, Path]]
) -> None:
    base = build(tmp_path / "base", {PTE: 10})
    new = build(tmp_path / "new", {PTE: 20}, resolution=128)
    (row,) = run(CompareRequest(base=base, new=new), {}, quietly).artifacts
    assert measured == [(base / PTE, new / PTE)]
    assert [ratio.source for ratio in row.latency] == [compare_latency.IN_TURN]


def test_builds_without_a_name_in_common(tmp_path: Path) -> None:
    base, new = build(tmp_path / "base", {PTE: 10}), build(tmp_path / "new", {ONNX: 10})
    assert "share no artifact by name" in run(request((base, new)), {}, quietly).notes[0]


@pytest.mark.parametrize("damaged", [0, 1])
def test_files_are_proved_before_their_figures_are_believed(
    two: tuple[Path, Path], damaged: int
) -> None:
    (two[damaged] / PTE).write_bytes(b"something else")
    result = invoke("compare", *two, "--no-latency")
    assert result.exit_code == 9
    assert "not the bytes that were built" in result.stderr
    (two[damaged] / PTE).unlink()
    assert "missing" in invoke("compare", *two, "--no-latency").stderr


def test_a_build_is_not_compared_with_itself(two: tuple[Path, Path]) -> None:
    result = invoke("compare", two[0], two[0] / ".", "--no-latency")
    assert result.exit_code == 9
    assert "compared with itself" in result.stderr


def pair(ratio: Median, verdict: str = "stable") -> PairedLatency:
    return PairedLatency(
        a=latency(2.0),
        b=latency(2.0 * ratio.value),
        ratio=ratio,
        rounds=10,
        drift=0.0,
        stable=verdict == "stable",
        verdict=verdict,
    )


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Path]]:
    """Stands in for the runs in turn, which tests/test_profile_host.py has: 1.2 times as long."""
    seen: list[tuple[Path, Path]] = []

    def measure_pairs(
        pairs: Sequence[tuple[Path, Path]], settings: Settings, targets: object, tell: object
    ) -> tuple[PairedLatency, ...]:
        seen.extend(pairs)
        if any(path.name == ONNX for path in pairs[0]):
            raise DeviceError("fake: no such runtime")
        return tuple(pair(Median(value=1.2, low=1.15, high=1.25)) for _ in pairs)

    monkeypatch.setattr(host, "measure_pairs", measure_pairs)
    return seen


def test_equal_bytes_are_not_run(two: tuple[Path, Path], measured: list[tuple[Path, Path]]) -> None:
    found = run(dataclasses.replace(request(two), latency=True), {}, quietly)
    assert measured == [(two[0] / PTE, two[1] / PTE)]
    pte, onnx = found.artifacts
    assert [r.ratio.value for r in pte.latency] == [1.2]
    assert pte.new is not None
    assert [t.median_ms.value for t in pte.new.latency] == [2.4]
    assert [(r.source, r.ratio.value) for r in onnx.latency] == [(compare_latency.SAME_BYTES, 1.0)]


def test_times_of_equal_bytes_are_a_profiles(
    two: tuple[Path, Path], measured: list[tuple[Path, Path]]
) -> None:
    profiled(two[1], ONNX, latency(4.0))
    found = run(dataclasses.replace(request(two), latency=True), {}, quietly)
    new = found.artifacts[1].new
    assert new is not None
    assert [(t.device, t.median_ms.value) for t in new.latency] == [("host", 4.0)]


def test_what_does_not_run_here_leaves_the_others(
    tmp_path: Path, measured: list[tuple[Path, Path]]
) -> None:
    sizes = {PTE: 10, ONNX: 20, PACKAGE: 30}
    base = build(tmp_path / "base", sizes)
    new = build(tmp_path / "new", {name: n + 1 for name, n in sizes.items()})
    found = run(CompareRequest(base=base, new=new), {}, quietly)
    reasons = {row.artifact: row.unmeasured for row in found.artifacts}
    assert reasons == {PTE: "", ONNX: "fake: no such runtime", PACKAGE: "needs macOS"}
    assert found.artifacts[0].latency


def test_a_device_is_compared_by_its_saved_profiles(
    two: tuple[Path, Path], measured: list[tuple[Path, Path]]
) -> None:
    """Not paired, so the ratio is as unsure as both medians together; this machine's is not."""
    for folder, ms in zip(two, (10.0, 12.0), strict=True):
        profiled(folder, PTE, latency(ms, spread=0.1), device="Pixel 8")
        profiled(folder, PTE, latency(99.0))
    found = run(dataclasses.replace(request(two), latency=True), {}, quietly)
    rows = {r.device: (r.source, r.ratio) for r in found.artifacts[0].latency}
    assert rows["host"][0] == compare_latency.IN_TURN
    source, ratio = rows["Pixel 8"]
    assert source == compare_latency.PROFILES
    assert ratio.value == pytest.approx(1.2)
    assert (ratio.low, ratio.high) == (pytest.approx(10.8 / 11.0), pytest.approx(13.2 / 9.0))
    assert run(request(two), {}, quietly).artifacts[0].latency[1].ratio.value == 1.0  # saved ones


def test_an_unstable_profile_makes_an_unstable_ratio(two: tuple[Path, Path]) -> None:
    profiled(two[0], PTE, latency(10.0))
    profiled(two[1], PTE, latency(10.0, verdict="unstable: drifted"))
    (ratio,) = run(request(two), {}, quietly).artifacts[0].latency
    assert not ratio.stable
    assert ratio.verdict == "new unstable: drifted"


def test_profiles_of_other_settings_or_older_files_are_not_compared(two: tuple[Path, Path]) -> None:
    for folder in two:
        profiled(folder, PTE, latency(10.0))
    path = two[1] / "profiles" / "host.json"
    saved = path.read_text()
    path.write_text(saved.replace('"threads": 1', '"threads": 2'))
    assert read_profile(path).artifacts[0].threads == 2
    row = run(request(two), {}, quietly).artifacts[0]
    assert row.latency == ()
    assert "not in profiles of one device in both builds" in row.unmeasured
    path.write_text(saved.replace(sha256(two[1] / PTE), "0" * 64))
    found = run(request(two), {}, quietly)
    assert found.artifacts[0].latency == ()
    assert "of an older build and not used" in found.notes[0]


WITHIN = '[defaults]\nparity = "same"\nmax_bytes_ratio = 1.2\nmax_top1_drop = 5.0\n'
OVER = f'{WITHIN}[artifacts."{PTE}"]\nmax_bytes = 1050\nmin_sqnr_db = 30.0\n'


@pytest.mark.parametrize(("text", "code"), [(WITHIN, 0), (OVER, 1)])
def test_the_exit_code_is_the_verdict(
    two: tuple[Path, Path], tmp_path: Path, text: str, code: int
) -> None:
    budget = tmp_path / "budget.toml"
    budget.write_text(text)
    result = invoke("compare", *two, "--no-latency", "--budget", budget)
    assert result.exit_code == code, result.output
    assert ("over budget" if code else "within budget") in result.stdout
    if code:
        assert f"over budget: {PTE} max_bytes 1,100, limit 1,050; and 1 more" in result.stderr
    document = json.loads(
        invoke("compare", *two, "--no-latency", "--budget", budget, "--json").stdout
    )
    lines = {(line["rule"], line["verdict"]) for line in document["budget"]["lines"]}
    assert (("max_bytes", "fail") in lines) == bool(code)
    assert document.get("exit_code", 0) == code
    assert document["comparison"]["artifacts"][0]["base"]["size_bytes"] == 1000


def test_without_a_budget_nothing_fails(two: tuple[Path, Path]) -> None:
    result = invoke("compare", *two, "--no-latency")
    assert result.exit_code == 0
    assert "+10.00%" in result.stdout
    assert json.loads(invoke("compare", *two, "--no-latency", "--json").stdout)["budget"] is None


def test_a_bad_budget_stops_before_any_work(two: tuple[Path, Path], tmp_path: Path) -> None:
    budget = tmp_path / "budget.toml"
    budget.write_text("[default]\nmax_bytes = 3")
    place = tmp_path / "c.md"
    result = invoke("compare", *two, "--budget", budget, "--markdown", place)
    assert result.exit_code == 2
    assert "unknown key default" in result.stderr
    assert "Traceback" not in result.output
    assert not place.exists()


def test_the_markdown_replaces_nothing_else(two: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for place, message in (
        (tmp_path, "is a directory"),
        (two[0] / "manifest.json", "is a file of a build"),
        (tmp_path / "file" / "c.md", "cannot be written"),
    ):
        result = invoke("compare", *two, "--no-latency", "--markdown", place)
        assert result.exit_code == 9
        assert message in told(result.stderr)
        assert "Traceback" not in result.output
    assert (tmp_path / "file").read_text() == "mine"
    assert read_manifest(two[0]).artifacts


def test_one_build_is_held_to_what_needs_no_other(tmp_path: Path) -> None:
    alone = build(tmp_path / "alone", {PTE: 1000})
    profiled(alone, PTE, latency(4.0))
    budget = tmp_path / "budget.toml"
    budget.write_text("[defaults]\nmax_bytes = 999\nmax_latency_ms = 5\nmax_bytes_ratio = 1.1\n")
    result = invoke("compare", alone, "--budget", budget, "--json")
    assert result.exit_code == 1
    lines = json.loads(result.stdout)["budget"]["lines"]
    verdicts = {line["rule"]: line["verdict"] for line in lines}
    assert verdicts == {
        "parity": "pass",
        "max_bytes": "fail",
        "max_bytes_ratio": "not judged",
        "max_latency_ms, host": "pass",
    }
    assert "4.00 ms" in invoke("compare", alone).stdout


def test_drift_in_a_manifest_is_within_no_budget(tmp_path: Path) -> None:
    new = build(tmp_path / "new", {PTE: 10}, {PTE: {"parity": DRIFTED}})
    budget = tmp_path / "budget.toml"
    budget.write_text("[defaults]\nmax_bytes = 999\n")
    result = invoke("compare", new, "--budget", budget)
    assert result.exit_code == 1
    assert "parity drifted: 9 LSB" in result.stdout


GOLDEN = """\
### ❌ Model over budget

MobileNetV2 0.35 at 96 px, 3 classes: `new`, against `base`

Budget: 8 pass, 2 fail

| verdict | artifact | limit on | limit | found | why |
| --- | --- | --- | --- | --- | --- |
| ❌ **fail** | model-int8.pte | max\\_bytes | 1,050 | 1,100 |  |
| ❌ **fail** | model-int8.pte | min\\_sqnr\\_db | 30.00 | 29.50 |  |

<details><summary>6 lines within the budget</summary>

| verdict | artifact | limit on | limit | found | why |
| --- | --- | --- | --- | --- | --- |
| ✅ pass | model-int8.pte | parity | same | same |  |
| ✅ pass | model-int8.pte | max\\_bytes\\_ratio | 1.200 | 1.100 |  |
| ✅ pass | model-int8.pte | max\\_top1\\_drop | 5.00 | 3.00 |  |
| ✅ pass | model-int8.onnx | parity | same | same |  |
| ✅ pass | model-int8.onnx | max\\_bytes\\_ratio | 1.200 | 1.000 |  |
| ✅ pass | model-int8.onnx | max\\_top1\\_drop | 5.00 | 0.00 |  |

</details>

"""


def test_the_markdown_of_a_pull_request(
    two: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = tmp_path / "budget.toml"
    budget.write_text(OVER)
    monkeypatch.chdir(tmp_path)
    options = ["--no-latency", "--budget", budget, "--markdown", "c.md"]
    invoke("compare", "base", "new", *options)
    text = (tmp_path / "c.md").read_text()
    head, table = text.split("| artifact | size |")
    assert head == GOLDEN.replace("8 pass", "6 pass")
    row = next(line for line in table.splitlines() if line.startswith("| model-int8.pte"))
    assert "| 1,000 B → 1,100 B (+10.00%) | same, 0 LSB | 33.0 dB → 29.5 dB |" in row
    assert "top-1 75.0 % (70.5 to 79.0) → top-1 72.0 % (67.4 to 76.2)" in row


def test_names_in_markdown_are_text(tmp_path: Path) -> None:
    """A pull request may bring files of any name, and its comment is read by others."""
    name = "a|b`<img src=x>@you[x](y).pte"
    new = build(tmp_path / "new", {name: 10})
    result = invoke("compare", new, "--markdown", tmp_path / "c.md")
    assert result.exit_code == 0, result.output
    (row,) = [line for line in (tmp_path / "c.md").read_text().splitlines() if "img" in line]
    assert "\\<img src=x\\>" in row
    assert "@you" not in row
    assert "a\\|b\\`" in row


def copied(demo: DemoBuild, folder: Path) -> Path:
    return Path(shutil.copytree(demo.folder, folder))


def altered(folder: Path, name: str, other: str) -> Path:
    """A build whose artifact is another's bytes, as if it had been built so."""
    path = folder / name
    path.write_bytes((folder / other).read_bytes())
    manifest = read_manifest(folder)
    records = tuple(
        dataclasses.replace(r, size_bytes=size(path), sha256=sha256(path)) if r.path == name else r
        for r in manifest.artifacts
    )
    write_manifest(dataclasses.replace(manifest, artifacts=records), folder)
    return folder


def test_real_builds(demo_build: DemoBuild, tmp_path: Path) -> None:
    """Every format's operations counted in its file; a float program in the place of the int8."""
    base = copied(demo_build, tmp_path / "base")
    new = altered(copied(demo_build, tmp_path / "new"), PTE, "model-fp32.pte")
    budget = tmp_path / "budget.toml"
    budget.write_text("[defaults]\nmax_bytes_ratio = 1.0\nmax_undelegated_ops = 0\n")
    result = invoke("compare", base, new, "--no-latency", "--budget", budget, "--json")
    assert result.exit_code == 1, result.output
    document = json.loads(result.stdout)
    lines = document["budget"]["lines"]
    failed = [(line["artifact"], line["rule"]) for line in lines if line["verdict"] == "fail"]
    assert failed == [(PTE, "max_bytes_ratio")]
    counted = {line["artifact"] for line in lines if line["rule"] == "max_undelegated_ops"}
    assert {PTE, "model-int8.tflite"} <= counted
    assert ONNX not in counted


def test_a_folder_that_is_no_build(tmp_path: Path, two: tuple[Path, Path]) -> None:
    result = invoke("compare", two[0], tmp_path)
    assert result.exit_code == 9
    assert "no manifest.json" in result.stderr


def test_the_outcome_of_a_request_without_targets_is_an_error_only_where_asked(
    two: tuple[Path, Path],
) -> None:
    """A manifest of a later version may name targets that this one does not know."""
    from exporter.comparison.budget import Budget, Limits

    budget = Budget(path=Path("b"), defaults=Limits(max_undelegated_ops=0))
    found = run(request(two, budget=budget), {}, quietly)
    new = found.artifacts[0].new
    assert new is not None
    assert new.uncounted == "target 'android' is not known to this version"
    assert new.parity.outcome is Outcome.SAME


def test_two_real_builds_run_in_turn(demo_build: DemoBuild, tmp_path: Path) -> None:
    """The float program in the place of the int8 one, in processes of their own."""
    base = copied(demo_build, tmp_path / "base")
    new = altered(copied(demo_build, tmp_path / "new"), PTE, "model-fp32.pte")
    result = invoke("compare", base, new, "--iterations", 20, "--json")
    assert result.exit_code == 0, result.output
    rows = {row["artifact"]: row for row in json.loads(result.stdout)["comparison"]["artifacts"]}
    (ratio,) = rows[PTE]["latency"]
    assert ratio["source"] == compare_latency.IN_TURN
    assert 0.0 < ratio["ratio"]["low"] <= ratio["ratio"]["value"] <= ratio["ratio"]["high"]
    assert rows[ONNX]["latency"][0]["source"] == compare_latency.SAME_BYTES
