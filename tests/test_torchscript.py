"""TorchScript artifacts compute what the golden computes; their bytes depend on the model alone."""

from __future__ import annotations

import dataclasses
import io
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import graphs
import numpy as np
import pytest
import torch

from exporter import golden
from exporter.errors import ArtifactError, UnsupportedError
from exporter.graph import Linear, QuantizedGraph, Weight
from exporter.graph_file import save_graph
from exporter.metadata import labels_text, metadata_text
from exporter.spec import PaddingStyle, Precision
from exporter.target import ExportOptions
from targets import torchscript

FLOAT32_DB = 100.0  # two orders of summing the same float32 products; 126 to 137 dB were measured
EXECUTOR_RUNS = 4  # the first two only profile; optimized code runs from the third on
OPTIONS = ExportOptions()
REPOSITORY = Path(__file__).parents[1]
ALIGNMENT = 64  # libtorch maps tensors from the file

MODELS = {
    "same97": {"padding": PaddingStyle.SAME, "resolution": 97},
    "torch64": {"padding": PaddingStyle.TORCH, "resolution": 64, "head": graphs.TWO_LAYERS},
}
KINDS = ["fp32", "int8", "skewed"]


def model(name: str, kind: str) -> QuantizedGraph:
    floating, quantized = graphs.make_graphs(**MODELS[name])
    if kind == "skewed":
        return graphs.skew_qparams(quantized)
    return floating if kind == "fp32" else quantized


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("torchscript")


@pytest.fixture(scope="module")
def int8_file(folder: Path) -> Path:
    path = folder / "int8.pt"
    torchscript.emit(model("same97", "int8"), Precision.INT8, OPTIONS, path)
    return path


def sqnr_db(reference: np.ndarray, values: np.ndarray) -> float:
    noise = np.linalg.norm(reference - values) + np.finfo(np.float64).tiny
    return float(20 * np.log10(np.linalg.norm(reference) / noise))


