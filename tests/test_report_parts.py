"""Pieces of a report by themselves: verdicts, Markdown's escapes, tiles and pictures."""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from made_profiles import write_profiles
from reported import small_copy

from exporter.latency.records import DeviceKind, Median
from exporter.manifest import ArtifactRecord, Failure, read_manifest
from exporter.report import plots, words
from exporter.report.figures import figures
from exporter.report.gather import gather
from exporter.report.markdown import LIMIT, LONGEST, code, markdown
from exporter.report.plots_times import median_of
from exporter.report.records import Figure, Layer
from exporter.report.svg import Color, canvas, inline
from exporter.report.treemap import squarified
from exporter.report.views import keys
from exporter.spec import Precision
from exporter.verdicts import Accuracy, MeanIoU, Outcome, Pair, Parity


def artifact(outcome: Outcome, name: str = "a.pte", **figure: object) -> ArtifactRecord:
    parity = Parity(outcome=outcome, tolerance="EXACT", images=20, **figure)  # type: ignore[arg-type]
    return ArtifactRecord(
        target="t", precision=Precision.INT8, path=name, size_bytes=1, sha256="", parity=parity
    )


SAME = artifact(Outcome.SAME, max_lsb=0)


@pytest.mark.parametrize(
    ("artifacts", "pairs", "failures", "outcome", "headline"),
    [
        ([SAME, SAME], [], [], Outcome.SAME, "All 2 artifacts proved to be the same model"),
        ([SAME], [], [], Outcome.SAME, "1 artifact proved to be the same model"),
        ([SAME, artifact(Outcome.NOT_RUN)], [], [], Outcome.NOT_RUN, "1 of 2 artifacts not proved"),
        (
            [SAME, artifact(Outcome.NOT_RUN), artifact(Outcome.DRIFTED)],
            [],
            [],
            Outcome.DRIFTED,
            "1 of 3 artifacts drifted",
        ),
        (
            [SAME],
            [],
            [Failure(target="t", precision=Precision.INT8, error="")],
            Outcome.NOT_RUN,
            "1 artifact proved, 1 target not built",
        ),
        (
            [SAME, SAME],
            [Pair(a="a", b="b", outcome=Outcome.DRIFTED)],
            [],
            Outcome.DRIFTED,
            "1 pair of artifacts drifted apart",
        ),
    ],
)
def test_the_worst_outcome_is_the_verdict(artifacts, pairs, failures, outcome, headline) -> None:
    found = words.verdict(artifacts, pairs, failures)
    assert found.outcome is outcome
    assert found.headline.startswith(headline)


def test_int8_is_only_bit_for_bit_if_it_is() -> None:
    near = artifact(Outcome.SAME, max_lsb=1)
    assert "bit for bit" in words.verdict([SAME], [], []).sentence
    assert "bit for bit" not in words.verdict([SAME, near], [], []).sentence


def test_shares_have_intervals_and_means_have_none() -> None:
    top1, _ = figures(Accuracy(images=100, top1=0.8, top5=0.9), None)
    assert top1.low == pytest.approx(0.711, abs=1e-3)
    assert top1.points is None
    miou, _ = figures(
        MeanIoU(images=9, miou=0.5, pixels=0.9), MeanIoU(images=9, miou=0.6, pixels=0.9)
    )
    assert (miou.low, miou.high) == (None, None)
    assert words.points(miou) == "−10.0"
    assert words.points(Figure(name="x", value=0.5, points=-0.001)) == "±0.0"


@pytest.mark.parametrize(
    "text",
    [
        "a|b",
        "`tick`",
        "``",
        "@team #12 https://example.org",
        "<script>alert(1)</script>",
        "line\nbreak\u2028and | pipe",
        "\\",
        "ends with `",
    ],
)
def test_a_code_span_takes_any_text(text: str) -> None:
    """By GitHub's rules: a fence longer than any run inside, no line ends, pipes escaped."""
    span = code(text)
    fence = re.match(r"`+", span)
    assert fence is not None
    inner = span[len(fence[0]) : -len(fence[0])]
    assert span.endswith(fence[0])
    assert all(len(run) != len(fence[0]) for run in re.findall(r"`+", inner))
    assert "\n" not in span
    assert "\u2028" not in span
    assert not re.search(r"(?<!\\)\|", span)


def test_long_text_is_shortened() -> None:
    assert len(code("x" * 10_000)) <= LONGEST + 2
    assert code(" \n ") == ""


def test_markdown_always_fits_into_a_comment(demo_build, tmp_path: Path) -> None:
    folder = small_copy(demo_build.folder, tmp_path / "build")
    report = gather(folder, {}, 0, lambda _: None)
    manifest = read_manifest(folder)
    record = report.artifacts[0]
    wide = dataclasses.replace(
        record.record,
        path="@everyone|`" * 200,
        parity=dataclasses.replace(record.record.parity, outcome=Outcome.DRIFTED, reason="r" * 999),
    )
    many = tuple(dataclasses.replace(record, record=wide) for _ in range(500))
    versions = {f"package {i} {'v' * 300}": "@x" for i in range(500)}
    pairs = tuple(Pair(a="a" * 999, b="b" * 999, outcome=Outcome.NOT_RUN) for _ in range(999))
    huge = dataclasses.replace(
        report,
        artifacts=many,
        manifest=dataclasses.replace(manifest, versions=versions, pairs=pairs),
    )
    text = markdown(huge)
    assert len(text) <= LIMIT
    assert "…and 460 more." in text
    assert "```" not in text.replace("````", "")
    assert len(markdown(report)) < 10_000


