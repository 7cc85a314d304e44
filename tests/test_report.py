"""A build told to a person: what is in it, what becomes of damage, and that nothing leaves it."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import invoke
from made_profiles import write_profiles
from reported import small_copy

from exporter import golden
from exporter.graph_file import load_graph
from exporter.latency.records import FOLDER, read_profile, write_profile
from exporter.manifest import Failure, Manifest, read_manifest, write_manifest
from exporter.report import signal
from exporter.report.document import document
from exporter.report.gather import gather
from exporter.report.page import page
from exporter.report.records import Report
from exporter.spec import HeadLayer, Precision
from exporter.vectors import read_vectors, vector_images
from exporter.verdicts import Outcome

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'`|@user"
DOCUMENT = Path(__file__).parents[1] / "docs" / "report.md"


@pytest.fixture
def build(demo_build, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return small_copy(demo_build.folder, tmp_path / "build")


@pytest.fixture(scope="module")
def profiled(demo_build, tmp_path_factory) -> Path:
    """A copy with profiles, which no test changes."""
    folder = small_copy(demo_build.folder, tmp_path_factory.mktemp("profiled") / "build")
    write_profiles(folder)
    return folder


@pytest.fixture(scope="module")
def report(profiled: Path) -> Report:
    from exporter.known_targets import all_targets

    return gather(profiled, all_targets(), 2, lambda _: None)


@pytest.fixture(scope="module")
def html(report: Report) -> str:
    return page(report)


def quickly(build: Path, images: int = 0) -> Report:
    """Without opening the artifacts."""
    return gather(build, {}, images, lambda _: None)


def edit(build: Path, **changes: object) -> Manifest:
    manifest = dataclasses.replace(read_manifest(build), **changes)  # type: ignore[arg-type]
    write_manifest(manifest, build)
    return manifest


def refused(code: int, match: str, *arguments: object) -> None:
    result = invoke("report", *arguments)
    assert result.exit_code == code, result.output
    assert re.search(match, result.stderr), result.stderr
    assert "Traceback" not in result.output


def test_the_page_says_what_was_proved(report: Report, html: str) -> None:
    assert report.verdict.outcome is Outcome.SAME
    assert "All 4 artifacts proved to be the same model" in html
    assert "int8 bit for bit" in html
    for record in report.manifest.artifacts:
        assert record.path in html
        assert record.sha256 in html
    for label in report.manifest.spec.labels:
        assert f"<li>{label}</li>" in html


def test_the_page_needs_nothing_but_itself(html: str) -> None:
    links = set(re.findall(r'(?:src|href|action|data)="([^"]*)"', html))
    assert links
    assert all(link.startswith("#") for link in links), links
    assert not re.search(r"url\((?!#)|@import|@font-face|<link|<iframe|<object", html)
    anchors = {link[1:] for link in links}
    assert anchors <= set(re.findall(r' id="([^"]+)"', html))


def test_ids_are_unique(html: str) -> None:
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids)), "two pictures share one"


def test_the_policy_names_the_one_script(html: str) -> None:
    scripts = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy[1].replace("&#39;", "'")
    assert policy[1].startswith("default-src &#39;none&#39;") or policy[1].startswith(
        "default-src 'none'"
    )


def test_equal_builds_give_equal_bytes(report: Report, html: str, profiled: Path, tmp_path) -> None:
    out = tmp_path / "report.html"
    result = invoke("report", profiled, "--out", out, "--images", 2)
    assert result.exit_code == 0, result.output
    assert out.read_text() == html
    assert str(profiled) not in html.replace(report.manifest.command, "")


def test_text_from_outside_stays_text(build: Path) -> None:
    built = read_manifest(build)
    labels = (EVIL, *built.spec.labels[1:])
    artifacts = tuple(
        dataclasses.replace(
            a,
            notes=(EVIL,),
            parity=dataclasses.replace(a.parity, outcome=Outcome.NOT_RUN, reason=EVIL),
        )
        for a in built.artifacts
    )
    edit(
        build,
        spec=dataclasses.replace(built.spec, labels=labels),
        source=dataclasses.replace(built.source, name=EVIL),
        artifacts=artifacts,
        failures=(Failure(target=EVIL, precision=Precision.INT8, error=EVIL),),
        command=EVIL,
        versions={EVIL: EVIL},
    )
    text = page(quickly(build))
    assert text.count("<script>") == 1
    assert "<img" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 10


def test_a_file_that_changed_is_drift_and_its_pairs_are_not_judged(build: Path) -> None:
    changed = build / "model-int8.onnx"
    changed.write_bytes(changed.read_bytes() + b"\0")
    report = quickly(build)
    record = next(a.record for a in report.artifacts if a.record.path == changed.name)
    assert record.parity.outcome is Outcome.DRIFTED
    assert "SHA-256" in record.parity.reason
    assert (record.parity.max_lsb, record.accuracy, record.quality) == (None, None, None)
    assert report.verdict.drifted == 1
    assert report.verdict.headline.startswith("1 of 4 artifacts drifted")
    pairs = [p for p in report.manifest.pairs if changed.name in (p.a, p.b)]
    assert pairs
    assert {p.outcome for p in pairs} == {Outcome.NOT_RUN}
    text = page(report)
    assert "verdict drifted" in text
    assert "outcome drifted" in text


def test_the_command_tells_a_damaged_artifact_and_succeeds(build: Path, tmp_path: Path) -> None:
    (build / "model-int8.onnx").write_bytes(b"no model")
    out = tmp_path / "report.md"
    result = invoke("report", build, "--out", out, "--images", 0)
    assert result.exit_code == 0, result.output
    assert "1 of 4 artifacts drifted" in result.stdout
    assert "❌ drifted" in out.read_text()


@pytest.mark.parametrize("name", ["model-int8.pte", "model-fp32.graph", "golden"])
def test_what_is_missing_is_named(build: Path, name: str, tmp_path: Path) -> None:
    lost = build / name
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    out = tmp_path / "out" / "report.html"
    refused(9, rf"{name}: missing", build, "--out", out)
    assert not out.parent.exists()


def test_a_reference_that_changed_is_refused(build: Path, tmp_path: Path) -> None:
    with (build / "model-int8.graph").open("ab") as file:
        file.write(b"\0")
    refused(9, "not the bytes that were built", build, "--out", tmp_path / "r.html")


def test_a_directory_without_a_build_is_refused(tmp_path: Path) -> None:
    refused(9, r"manifest\.json", tmp_path, "--out", tmp_path / "r.html")
    assert list(tmp_path.iterdir()) == []


def test_profiles_of_other_bytes_are_left_out_and_told(profiled: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(profiled, tmp_path / "build")
    path = folder / FOLDER / "host.json"
    profile = read_profile(path)
    stale = dataclasses.replace(profile.artifacts[0], sha256="0" * 64)
    write_profile(dataclasses.replace(profile, artifacts=(stale, *profile.artifacts[1:])), path)
    report = quickly(folder)
    host = next(d for d in report.devices if d.file.endswith("host.json"))
    assert host.stale == (stale.artifact,)
    assert stale.artifact not in {a.artifact for a in host.profile.artifacts}
    assert f"other bytes than lie there now: {stale.artifact}." in page(report)


def test_what_was_measured_is_shown_with_its_doubts(report: Report, html: str) -> None:
    assert "▲</span> unstable: drifted by +20%" in html
    assert "Core ML needs macOS" in html
    assert "Nothing was measured yet" not in html
    assert "slowest is features." in html
    assert {d.profile.device.name for d in report.devices} == {
        "Made-up CPU, 2 cores",
        "Made-up phone",
    }


def test_a_build_that_was_not_profiled_says_how(build: Path) -> None:
    text = page(quickly(build))
    assert "mnv2-export profile BUILD" in text
    assert "not profiled yet" in text


def test_a_float_build_has_no_signal_and_no_int8(build: Path) -> None:
    built = read_manifest(build)
    floats = tuple(a for a in built.artifacts if a.precision is Precision.FP32)
    paths = {a.path for a in floats}
    edit(
        build,
        artifacts=floats,
        graphs=tuple(g for g in built.graphs if g.precision is Precision.FP32),
        pairs=tuple(p for p in built.pairs if p.a in paths),
        input_quantization=None,
        calibration=None,
    )
    report = quickly(build, images=2)
    assert report.signal.not_measured == "this build has no int8 graph"
    assert all(layer.sqnr_db is None for layer in report.layers)
    assert "Not measured: this build has no int8 graph." in page(report)


def test_a_thousand_labels_are_listed_in_order(build: Path) -> None:
    spec = read_manifest(build).spec
    labels = tuple(f"class number {i}" for i in range(1000))
    edit(build, spec=dataclasses.replace(spec, labels=labels, head=(HeadLayer(units=1000),)))
    text = page(quickly(build))
    assert "1000 labels in the order of the outputs" in text
    assert 0 < text.index("<li>class number 0</li>") < text.index("<li>class number 999</li>")


def test_a_layers_ratio_is_that_of_its_powers(demo_build) -> None:
    folder = demo_build.folder
    integers = load_graph(folder / "model-int8.graph")
    floats = load_graph(folder / "model-fp32.graph")
    vectors, _ = read_vectors(folder / "golden")
    indices = signal.choose(vectors, 3)
    found = signal.layer_sqnr(integers, floats, vectors, indices)
    images = vector_images(vectors, floats)[indices]
    real: dict[str, np.ndarray] = {}
    codes: dict[str, np.ndarray] = {}
    golden.run_outputs(floats, images, trace=real.__setitem__)
    golden.run_outputs(integers, images, trace=codes.__setitem__)
    for name in ("features.0", "features.17.conv.2", "classifier"):
        q = integers.qparams(name)
        expected = real[name].astype(np.float64)
        noise = (codes[name].astype(np.float64) - q.zero_point) * q.scale - expected
        ratio = 10 * np.log10((expected**2).sum() / (noise**2).sum())
        assert found[name] == pytest.approx(ratio, abs=1e-3)


def test_photos_come_before_edge_images(demo_build) -> None:
    vectors, _ = read_vectors(demo_build.folder / "golden")
    names = [vectors.names[i] for i in signal.choose(vectors, 4)]
    assert all(name.startswith("image") for name in names)
    assert len(set(signal.choose(vectors, len(vectors.names)))) == len(vectors.names)
    assert signal.choose(vectors, 0) == []


def test_the_document_holds_everything_once(report: Report, profiled: Path) -> None:
    found = document(report)
    assert found == json.loads(json.dumps(found))
    assert [a["record"]["path"] for a in found["artifacts"]] == [
        a.path for a in read_manifest(profiled).artifacts
    ]
    assert "artifacts" not in found["manifest"]
    first = found["artifacts"][0]
    assert first["inside"]["delegation"].startswith("1 delegate")
    assert 0 < first["deflated_bytes"] < first["record"]["size_bytes"]
    assert first["figures"][0]["low"] < first["figures"][0]["value"] < first["figures"][0]["high"]


def test_every_field_of_the_document_is_documented(report: Report) -> None:
    told = DOCUMENT.read_text()
    found = document(report)
    names = {*found, *found["verdict"], *found["artifacts"][0], *found["artifacts"][0]["inside"]}
    names |= {*found["layers"][0], *found["signal"], *found["contract"], *found["devices"][0]}
    names |= set(found["artifacts"][0]["figures"][0]) | set(found["artifacts"][0]["snippets"][0])
    assert [name for name in sorted(names) if f"`{name}`" not in told] == []
