"""budget.toml: read strictly, and a verdict for every line."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from compared import DRIFTED, NOT_RUN, SAME

from exporter.comparison.budget import Budget, BudgetFileError, Limits, ParityDemand, read_budget
from exporter.comparison.budget_rules import Judgment, Line, Verdict, judge, objection
from exporter.comparison.records import Absolute, Compared, Comparison, Figure, Ratio, Side
from exporter.latency.records import Median
from exporter.spec import Precision
from exporter.verdicts import Parity, Quality

PTE = "model-int8.pte"


def written(folder: Path, text: str) -> Path:
    path = folder / "budget.toml"
    path.write_text(text)
    return path


def test_a_budget_reads_as_documented(tmp_path: Path) -> None:
    text = f"""
    strict = true
    [defaults]
    parity = "same"
    max_bytes_ratio = 1.02
    max_latency_ratio = 1.1
    [artifacts."{PTE}"]
    max_bytes = 3_000_000
    max_latency_ms = {{ host = 20, "Pixel 8" = 8.5 }}
    max_bytes_ratio = 1.5
    """
    budget = read_budget(written(tmp_path, text))
    assert budget.strict
    assert budget.limits("model-fp32.pte") == budget.defaults
    assert budget.limits(PTE) == Limits(
        parity=ParityDemand.SAME,
        max_bytes_ratio=1.5,  # its own instead of the default
        max_latency_ratio={"host": 1.1},  # a number alone is this machine's
        max_bytes=3_000_000,
        max_latency_ms={"host": 20.0, "Pixel 8": 8.5},
    )


BAD = {
    "not TOML": ("max_bytes = = 3", "not TOML"),
    "a key at the top": ("max_bytes = 3", "unknown key max_bytes"),
    "a key of the defaults": ("[defaults]\nmax_byte = 3", "unknown key defaults.max_byte"),
    "a key of an artifact": (
        f'[artifacts."{PTE}"]\nsize = 3',
        f'unknown key artifacts."{PTE}".size',
    ),
    "text for a number": ('[defaults]\nmax_bytes_ratio = "2"', "defaults.max_bytes_ratio is '2'"),
    "a flag for a number": ("[defaults]\nmin_top1 = true", "defaults.min_top1 is True"),
    "half a byte": ("[defaults]\nmax_bytes = 1.5", "max_bytes is 1.5, not a whole number"),
    "less than none": ("[defaults]\nmax_undelegated_ops = -1", "is -1, not a whole number"),
    "a share above one hundred": ("[defaults]\nmin_top1 = 101", "not a percentage, 0 to 100"),
    "a ratio of none": ("[defaults]\nmax_bytes_ratio = 0", "not a number above 0"),
    "no number": ("[defaults]\nmin_sqnr_db = nan", "min_sqnr_db is nan"),
    "an unknown parity": ('[defaults]\nparity = "close"', '"same" or "same or not run"'),
    "a list of devices": (
        "[defaults]\nmax_latency_ms = [3]",
        "max_latency_ms is [3], not a number",
    ),
    "a device without a number": (
        '[defaults]\nmax_latency_ms = { "Pixel 8" = "fast" }',
        "defaults.max_latency_ms.Pixel 8 is 'fast'",
    ),
    "no device": ("[defaults]\nmax_latency_ratio = {}", "max_latency_ratio is {}, not a number or"),
    "a table that is none": ("defaults = 3", "defaults is 3, not a table"),
    "an artifact that is none": (f'[artifacts]\n"{PTE}" = 3', f'artifacts."{PTE}" is 3'),
    "strict by a word": ('strict = "yes"', "strict is 'yes', not true or false"),
    "no limit": ("strict = true", "sets no limit"),
    "nothing": ("", "sets no limit"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_budget_is_one_line_that_names_the_key(tmp_path: Path, case: str) -> None:
    text, message = BAD[case]
    with pytest.raises(BudgetFileError) as caught:
        read_budget(written(tmp_path, text))
    assert message in caught.value.message
    assert str(tmp_path / "budget.toml") in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_a_budget_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BudgetFileError, match="no such file"):
        read_budget(tmp_path / "budget.toml")


QUALITY = Quality(images=32, sqnr_db=33.0, top1_agreement=0.97, kl=0.001, max_abs=0.2)
TOP1 = Figure(name="top1", percent=75.0, images=400)


def side(size_bytes: int = 1000, parity: Parity = SAME, **fields: object) -> Side:
    made = Side(size_bytes=size_bytes, sha256="0", parity=parity, quality=QUALITY, accuracy=(TOP1,))
    return dataclasses.replace(made, **fields)  # type: ignore[arg-type]


def compared(base: Side | None, new: Side | None, **fields: object) -> Comparison:
    row = Compared(
        artifact=PTE, target="android", precision=Precision.INT8, base=base, new=new, **fields
    )  # type: ignore[arg-type]
    return Comparison(base="base", new="new", model="m", changes=(), artifacts=(row,))


def verdict(limits: Limits, comparison: Comparison) -> Line:
    """Of the one limit, not of the parity that is always judged."""
    judgment = judge(Budget(path=Path("b"), defaults=limits), comparison)
    (line,) = [line for line in judgment.lines if line.rule != "parity"]
    return line


def ratio(low: float, value: float, high: float, verdict: str = "stable") -> Ratio:
    return Ratio(
        device="host",
        ratio=Median(value=value, low=low, high=high),
        stable=verdict == "stable",
        verdict=verdict,
        source="run in turn",
    )


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (ratio(1.02, 1.05, 1.10), Verdict.PASS),  # the limit itself is within
        (ratio(1.02, 1.05, 1.11), Verdict.UNDECIDED),
        (ratio(1.05, 1.20, 1.30), Verdict.UNDECIDED),
        (ratio(1.11, 1.20, 1.30), Verdict.FAIL),
        (ratio(1.90, 2.00, 2.10, "unstable: drifted"), Verdict.UNDECIDED),
    ],
)
def test_a_latency_is_judged_by_its_whole_interval(found: Ratio, wanted: Verdict) -> None:
    comparison = compared(side(), side(), latency=(found,))
    line = verdict(Limits(max_latency_ratio={"host": 1.1}), comparison)
    assert line.verdict is wanted
    assert line.reason


def test_of_several_measurements_the_worst_decides() -> None:
    rows = (ratio(0.9, 1.0, 1.05), ratio(1.2, 1.3, 1.4), ratio(1.0, 1.1, 1.2))
    comparison = compared(side(), side(), latency=rows)
    assert verdict(Limits(max_latency_ratio={"host": 1.1}), comparison).verdict is Verdict.FAIL


def time_on(device: str, low: float, value: float, high: float) -> Absolute:
    median = Median(value=value, low=low, high=high)
    return Absolute(
        device=device, median_ms=median, stable=True, verdict="stable", source="profile"
    )


def test_milliseconds_are_of_the_device_that_is_named() -> None:
    new = side(latency=(time_on("host", 9.0, 9.1, 9.2), time_on("Pixel 8", 2.0, 2.1, 2.2)))
    comparison = compared(side(), new)
    assert verdict(Limits(max_latency_ms={"Pixel 8": 3.0}), comparison).verdict is Verdict.PASS
    assert verdict(Limits(max_latency_ms={"host": 3.0}), comparison).verdict is Verdict.FAIL
    line = verdict(Limits(max_latency_ms={"Pixel 9": 3.0}), comparison)
    assert (line.verdict, line.reason) == (
        Verdict.NOT_JUDGED,
        "not measured on Pixel 9; there is host, Pixel 8",
    )


FIGURES = [
    (Limits(max_bytes=1000), Verdict.PASS),
    (Limits(max_bytes=999), Verdict.FAIL),
    (Limits(max_bytes_ratio=1.25), Verdict.PASS),
    (Limits(max_bytes_ratio=1.24), Verdict.FAIL),
    (Limits(min_sqnr_db=33.0), Verdict.PASS),
    (Limits(min_sqnr_db=33.1), Verdict.FAIL),
    (Limits(min_agreement=97.0), Verdict.PASS),
    (Limits(min_agreement=97.1), Verdict.FAIL),
    (Limits(min_top1=74.3), Verdict.PASS),
    (Limits(min_top1=74.4), Verdict.FAIL),
    (Limits(max_top1_drop=0.7), Verdict.PASS),  # 75.0 - 74.3 is 0.7000000000000028
    (Limits(max_top1_drop=0.6), Verdict.FAIL),
    (Limits(min_map=30.0), Verdict.NOT_JUDGED),
    (Limits(max_miou_drop=1.0), Verdict.NOT_JUDGED),
    (Limits(max_undelegated_ops=1), Verdict.PASS),
    (Limits(max_undelegated_ops=0), Verdict.FAIL),
]


@pytest.mark.parametrize(("limits", "wanted"), FIGURES)
def test_figures_are_judged_by_their_value(limits: Limits, wanted: Verdict) -> None:
    after = side(1000, accuracy=(dataclasses.replace(TOP1, percent=74.3),), undelegated=1)
    assert verdict(limits, compared(side(800), after)).verdict is wanted


def test_a_figure_that_is_not_there_is_not_judged() -> None:
    bare = side(quality=None, accuracy=(), uncounted="fake needs fakelib")
    limits = [
        Limits(min_sqnr_db=1.0),
        Limits(min_agreement=1.0),
        Limits(min_top1=1.0),
        Limits(max_top1_drop=1.0),
        Limits(max_undelegated_ops=0),
        Limits(max_bytes_ratio=9.0),
        Limits(max_latency_ratio={"host": 9.0}),
        Limits(max_latency_ms={"host": 9.0}),
    ]
    for limit in limits:
        line = verdict(limit, compared(None, bare))
        assert line.verdict is Verdict.NOT_JUDGED, line
        assert line.reason


def test_a_format_without_a_delegate_has_no_such_line() -> None:
    """One default fits all formats, strict or not."""
    budget = Budget(path=Path("b"), defaults=Limits(max_undelegated_ops=0), strict=True)
    judgment = judge(budget, compared(None, side()))
    assert [line.rule for line in judgment.lines] == ["parity"]


def test_figures_of_other_images_are_no_drop() -> None:
    other = side(accuracy=(dataclasses.replace(TOP1, images=100, percent=10.0),))
    line = verdict(Limits(max_top1_drop=1.0), compared(side(), other))
    assert line.verdict is Verdict.NOT_JUDGED
    assert "400 and on 100 images" in line.reason


@pytest.mark.parametrize(
    ("parity", "demand", "wanted"),
    [
        (SAME, ParityDemand.SAME, Verdict.PASS),
        (NOT_RUN, ParityDemand.SAME, Verdict.FAIL),
        (NOT_RUN, ParityDemand.MAY_NOT_RUN, Verdict.PASS),
        (NOT_RUN, None, Verdict.PASS),
        (DRIFTED, ParityDemand.MAY_NOT_RUN, Verdict.FAIL),
        (DRIFTED, None, Verdict.FAIL),  # drift is within no budget, whatever it limits
    ],
)
def test_parity(parity: Parity, demand: ParityDemand | None, wanted: Verdict) -> None:
    comparison = compared(side(), side(parity=parity))
    (line,) = judge(Budget(path=Path("b"), defaults=Limits(parity=demand)), comparison).lines
    assert line.verdict is wanted


def test_what_the_budget_names_must_be_there() -> None:
    budget = Budget(path=Path("b"), artifacts={"model.tflite": Limits(max_bytes=1)})
    judgment = judge(budget, compared(side(), side()))
    assert [line.artifact for line in judgment.failed] == ["model.tflite"]
    removed = judge(dataclasses.replace(budget, artifacts={PTE: Limits()}), compared(side(), None))
    assert [line.found for line in removed.failed] == ["missing"]


def test_what_was_removed_and_is_not_named_is_no_failure() -> None:
    budget = Budget(path=Path("b"), defaults=Limits(max_bytes=1))
    assert judge(budget, compared(side(), None)).passed


def test_only_a_strict_budget_fails_for_what_is_not_known() -> None:
    limits = Limits(max_latency_ratio={"host": 1.1})
    comparison = compared(side(), side(), latency=(ratio(1.0, 1.1, 1.2),))
    for strict in (False, True):
        budget = Budget(path=Path("b"), defaults=limits, strict=strict)
        judgment = judge(budget, comparison)
        assert judgment.passed is not strict
        problem = objection(judgment)
        assert (problem is None) is not strict
        assert problem is None or ("strict" in problem.message and problem.exit_code == 1)


def test_an_objection_names_the_first_line_and_counts_the_others() -> None:
    budget = Budget(path=Path("b"), defaults=Limits(max_bytes=1, max_bytes_ratio=0.5))
    problem = objection(judge(budget, compared(side(), side())))
    assert problem is not None
    assert problem.message == f"over budget: {PTE} max_bytes 1,000, limit 1; and 1 more"


def test_a_judgment_counts_its_verdicts() -> None:
    line = Line(artifact="a", rule="r", limit="1", found="2", verdict=Verdict.FAIL)
    passed = dataclasses.replace(line, verdict=Verdict.PASS)
    assert Judgment(lines=(line, passed, passed), strict=False).told() == "2 pass, 1 fail"


DOCUMENT = (Path(__file__).parents[1] / "docs" / "budget.md").read_text()


def test_every_key_is_documented() -> None:
    table = DOCUMENT.split("| Key | Limit |")[1].split("\n\n")[0]
    names = [line.split("|")[1] for line in table.splitlines()[2:]]
    keys = {key for name in names for key in re.findall(r"`([a-z0-9_]+)`", name)}
    assert keys == {field.name for field in dataclasses.fields(Limits)}


def test_every_verdict_is_documented() -> None:
    rows = re.findall(r"^\| ([a-z ]+) \|", DOCUMENT.split("## Verdicts")[1], re.MULTILINE)
    assert set(rows) == set(Verdict)


def test_the_documented_budget_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    assert read_budget(written(tmp_path, example)).limits(PTE).max_latency_ms == {
        "host": 4.0,
        "Google Pixel 8": 3.0,
    }