@pytest.mark.parametrize("suffix", [".pt", ".ptl"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_the_goldens(name: str, kind: str, suffix: str, folder: Path) -> None:
    """fp32 within summing order; int8 at 0 LSB, for one image and five, however often it ran."""
    graph = model(name, kind)
    path = folder / f"{name}-{kind}.pt"
    if not path.exists():
        torchscript.emit(graph, graph.precision, OPTIONS, path)
    runner = torchscript.load(path.with_suffix(suffix))
    images = graphs.sample_images(graph.spec, 5, seed=7)
    expected = golden.run(graph, images)
    for _ in range(EXECUTOR_RUNS):
        together = runner(images)
        alone = np.concatenate([runner(images[i : i + 1]) for i in range(len(images))])
        for logits in (together, alone):
            assert logits.dtype == np.float32
            if graph.quantized:
                np.testing.assert_array_equal(logits, expected)
            else:
                assert sqnr_db(expected, logits) >= FLOAT32_DB


def test_sums_beyond_float32_are_carried_in_float64(folder: Path) -> None:
    """A layer whose accumulator can pass 2^24 stays exact."""
    graph = model("same97", "int8")
    layer = graph.ops[-2]
    assert isinstance(layer, Linear)
    assert layer.weight.scale is not None
    signs = np.where(np.arange(layer.weight.values.size) % 3 == 0, -127, 127)
    heavy = Weight(
        values=signs.reshape(layer.weight.values.shape).astype(np.int8), scale=layer.weight.scale
    )
    bias = layer.bias - 12_345_678
    graph = graphs.replace_op(graph, dataclasses.replace(layer, weight=heavy, bias=bias))
    path = folder / "heavy.pt"
    torchscript.emit(graph, Precision.INT8, OPTIONS, path)
    images = graphs.sample_images(graph.spec, 3, seed=8)
    np.testing.assert_array_equal(torchscript.load(path)(images), golden.run(graph, images))


@pytest.mark.parametrize("kind", ["fp32", "int8"])
def test_bytes_depend_on_the_model_alone(
    kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not on the file's name, on earlier traces or on torch's switches."""
    graph = model("torch64", kind)
    paths = [folder / "a.pt", folder / "another name.pt"]
    for path in paths:
        torchscript.emit(graph, graph.precision, OPTIONS, path)
        monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].with_suffix(".ptl").read_bytes() == paths[1].with_suffix(".ptl").read_bytes()


def test_another_process_writes_the_same_bytes_and_nothing_else(
    int8_file: Path, tmp_path: Path
) -> None:
    """No warning either; and importing the target loads no torch."""
    save_graph(model("same97", "int8"), tmp_path / "graph")
    code = (
        "import sys; from pathlib import Path; import targets.torchscript as target\n"
        "assert 'torch' not in sys.modules\n"
        "from exporter.graph_file import load_graph; from exporter.spec import Precision\n"
        "from exporter.target import ExportOptions\n"
        "target.emit(load_graph(Path(sys.argv[1])), Precision.INT8, ExportOptions(),"
        " Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "graph"), str(tmp_path / "x.pt")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for suffix in (".pt", ".ptl"):
        assert (tmp_path / f"x{suffix}").read_bytes() == int8_file.with_suffix(suffix).read_bytes()


@pytest.mark.parametrize("suffix", [".pt", ".ptl"])
def test_archive_says_nothing_of_this_machine(int8_file: Path, suffix: str) -> None:
    """No path, no file name, no line of a source."""
    with zipfile.ZipFile(int8_file.with_suffix(suffix)) as archive:
        for info in archive.infolist():
            content = archive.read(info)
            assert info.filename.startswith("archive/")
            assert not info.filename.endswith(".debug_pkl")
            for word in (
                str(REPOSITORY),
                "site-packages",
                "torchscript",
                ".py(",
                "mangle",
                "int8.",
            ):
                assert word.encode() not in content


@pytest.mark.parametrize("suffix", [".pt", ".ptl"])
def test_tensors_stay_aligned(int8_file: Path, suffix: str) -> None:
    data = int8_file.with_suffix(suffix).read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            name, extra = struct.unpack_from("<HH", data, info.header_offset + 26)
            assert (info.header_offset + 30 + name + extra) % ALIGNMENT == 0


def test_metadata_and_labels_travel_inside(int8_file: Path) -> None:
    graph = model("same97", "int8")
    for suffix in (".pt", ".ptl"):
        with zipfile.ZipFile(int8_file.with_suffix(suffix)) as archive:
            text = archive.read("archive/extra/mnv2_export.json").decode()
            labels = archive.read("archive/extra/labels.txt").decode()
        assert text == metadata_text(graph, Precision.INT8)
        assert labels == labels_text(graph.spec)


def test_int8_weights_stay_int8_on_disk(int8_file: Path) -> None:
    with zipfile.ZipFile(int8_file) as archive:
        sizes = [i.file_size for i in archive.infolist() if "/constants/" in i.filename]
    graph = model("same97", "int8")
    weights = sum(op.weight.values.size for op in graph.weighted())
    vectors = sum(2 * 4 * len(op.bias) for op in graph.weighted())
    scalars = 8 * len(sizes)
    assert weights + vectors <= sum(sizes) <= weights + vectors + scalars


@pytest.mark.parametrize("suffix", [".pt", ".ptl"])
def test_describe(int8_file: Path, suffix: str) -> None:
    graph = model("same97", "int8")
    path = int8_file.with_suffix(suffix)
    contents = torchscript.describe(path)
    assert contents.spec == graph.spec
    assert contents.size_bytes == path.stat().st_size
    assert contents.inputs[0].shape == ("n", 3, 97, 97)
    assert contents.outputs[0].shape == ("n", 20)
    assert contents.ops["_convolution"] == 52
    assert contents.ops["linear"] == 1
    assert [layer.name for layer in contents.layers] == [op.output for op in graph.weighted()]
    assert [layer.size_bytes for layer in contents.layers] == [
        op.weight.values.nbytes + op.bias.nbytes for op in graph.weighted()
    ]


def test_notes_name_the_lite_file(folder: Path) -> None:
    notes = torchscript.emit(model("same97", "int8"), Precision.INT8, OPTIONS, folder / "noted.pt")
    assert "not speed" in notes[0]
    assert "noted.ptl" in notes[1]
    assert torchscript.load(folder / "noted.pt").layers(np.zeros(0)) == {}


def test_fp16_is_refused(folder: Path) -> None:
    with pytest.raises(UnsupportedError, match="fp16"):
        torchscript.emit(model("same97", "fp32"), Precision.FP16, OPTIONS, folder / "half.pt")
    assert not (folder / "half.pt").exists()


def state_dict() -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": torch.ones(3)}, buffer)
    return buffer.getvalue()


def without_metadata(data: bytes) -> bytes:
    return torchscript._canonical(data, {torchscript.METADATA_FILE: ""})


DAMAGE = {
    "empty": lambda _: b"",
    "text": lambda _: b"not a program" * 50,
    "truncated": lambda data: data[: len(data) // 2],
    "one bit of a weight": lambda data: flip_bit(data, data.index(b"constants/0") + 200),
    "a state dict": lambda _: state_dict(),
    "another tool's": without_metadata,
}


def flip_bit(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("read", [torchscript.load, torchscript.describe])
def test_damage_is_an_artifact_error(read: object, damage: str, int8_file: Path) -> None:
    path = int8_file.with_name("damaged.pt")
    path.write_bytes(DAMAGE[damage](int8_file.read_bytes()))
    with pytest.raises(ArtifactError, match=r"damaged\.pt"):
        read(path)  # type: ignore[operator]


def test_missing_file_is_an_artifact_error(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="no such file"):
        torchscript.load(folder / "nowhere.pt")
