"""What is put on the clock computes what the artifact is, in every runtime's session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from graphs import make_graphs, sample_images
from head_graphs import int8_graph

from exporter.outputs import Ends, Outputs
from exporter.spec import PaddingStyle, Precision
from exporter.target import ExportOptions, IoType
from exporter.timing import FloatBaseline, Timed, TimedSession
from targets import TargetName, get, torchscript

INT8, FP32 = Precision.INT8, Precision.FP32


@pytest.fixture(scope="module")
def graphs():
    return dict(zip((FP32, INT8), make_graphs(padding=PaddingStyle.TORCH), strict=True))


def computed(session: TimedSession) -> np.ndarray:
    """What lies in the runtime's memory after a run; no session copies it out."""
    if hasattr(session, "_method"):
        return session._method.get_outputs()[0].numpy()
    if hasattr(session, "_bound"):
        return session._bound.copy_outputs_to_cpu()[0]
    (details,) = session._interpreter.get_output_details()
    return session._interpreter.get_tensor(details["index"])


@pytest.mark.parametrize(
    ("name", "precision", "options"),
    [
        (TargetName.ANDROID, INT8, ExportOptions()),
        (TargetName.ANDROID, FP32, ExportOptions()),
        (TargetName.ONNX, INT8, ExportOptions()),
        (TargetName.ONNX, FP32, ExportOptions(batch=None)),
        (TargetName.ONNX, INT8, ExportOptions(batch=3)),
        (TargetName.LITERT, INT8, ExportOptions()),
        (TargetName.LITERT, FP32, ExportOptions()),
        (TargetName.LITERT, INT8, ExportOptions(io=IoType.UINT8)),
    ],
    ids=str,
)
def test_a_timed_run_gives_the_artifacts_results(graphs, name, precision, options, tmp_path):
    graph, backend = graphs[precision], get(name).backend
    path = tmp_path / f"model{get(name).info.suffix}"
    backend.emit(graph, precision, options, path)
    image = sample_images(graph.spec, 1, seed=5)
    expected = backend.load(path)(image)
    assert isinstance(backend, Timed)
    session = backend.timed_session(1)
    session.load(path)
    session.feed(image)
    for _ in range(2):  # a run does not eat its input
        session.run()
    found = computed(session)
    if options.io is not IoType.FLOAT32:
        q = graph.qparams(graph.ops[-1].inputs[0])
        found = ((found.astype(np.int32) - 128 - q.zero_point) * np.float32(q.scale)).astype("f4")
    for row in found:
        np.testing.assert_array_equal(row, expected[0])


@pytest.mark.parametrize("suffix", [".pt", ".ptl"])
def test_torchscript_runs_in_the_interpreter_of_its_suffix(graphs, suffix, tmp_path) -> None:
    path = tmp_path / "model.pt"
    torchscript.emit(graphs[FP32], FP32, ExportOptions(), path)
    image = sample_images(graphs[FP32].spec, 1, seed=5)
    session = torchscript.timed_session(1)
    session.load(path.with_suffix(suffix))
    session.feed(image)
    session.run()
    assert ("lite" in session.runtime) == (suffix == ".ptl")
    assert session.trace(1) is None
    found = session._function(session._image).numpy()
    np.testing.assert_array_equal(found, torchscript.load(path.with_suffix(suffix))(image))


def test_the_baseline_is_the_float_network(graphs) -> None:
    assert isinstance(torchscript, FloatBaseline)
    image = sample_images(graphs[FP32].spec, 1, seed=5)
    session = torchscript.float_session(graphs[FP32], 1)
    session.load(Path())
    session.feed(image)
    session.run()
    from exporter import golden

    found = session._function(session._image).numpy()
    np.testing.assert_allclose(found, golden.run(graphs[FP32], image), atol=1e-4)


def test_packages_of_core_ml_are_timed_on_apples_devices_only() -> None:
    assert not isinstance(get(TargetName.IOS).backend, Timed)


@pytest.mark.parametrize("name", [TargetName.ANDROID, TargetName.LITERT])
def test_what_runs_outside_of_a_delegate_is_counted(name: TargetName, tmp_path: Path) -> None:
    """Nothing of a classifier; of a segmenter that names pixels the argmax and its conversion."""
    classifier = make_graphs(padding=PaddingStyle.TORCH)[1]
    segmenter = int8_graph("deeplab-65", Ends(outputs=Outputs.LABELS))
    backend = get(name).backend
    found = []
    for graph in (classifier, segmenter):
        path = tmp_path / f"{graph.spec.task}{get(name).info.suffix}"
        backend.emit(graph, INT8, ExportOptions(), path)
        found.append(backend.describe(path).undelegated)
    assert found[0] == 0
    assert found[1] is not None
    assert 1 <= found[1] <= 3
