"""The schema of profiles, and the statistics in it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from exporter.errors import ArtifactError
from exporter.latency.records import (
    FOLDER,
    ArtifactProfile,
    Device,
    DeviceKind,
    DeviceProfile,
    LayerTime,
    Measured,
    Settings,
    Thermal,
    ThermalStatus,
    read_profile,
    read_profiles,
    write_profile,
)
from exporter.latency.statistics import (
    effective_count,
    median_interval,
    relative_drift,
    summarize,
)
from exporter.spec import Precision


def profile() -> DeviceProfile:
    """One of everything that the schema knows."""
    samples = tuple(np.random.Generator(np.random.PCG64(0)).normal(2.0, 0.1, 50).tolist())
    layer = LayerTime(
        name="features.0.0",
        block="stem",
        kind="conv 3x3",
        ms=0.4,
        share=0.2,
        multiply_adds=1000,
        gmacs_per_s=2.5,
        operations=("Convolution (NHWC, QC8) IGEMM",),
    )
    artifact = ArtifactProfile(
        artifact="model-int8.pte",
        target="android",
        precision=Precision.INT8,
        sha256="0" * 64,
        size_bytes=10,
        outcome=Measured.MEASURED,
        runtime="ExecuTorch",
        latency=summarize(samples, load_ms=3.0, first_ms=4.0),
        peak_rss_bytes=1 << 20,
        layers=(layer,),
        undelegated=0,
        same_results=True,
        notes=("a note",),
    )
    return DeviceProfile(
        device=Device(kind=DeviceKind.ADB, name="A phone", serial="x", facts={"abi": "arm64-v8a"}),
        settings=Settings(threads=2),
        thermal_before=Thermal(status=ThermalStatus.NONE, temperatures_c={"skin": 30.5}),
        thermal_after=Thermal(status=ThermalStatus.LIGHT),
        artifacts=(artifact,),
        versions={"python": "3"},
    )


def test_a_profile_survives_the_disk(tmp_path: Path) -> None:
    path = tmp_path / FOLDER / "phone.json"
    write_profile(profile(), path)
    assert read_profile(path) == profile()
    assert read_profiles(tmp_path) == (profile(),)
    assert not read_profiles(tmp_path / FOLDER)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-40],
        lambda text: text.replace('"schema_version": 1', '"schema_version": 7'),
        lambda text: text.replace('"device"', '"divice"'),
        lambda text: text.replace('"measured"', '"guessed"'),
        lambda text: text.replace('"low"', '"lower"'),
        lambda text: re.sub(r'"p90_ms": [\d.]+', '"p90_ms": null', text),
        lambda text: re.sub(r'"high": [\d.]+', '"high": "x"', text),
        lambda text: re.sub(r'"ms": [\d.]+', '"ms": []', text),
        lambda text: text.replace('"A phone"', "1"),
        lambda text: text.replace('"model-int8.pte"', "{}"),
        lambda text: "[]" + text,
    ],
)
def test_a_damaged_profile_is_told(tmp_path: Path, damage) -> None:
    path = tmp_path / "phone.json"
    write_profile(profile(), path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(ArtifactError, match=r"phone\.json"):
        read_profile(path)


def test_a_missing_profile_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such profile"):
        read_profile(tmp_path / "phone.json")


@pytest.mark.parametrize(("count", "rank"), [(5, 0), (6, 0), (9, 1), (20, 5), (50, 17), (100, 39)])
def test_intervals_of_the_median_have_the_ranks_of_the_tables(count: int, rank: int) -> None:
    """Conover's table: of 20 samples the 6th to the 15th, of 100 the 40th to the 61st."""
    found = median_interval(np.arange(count, dtype=np.float64))
    assert (found.low, found.high) == (rank, count - 1 - rank)


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    """Of a skewed distribution, as latencies are."""
    random = np.random.Generator(np.random.PCG64(1))
    draws = random.exponential(1.0, (2000, 31))
    held = [m.low <= np.log(2.0) <= m.high for m in map(median_interval, draws)]
    assert 0.95 <= np.mean(held) < 0.98


def test_outliers_stay() -> None:
    samples = [1.0] * 49 + [100.0]
    found = summarize(samples, load_ms=1.0, first_ms=1.0)
    assert found.samples_ms == tuple(samples)
    assert found.p99_ms > 50.0
    assert found.p50_ms == 1.0
    assert found.stable


def test_a_machine_that_slows_down_is_called_unstable() -> None:
    found = summarize(np.linspace(1.0, 1.5, 60).tolist(), load_ms=1.0, first_ms=1.0)
    assert not found.stable
    assert "drifted by +31%" in found.verdict
    assert relative_drift(np.linspace(1.5, 1.0, 60)) < -0.2


def test_a_median_that_is_hardly_known_is_called_unstable() -> None:
    samples = [1.0, 2.0] * 15
    found = summarize(samples, load_ms=1.0, first_ms=1.0)
    assert "the median is known to 33%" in found.verdict


def test_few_samples_are_called_unstable() -> None:
    found = summarize([1.0] * 19, load_ms=1.0, first_ms=1.0)
    assert found.verdict == "unstable: 19 samples, 20 are needed"


@pytest.mark.parametrize(("count", "alike"), [(50, 0.0), (50, 0.6), (400, 0.8)])
def test_the_interval_holds_the_median_where_neighbors_are_alike(count: int, alike: float) -> None:
    """Slow spells, in which an interval for independent samples holds it far less often."""
    random = np.random.Generator(np.random.PCG64(2))
    noise = random.normal(0.0, np.sqrt(1.0 - alike**2), (400, count))
    draws = noise.copy()
    draws[:, 0] /= np.sqrt(1.0 - alike**2)
    for index in range(1, count):
        draws[:, index] += alike * draws[:, index - 1]
    found = [summarize(np.exp(0.1 * d).tolist(), load_ms=1.0, first_ms=1.0).median for d in draws]
    assert np.mean([m.low <= 1.0 <= m.high for m in found]) > 0.92


def test_samples_count_for_what_they_tell() -> None:
    random = np.random.Generator(np.random.PCG64(3))
    apart = random.exponential(1.0, 1000)
    assert effective_count(apart) > 850
    assert 40 <= effective_count(np.repeat(apart[:100], 10)) <= 130
    assert effective_count(np.full(30, 2.0)) == 30
    assert effective_count(np.ones(1)) == 1