def test_markdown_names_what_is_not_the_same(demo_build, tmp_path: Path) -> None:
    folder = small_copy(demo_build.folder, tmp_path / "build")
    text = markdown(gather(folder, {}, 0, lambda _: None))
    assert text.startswith("### ✅ All 4 artifacts proved")
    assert "| `model-int8.pte` | ✅ same, 0 LSB |" in text
    assert "All 3 pairs of artifacts agree" in text
    (folder / "model-int8.pte").write_bytes(b"")
    text = markdown(gather(folder, {}, 0, lambda _: None))
    assert text.startswith("### ❌ 1 of 4 artifacts drifted")
    assert "| `model-int8.pte` | ❌ drifted: `not the bytes" in text
    assert text.count("⚪ not run") == 2


def test_tiles_have_their_shares_and_do_not_overlap() -> None:
    values = [9.0, 5.0, 4.0, 2.0, 1.0, 1.0, 0.5]
    tiles = squarified(values, 300.0, 200.0)
    for value, tile in zip(values, tiles, strict=True):
        assert tile.width * tile.height == pytest.approx(value / sum(values) * 60_000)
        assert min(tile.x, tile.y) >= -1e-9
        assert tile.x + tile.width <= 300 + 1e-6
        assert tile.y + tile.height <= 200 + 1e-6
    for i, a in enumerate(tiles):
        for b in tiles[i + 1 :]:
            wide = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
            high = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
            assert min(wide, high) < 1e-6


def layer(name: str, ratio: float | None, size: int = 100) -> Layer:
    return Layer(
        name=name, block="block 1", kind="conv 1x1", size_bytes=size, multiply_adds=1, sqnr_db=ratio
    )


def test_pictures_have_the_pages_colors_and_tips() -> None:
    layers = [layer("a.<b>&c", 12.5), layer("d$e$", -3.0), layer("dead", None), layer("f", 30.0)]
    for drawn in (plots.signal(layers), plots.weights(layers)):
        for text in (drawn.wide, drawn.narrow):
            ElementTree.fromstring(text)  # well-formed, so that a browser reads it as we do
            assert "var(--pointwise)" in text
            assert not [color for color in Color if color.value in text]
            assert "<title>a.&lt;b&gt;&amp;c, conv 1x1" in text
            assert "DejaVu" not in text
    assert drawn.wide != drawn.narrow


def test_a_picture_does_not_depend_on_the_users_settings() -> None:
    import matplotlib as mpl

    before = plots.weights([layer("a", None)])
    with mpl.rc_context({"font.size": 30.0, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert plots.weights([layer("a", None)]) == before


def test_ids_are_a_pictures_own() -> None:
    texts = []
    for name in ("one", "two"):
        with canvas(name, 200, 100) as figure:
            axes = figure.subplots()
            axes.plot([0, 1], [0, 1], "o", color=Color.TEXT.value)
            texts.append(inline(figure, name, "a line", {}))
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in texts]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert all(f'"#{name}"' in texts[0] or f"(#{name})" in texts[0] for name in ids[0])


def test_the_fastest_is_not_one_that_computes_something_else(demo_build, tmp_path: Path) -> None:
    """A wrong answer is no speed record, whether the build or the device found it out."""
    folder = small_copy(demo_build.folder, tmp_path / "b")
    write_profiles(folder)
    report = gather(folder, {}, 0, lambda _: None)
    device = next(d for d in report.devices if d.profile.device.kind is DeviceKind.HOST)
    measured = [a for a in device.profile.artifacts if a.latency]
    right = [dataclasses.replace(a, same_results=None) for a in measured]
    timed = sorted(right, key=median_of)
    names = [a.artifact for a in timed]

    def fastest(artifacts, manifest=report.manifest) -> str:
        profile = dataclasses.replace(device.profile, artifacts=tuple(artifacts))
        devices = (dataclasses.replace(device, profile=profile),)
        shown = dataclasses.replace(report, manifest=manifest, devices=devices)
        return next(key.detail for key in keys(shown) if key.name in ("Fastest, median", "Latency"))

    assert fastest(timed).startswith(names[0])
    wrong = dataclasses.replace(timed[0], same_results=False)
    assert fastest((wrong, *timed[1:])).startswith(names[1])
    assert fastest([wrong]) == "of no artifact whose results are right"
    records = tuple(
        dataclasses.replace(a, parity=artifact(Outcome.DRIFTED).parity) if a.path == names[0] else a
        for a in report.manifest.artifacts
    )
    drifted = dataclasses.replace(report.manifest, artifacts=records)
    assert fastest(timed, drifted).startswith(names[1])


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (0.1664, 0.1621, 0.1733, "0.166 ms 0.162–0.173"),
        (1234.4, 1199.6, 1300.2, "1234 ms 1200–1300"),
    ],
)
def test_intervals_have_the_digits_of_their_median(value, low, high, text) -> None:
    median = Median(value=value, low=low, high=high)
    assert f"{words.milliseconds(value)} {words.interval(median)}" == text


def test_a_pictures_name_is_no_template() -> None:
    with canvas("n", 100, 50) as figure:
        figure.subplots()
        assert r'aria-label="a\1 \g&lt;2&gt;"' in inline(figure, "n", r"a\1 \g<2>", {})
