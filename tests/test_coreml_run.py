"""`mnv2-export coreml-run`: any simple ML program, ours and others', from files to outputs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import pytest
from conftest import invoke
from PIL import Image

from exporter.evaluation import PROVES, figures
from exporter.files import added_to
from exporter.photos import fitted
from exporter.preprocess import load_pixels, normalize
from exporter.spec import Fit, Precision
from exporter.target import Arithmetic, ExportOptions, IosFormat
from targets import ios
from targets.coreml_sdk import coremltools, quiet

ct = coremltools()
from coremltools.converters.mil import Builder as mb  # noqa: E402, N813 (after the quiet import)
from coremltools.converters.mil.mil import get_new_symbol, types  # noqa: E402
from coremltools.models.utils import MultiFunctionDescriptor, save_multifunction  # noqa: E402

from targets.mil import open_program  # noqa: E402
from targets.mil.package import read_package  # noqa: E402

README = Path(__file__).parents[1] / "README.md"
WIDTH, HEIGHT = 24, 16
PICTURE = (1, 3, HEIGHT, WIDTH)
RNG = np.random.default_rng(0)
BGR, GRAY = ct.colorlayout.BGR, ct.colorlayout.GRAYSCALE

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def write(folder: Path) -> Write:
    """A program of coremltools' builder as a package, without any pass."""

    def once(program: Callable[..., Any], *specs: Any, **options: Any) -> Path:
        path = folder / f"m{len(list(folder.iterdir()))}.mlpackage"
        built = mb.program(input_specs=list(specs), opset_version=ct.target.iOS17)(program)
        with quiet():
            ct.convert(
                built,
                source="milinternal",
                convert_to="mlprogram",
                minimum_deployment_target=ct.target.iOS17,
                pass_pipeline=ct.PassPipeline.EMPTY,
                skip_model_load=True,
                package_dir=str(path),
                **options,
            )
        return path

    return once


@pytest.fixture(scope="module")
def pixels(write: Write) -> Callable[..., Path]:
    """A package that gives the pixels it is fed, once for each kind of picture."""
    done: dict[Any, Path] = {}

    def once(layout: Any = None, shape: Any = PICTURE) -> Path:
        if (layout, str(shape)) not in done:
            image = ct.ImageType(name="image", shape=shape, color_layout=layout or "RGB")
            spec = mb.TensorSpec(shape if isinstance(shape, tuple) else (1, 3, *symbols()))
            path = write(lambda image: mb.identity(x=image, name="y"), spec, inputs=[image])
            done[layout, str(shape)] = path
        return done[layout, str(shape)]

    return once


@pytest.fixture(scope="module")
def ours(folder: Path) -> Path:
    path = folder / "ours.mlpackage"
    ios.emit(graphs.make_tiny_graph(0), Precision.INT8, ExportOptions(), path)
    return path


@pytest.fixture(scope="module")
def program_file(folder: Path) -> Path:
    path = folder / "ours.coreml.pte"
    options = ExportOptions(format=IosFormat.PTE)
    ios.emit(graphs.make_tiny_graph(0), Precision.INT8, options, path)
    return path


@pytest.fixture(scope="module")
def photo(folder: Path) -> Path:
    return save_photo(folder / "photo.png", 100, 50)


@pytest.fixture(scope="module")
def logits(write: Write) -> Path:
    """An array in, one number per class out."""
    weight = RNG.normal(size=(6, 4)).astype(np.float32)
    return write(lambda x: mb.linear(x=x, weight=weight, name="y"), mb.TensorSpec((1, 4)))


def symbols() -> tuple[Any, Any]:
    return get_new_symbol(), get_new_symbol()


def save_photo(path: Path, width: int, height: int) -> Path:
    Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return path


def save_array(path: Path, array: Any) -> Path:
    np.save(path, array)
    return path


def run(*arguments: object) -> dict[str, Any]:
    result = invoke("coreml-run", *arguments, "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def saved(tmp_path: Path, *arguments: object) -> dict[str, np.ndarray]:
    """What `--save` wrote, by the file's name without its suffix."""
    run(*arguments, "--save", tmp_path / "saved")
    return {file.stem: np.load(file) for file in (tmp_path / "saved").iterdir()}


# --- our own packages ----------------------------------------------------------------------------


@pytest.mark.parametrize("arithmetic", list(Arithmetic))
def test_own_package_follows_its_own_contract(
    ours: Path, photo: Path, tmp_path: Path, arithmetic: Arithmetic
) -> None:
    """The numbers are those of the Python call on a picture that the contract has made."""
    contract = graphs.make_tiny_graph(0).spec.preprocess
    expected = open_program(ours, arithmetic)(image=load_pixels(photo, contract))
    document = run(ours, photo, "--arithmetic", arithmetic, "--save", tmp_path)
    (found,) = document["runs"]
    best = sorted(expected["classLabel_probs"].items(), key=lambda item: -item[1])
    assert found["classes"] == [list(pair) for pair in best]
    assert found["label"] == expected["classLabel"]
    (array,) = found["arrays"]
    assert (array["name"], array["shape"], array["top"]) == ("logits", [1, 4], [])
    assert array["min"] == expected["logits"].min()
    assert array["max"] == expected["logits"].max()
    np.testing.assert_allclose(array["mean"], expected["logits"].mean(), rtol=1e-6)
    np.testing.assert_array_equal(np.load(tmp_path / "photo.logits.npy"), expected["logits"])
    probabilities = np.load(tmp_path / "photo.classLabel_probs.npy")
    assert probabilities.tolist() == list(expected["classLabel_probs"].values())
    assert document["preprocess"] == contract.to_json() | {
        "value_range": list(contract.value_range)
    }
    assert document["fit"] is None
    assert document["evaluator"]["arithmetic"] == arithmetic
    assert document["proves"] == PROVES


def test_a_photo_of_one_row_does_not_become_gigabytes(ours: Path, tmp_path: Path) -> None:
    """Its shorter side is scaled to the contract's first; --fit scales no more than is kept."""
    row = save_photo(tmp_path / "row.png", 300_000, 1)
    assert "300000 x 1 would become 11100000 x 37" in refused(4, ours, row)
    assert run(ours, row, "--fit", "center-crop")["fit"] == "center-crop"


def test_fit_takes_the_place_of_the_contract(ours: Path, photo: Path, tmp_path: Path) -> None:
    with Image.open(photo) as image:
        stretched = fitted(image, (32, 32), Fit.SCALE_FILL)
    expected = open_program(ours)(image=stretched)["logits"]
    np.testing.assert_array_equal(
        saved(tmp_path, ours, photo, "--fit", "scale-fill")["photo.logits"], expected
    )
    text = invoke("coreml-run", ours, photo, "--fit", "scale-fill").stdout
    assert "photos: scale-fill" in text
    assert "contract" not in text


def test_table_names_what_ran_and_what_it_proves(ours: Path, photo: Path) -> None:
    result = invoke("coreml-run", ours, photo, photo, "--top", "2")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines.count(str(photo)) == 2
    assert sum(bool(re.match(r"  thing \d +\d+\.\d% #*$", line)) for line in lines) == 4
    assert sum(line.startswith("  logits float32 1 x 4, min") for line in lines) == 2
    assert lines[-2].startswith("photos: the package's own contract, bilinear resize of the short")
    assert re.fullmatch(
        r"reference evaluator, declared arithmetic, \d+ operations, [\d.e-]+ s: "
        r"proves program and weights, not Apple's kernels",
        lines[-1],
    )


def test_integer_arithmetic_says_how_far_it_reaches(
    ours: Path, photo: Path, write: Write, tmp_path: Path
) -> None:
    """A product is no layer of the golden's."""
    text = invoke("coreml-run", ours, photo, "--arithmetic", "integer").stdout
    assert "7 layers ran as integers, every quantized one" in text

    def broadcast(x: Any) -> Any:
        scale, zero = np.float32(0.05), np.int8(0)
        codes = mb.quantize(input=x, scale=scale, zero_point=zero, output_dtype="int8")
        real = mb.dequantize(input=codes, scale=scale, zero_point=zero)
        total = mb.mul(x=real, y=real)
        back = mb.quantize(
            input=total, scale=scale, zero_point=zero, output_dtype="int8", name="squares"
        )
        return mb.dequantize(input=back, scale=scale, zero_point=zero, name="y")

    path = write(broadcast, mb.TensorSpec((1, 4)))
    text = invoke(
        "coreml-run", path, save_array(tmp_path / "x.npy", np.ones((1, 4))), "--arithmetic=integer"
    ).stdout
    assert "0 layers ran as integers, 1 did not: squares" in text


def test_a_package_inside_a_pte_runs_on_photos_and_on_tensors(
    program_file: Path, photo: Path, tmp_path: Path
) -> None:
    """It takes normalized tensors: the contract makes one of a photo."""
    spec = graphs.make_tiny_graph(0).spec
    tensor = normalize(load_pixels(photo, spec.preprocess)[None], spec.preprocess)
    array = save_array(tmp_path / "tensor.npy", tensor)
    found = saved(tmp_path, program_file, photo, array)
    assert list(found) != []
    np.testing.assert_array_equal(found["photo.logits"], found["tensor.logits"])
    top = run(program_file, photo, "--top", "1")["runs"][0]["arrays"][0]["top"]
    best = int(found["photo.logits"].argmax())
    assert top == [[f"thing {best}", float(found["photo.logits"][0, best])]]


# --- photos --------------------------------------------------------------------------------------


def resampled(image: np.ndarray, low: float, high: float, size: int) -> np.ndarray:
    """Axis 0 between two places, by a triangle as wide as the step, or as a pixel."""
    step = (high - low) / size
    places = low + (np.arange(size) + 0.5) * step
    distance = np.abs(np.arange(len(image)) + 0.5 - places[:, None]) / max(step, 1.0)
    weights = np.clip(1 - distance, 0, None)
    weights /= weights.sum(1, keepdims=True)
    sums = np.einsum("ij,jkc->ikc", weights, image.astype(np.float64))
    return np.floor(sums + 0.5 + 1e-6)  # Pillow rounds halves up


def stated(image: np.ndarray, fit: Fit) -> np.ndarray:
    """What Vision's words mean, in numbers: (h, w, 3) -> (HEIGHT, WIDTH, 3)."""
    height, width = image.shape[:2]
    whole, inner = (0.0, 0.0, width, height), (WIDTH, HEIGHT)
    if fit is Fit.CENTER_CROP:
        scale = min(width / WIDTH, height / HEIGHT)  # source pixels in one of ours
        across, down = WIDTH * scale / 2, HEIGHT * scale / 2
        whole = (width / 2 - across, height / 2 - down, width / 2 + across, height / 2 + down)
    elif fit is Fit.SCALE_FIT:
        scale = max(width / WIDTH, height / HEIGHT)
        inner = (max(1, round(width / scale)), max(1, round(height / scale)))
    left, top, right, bottom = whole
    wide = resampled(image.swapaxes(0, 1), left, right, inner[0]).swapaxes(0, 1)
    small = resampled(wide, top, bottom, inner[1])
    x, y = (WIDTH - inner[0]) // 2, (HEIGHT - inner[1]) // 2
    return np.pad(small, ((y, HEIGHT - inner[1] - y), (x, WIDTH - inner[0] - x), (0, 0)))


@pytest.mark.parametrize("size", [(100, 50), (31, 77), (10, 9), (1, 300), (48, 32)])
@pytest.mark.parametrize("fit", [Fit.CENTER_CROP, Fit.SCALE_FILL, Fit.SCALE_FIT])
def test_every_fit_is_what_its_name_says(
    pixels: Callable[..., Path], tmp_path: Path, fit: Fit, size: tuple[int, int]
) -> None:
    """To one 8-bit step, which is the rounding of the weights."""
    path = save_photo(tmp_path / "x.png", *size)
    got = saved(tmp_path, pixels(), path, "--fit", fit)["x.y"][0].transpose(1, 2, 0)
    difference = got - stated(np.asarray(Image.open(path)), fit)
    assert np.abs(difference).max() <= 1


def test_center_crop_is_the_default_and_leaves_a_photo_that_fits(
    pixels: Callable[..., Path], tmp_path: Path
) -> None:
    large = save_photo(tmp_path / "large.png", 60, 20)
    exact = save_photo(tmp_path / "exact.png", WIDTH, HEIGHT)
    chosen = saved(tmp_path / "a", pixels(), large, exact, "--fit", "center-crop")
    by_default = saved(tmp_path / "b", pixels(), large, exact)
    for name, array in chosen.items():
        np.testing.assert_array_equal(array, by_default[name])
    with Image.open(exact) as image:
        np.testing.assert_array_equal(
            by_default["exact.y"], np.asarray(image).transpose(2, 0, 1)[None]
        )
    assert run(pixels(), large)["fit"] == "center-crop"


def test_no_fit_wants_the_models_size(pixels: Callable[..., Path], tmp_path: Path) -> None:
    exact = save_photo(tmp_path / "exact.png", WIDTH, HEIGHT)
    assert run(pixels(), exact, "--fit", "none")["fit"] == "none"
    large = save_photo(tmp_path / "large.png", 60, 20)
    result = invoke("coreml-run", pixels(), large, "--fit", "none")
    assert result.exit_code == 4
    assert f"60 x 20 pixels, the model takes {WIDTH} x {HEIGHT}" in result.stderr


def test_channels_come_in_the_order_that_the_model_declares(
    pixels: Callable[..., Path], tmp_path: Path
) -> None:
    path = save_photo(tmp_path / "x.png", WIDTH, HEIGHT)
    with Image.open(path) as image:
        rgb, gray = np.asarray(image), np.asarray(image.convert("L"))
    planes = rgb.transpose(2, 0, 1)[None]
    np.testing.assert_array_equal(saved(tmp_path / "rgb", pixels(), path)["x.y"], planes)
    np.testing.assert_array_equal(
        saved(tmp_path / "bgr", pixels(BGR), path)["x.y"], planes[:, ::-1]
    )
    one = pixels(GRAY, (1, 1, HEIGHT, WIDTH))
    np.testing.assert_array_equal(saved(tmp_path / "gray", one, path)["x.y"], gray[None, None])


def test_arrays_of_pixels_are_fed_as_they_are(pixels: Callable[..., Path], tmp_path: Path) -> None:
    """RGB for a model that takes BGR, as a photo is; another size is not made to fit."""
    rgb = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    path = save_array(tmp_path / "x.npy", rgb)
    got = saved(tmp_path, pixels(BGR), path)["x.y"]
    np.testing.assert_array_equal(got, rgb.transpose(2, 0, 1)[None, ::-1])
    assert run(pixels(), path)["fit"] is None
    small = save_array(tmp_path / "small.npy", rgb[:4])
    result = invoke("coreml-run", pixels(), small)
    assert result.exit_code == 4
    assert f"{WIDTH} x 4 pixels" in result.stderr
    real = save_array(tmp_path / "real.npy", rgb.astype(np.float32))
    result = invoke("coreml-run", pixels(), real)
    assert result.exit_code == 4
    assert "float32 of shape [16, 24, 3] is not an image" in result.stderr


def test_a_model_of_flexible_size_takes_photos_as_they_are(
    pixels: Callable[..., Path], tmp_path: Path
) -> None:
    side = ct.RangeDim(8, 64, default=16)
    flexible = pixels(None, ct.Shape(shape=(1, 3, side, side)))
    within = save_photo(tmp_path / "within.png", 40, 20)
    beyond = save_photo(tmp_path / "beyond.png", 80, 20)
    arrays = saved(tmp_path, flexible, within, beyond)
    assert arrays["within.y"].shape == (1, 3, 20, 40)
    assert arrays["beyond.y"].shape == (1, 3, 16, 16)


# --- other people's models -----------------------------------------------------------------------


def test_several_inputs_are_named(write: Write, tmp_path: Path) -> None:
    def program(a: Any, b: Any) -> Any:
        return mb.add(x=a, y=mb.cast(x=b, dtype="fp32"), name="sum")

    path = write(program, mb.TensorSpec((2, 3)), mb.TensorSpec((2, 3), dtype=types.int32))
    a, b = np.linspace(-2, 2, 6).reshape(2, 3).astype(np.float32), np.arange(6).reshape(2, 3)
    files = [f"b={save_array(tmp_path / 'b.npy', b)}", f"a={save_array(tmp_path / 'a.npy', a)}"]
    (found,) = run(path, *files, "--save", tmp_path / "out")["runs"]
    (array,) = found["arrays"]
    assert found["saved"] == [str(tmp_path / "out" / f"{path.stem}.sum.npy")]
    np.testing.assert_array_equal(np.load(found["saved"][0]), a + b.astype(np.float32))
    assert (array["shape"], array["dtype"], array["top"]) == ([2, 3], "float32", [])
    assert (array["min"], array["max"], array["not_finite"]) == (-2, 7, 0)
    text = invoke("coreml-run", path, *files).stdout
    assert "sum float32 2 x 3, min -2, mean 2.5, max 7\n" in text
    assert "photos" not in text


@pytest.mark.parametrize("named", [[], ["a={x}"], ["a={x}", "a={x}"], ["a={x}", "b={x}", "c={x}"]])
def test_several_inputs_that_do_not_fit_are_listed(
    write: Write, tmp_path: Path, named: list[str]
) -> None:
    specs = mb.TensorSpec((2,)), mb.TensorSpec((2,))
    path = write(lambda a, b: mb.add(x=a, y=b, name="sum"), *specs)
    x = save_array(tmp_path / "x.npy", np.ones(2))
    result = invoke("coreml-run", path, *(n.format(x=x) for n in named or ["{x}", "{x}"]))
    assert result.exit_code == 4
    assert "-> pass a=FILE b=FILE" in result.stderr


@pytest.mark.parametrize("labels", [[30, 10, 20], ["[red]one[/]", "two", "three"]])
def test_classifiers_of_any_label(
    write: Write, tmp_path: Path, labels: list[int] | list[str]
) -> None:
    """Numbers stay numbers in JSON, and markup in a label is text."""

    def program(x: Any) -> Any:
        return mb.softmax(x=x, name="p")

    config = ct.ClassifierConfig(labels, predicted_probabilities_output="p")
    path = write(program, mb.TensorSpec((1, 3)), classifier_config=config)
    x = save_array(tmp_path / "x.npy", np.log([[0.25, 0.25, 0.5]]))
    (found,) = run(path, x, "--top", "2")["runs"]
    assert found["label"] == labels[2]
    assert [name for name, _ in found["classes"]] == [labels[2], labels[0]]
    np.testing.assert_allclose([p for _, p in found["classes"]], [0.5, 0.25], rtol=1e-6)
    text = invoke("coreml-run", path, x).stdout
    assert f"{labels[2]} " in text
    assert f"{labels[0]} " in text
    assert "50.0% ###############\n" in text
    assert open_program(path)(x=np.load(x))["classLabel"] == labels[2]


def test_a_row_of_numbers_is_shown_from_the_top(logits: Path, tmp_path: Path) -> None:
    x = save_array(tmp_path / "x.npy", RNG.normal(size=(1, 4)))
    expected = open_program(str(logits))(x=np.load(x))["y"][0]
    ((_, found),) = run(logits, x, "--top", "3")["runs"][0]["arrays"][0]["top"][:1] or [(0, 0)]
    assert found == expected.max()
    text = invoke("coreml-run", logits, x, "--top", "3").stdout
    order = np.argsort(-expected)[:3]
    assert re.findall(r"    \[(\d)\] +(\S+)\n", text) == [
        (str(i), f"{expected[i]:.6g}") for i in order
    ]


def test_numbers_that_are_not_finite_are_counted(logits: Path, tmp_path: Path) -> None:
    """And JSON stays JSON, which has no NaN."""
    x = save_array(tmp_path / "x.npy", [[np.inf, np.nan, 1, 1]])
    (array,) = run(logits, x)["runs"][0]["arrays"]
    assert (array["not_finite"], array["min"], array["top"][0][1]) == (6, None, None)
    text = invoke("coreml-run", logits, x).stdout
    assert "y float32 1 x 6, 6 of 6 not finite" in text
    none = figures("y", np.array([np.nan, 2.0, -np.inf]), None, 1)
    assert (none.not_finite, none.max, none.top) == (2, 2.0, (("[1]", 2.0),))


def test_pictures_come_out_as_pixels(pixels: Callable[..., Path], tmp_path: Path) -> None:
    path, photo = tmp_path / "draws.mlpackage", save_photo(tmp_path / "x.png", WIDTH, HEIGHT)
    redeclare(pixels(), path, draw)
    with Image.open(photo) as image:
        np.testing.assert_array_equal(saved(tmp_path, path, photo)["x.y"], np.asarray(image))
    (array,) = run(path, photo)["runs"][0]["arrays"]
    assert (array["dtype"], array["shape"]) == ("uint8", [HEIGHT, WIDTH, 3])


def redeclare(source: Path, path: Path, change: Callable[[Any], None]) -> None:
    """A copy of a package with a change to its protobuf."""
    package = read_package(source)
    shutil.copytree(source, path, dirs_exist_ok=True)
    change(package.spec)
    model = path / package.model_path.relative_to(source)
    model.write_bytes(package.spec.SerializeToString())


def draw(spec: Any) -> None:
    """An output that is a picture."""
    image = spec.description.output[0].type.imageType
    image.width, image.height, image.colorSpace = WIDTH, HEIGHT, 20  # RGB


def test_the_default_of_several_functions_runs(write: Write, logits: Path, tmp_path: Path) -> None:
    other = write(lambda x: mb.relu(x=x, name="y"), mb.TensorSpec((1, 2)))
    several = MultiFunctionDescriptor()
    several.add_function(str(other), "main", "rectify")
    several.add_function(str(logits), "main", "classify")
    several.default_function_name = "classify"
    path = tmp_path / "several.mlpackage"
    with quiet():
        save_multifunction(several, str(path))
    x = save_array(tmp_path / "x.npy", np.ones((1, 4)))
    assert run(path, x)["runs"][0]["arrays"][0]["shape"] == [1, 6]


# --- saving --------------------------------------------------------------------------------------


def test_files_of_the_same_stem_are_refused_before_any_work(logits: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_array(tmp_path / name / "x.npy", np.ones((1, 4)))
    files = [tmp_path / "a" / "x.npy", tmp_path / "b" / "x.npy"]
    result = invoke("coreml-run", logits, *files, "--save", tmp_path / "out")
    assert result.exit_code == 4
    assert "2 outputs would be saved under 1 names: x.y.npy" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_run_that_fails_saves_nothing(logits: Path, tmp_path: Path) -> None:
    good = save_array(tmp_path / "good.npy", np.ones((1, 4)))
    bad = save_array(tmp_path / "bad.npy", np.ones((1, 5)))
    result = invoke("coreml-run", logits, good, bad, "--save", tmp_path / "deep" / "out")
    assert result.exit_code == 4
    assert "[1, 5], the model takes [1, 4]" in result.stderr
    assert list((tmp_path / "deep").iterdir()) == []


def test_saving_replaces_its_own_files_and_no_others(logits: Path, tmp_path: Path) -> None:
    x = save_array(tmp_path / "x.npy", np.ones((1, 4)))
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "x.y.npy").write_text("old")
    run(logits, x, "--save", out)
    assert sorted(f.name for f in out.iterdir()) == ["notes.txt", "x.y.npy"]
    assert np.load(out / "x.y.npy").shape == (1, 6)


def test_places_that_cannot_be_written_to(logits: Path, tmp_path: Path) -> None:
    x = save_array(tmp_path / "x.npy", np.ones((1, 4)))
    for place in (x, x / "below"):
        result = invoke("coreml-run", logits, x, "--save", place)
        assert result.exit_code == 9, result.output
        assert str(place) in result.stderr
    (tmp_path / "out" / "file").mkdir(parents=True)
    with pytest.raises(Exception, match="cannot be written to"), added_to(tmp_path / "out") as new:
        (new / "file").write_text("in the way of a directory")


def test_an_output_cannot_name_a_file_elsewhere(logits: Path, tmp_path: Path) -> None:
    def rename(spec: Any) -> None:
        spec.description.output[0].name = "../../y"
        function = spec.mlProgram.functions["main"]
        block = function.block_specializations[function.opset]
        block.outputs[0] = block.operations[-1].outputs[0].name = "../../y"

    path = tmp_path / "deep" / "down" / "m.mlpackage"
    redeclare(logits, path, rename)
    x = save_array(tmp_path / "x.npy", np.ones((1, 4)))
    assert list(saved(tmp_path, path, x)) == ["x..._.._y"]


# --- what cannot be run --------------------------------------------------------------------------


def refused(code: int, *arguments: object) -> str:
    """The error and its hint: one line each, and nothing on standard output."""
    result = invoke("coreml-run", *arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.output
    assert len(result.stderr.splitlines()) <= 2
    document = json.loads(invoke("coreml-run", *arguments, "--json").stdout)
    assert document["exit_code"] == code
    return " ".join(result.stderr.split())


def test_operations_without_a_rule_are_all_named(write: Write, tmp_path: Path) -> None:
    def program(x: Any) -> Any:
        y = mb.einsum(values=(x, x), equation="abcd,adce->abce")
        noise = mb.random_uniform(shape=[1, 2, 2, 2], low=0.0, high=1.0)
        return mb.add(x=y, y=noise, name="y")

    path = write(program, mb.TensorSpec((1, 2, 2, 2)))
    text = refused(5, path, save_array(tmp_path / "x.npy", np.ones((1, 2, 2, 2))))
    assert f"{path}: ML program operations without a rule: einsum, random_uniform" in text


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("model.mlmodel", "convert_to='mlprogram'"),
        ("model.mlmodelc", "compiled from"),
        ("model.onnx", "not a Core ML package"),
        ("model.pte", "a .pte that holds one"),
    ],
)
def test_files_that_are_no_packages(tmp_path: Path, photo: Path, name: str, reason: str) -> None:
    assert "no such file" in refused(9, tmp_path / name, photo)
    (tmp_path / name).write_bytes(b"something else")
    assert reason in refused(9, tmp_path / name, photo)


def test_a_pte_of_another_delegate(folder: Path, tmp_path: Path, photo: Path) -> None:
    from targets import android

    path = tmp_path / "model.pte"
    android.emit(graphs.make_tiny_graph(0), Precision.INT8, ExportOptions(), path)
    text = refused(9, path, photo)
    assert "XnnpackBackend" in text
    assert "a .pte that holds one" in text


def test_damaged_packages(ours: Path, photo: Path, tmp_path: Path) -> None:
    """The package is named; so is a model that is no ML program."""
    path = tmp_path / "x.mlpackage"
    redeclare(ours, path, lambda spec: spec.neuralNetwork.SetInParent())
    assert "but a neuralNetwork model" in refused(9, path, photo)
    weights = next(path.rglob("weight.bin"))
    redeclare(ours, path, lambda _: None)
    weights.write_bytes(weights.read_bytes()[:100])
    assert f"{path}: weight.bin is damaged" in refused(9, path, photo)
    (path / "Manifest.json").unlink()
    assert f"{path}: Manifest.json is missing" in refused(9, path, photo)


def test_a_picture_that_the_program_cannot_draw(logits: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.mlpackage"
    redeclare(logits, path, draw)
    x = save_array(tmp_path / "x.npy", np.ones((1, 4)))
    assert "output 'y' is not what the model describes" in refused(9, path, x)


@pytest.mark.parametrize("width", [0, 2**15, 2**40])
def test_a_picture_of_no_size_or_beyond_memory(
    pixels: Callable[..., Path], tmp_path: Path, width: int
) -> None:
    def resize(spec: Any) -> None:
        spec.description.input[0].type.imageType.width = width

    redeclare(pixels(), tmp_path / "x.mlpackage", resize)
    photo = save_photo(tmp_path / "x.png", 40, 20)
    assert f"'image' is a picture of {width} x 16" in refused(5, tmp_path / "x.mlpackage", photo)


@pytest.mark.parametrize("name", ["a\0b", "n" * 5000])
def test_names_that_no_file_can_have(logits: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.mlpackage"
    shutil.copytree(logits, path)
    manifest = json.loads((path / "Manifest.json").read_text())
    for entry in manifest["itemInfoEntries"].values():
        entry["path"] = name
    (path / "Manifest.json").write_text(json.dumps(manifest))
    x = save_array(tmp_path / "x.npy", np.ones((1, 4)))
    assert f"{path}: refers to" in refused(9, path, x)


def test_elements_of_no_mil_type(logits: Path, tmp_path: Path) -> None:
    def retype(spec: Any) -> None:
        function = spec.mlProgram.functions["main"]
        block = function.block_specializations[function.opset]
        block.operations[-1].outputs[0].type.tensorType.dataType = 82

    path = tmp_path / "x.mlpackage"
    redeclare(logits, path, retype)
    x = save_array(tmp_path / "x.npy", np.ones((1, 4)))
    assert "a tensor of MIL type 82" in refused(5, path, x)


def test_an_array_of_no_known_type(logits: Path, tmp_path: Path) -> None:
    def forget(spec: Any) -> None:
        spec.description.input[0].type.multiArrayType.dataType = 0

    path = tmp_path / "x.mlpackage"
    redeclare(logits, path, forget)
    x = save_array(tmp_path / "x.npy", np.ones((1, 4)))
    assert "'x' is an array of elements that nothing here knows" in refused(5, path, x)


def test_an_image_for_an_array(logits: Path, photo: Path) -> None:
    text = refused(4, logits, photo)
    assert f"{photo}: input 'x' of the model takes an array of shape [1, 4], not an image" in text
    assert "pass the .npy file" in text


def header(shape: str, descr: str = "<f4") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


BAD_ARRAYS = {
    "no array": b"these are notes",
    "empty": b"",
    "a header alone": header("(1, 4)"),
    "more than follows": header("(1000000, 1000000, 1000000)") + bytes(16),
    "fewer than none": header("(-1, -4)") + bytes(16),
    "objects": header("(1, 4)", "|O") + bytes(16),
    "text": header("(1, 4)", "<U1") + bytes(16),
    "no header": b"\x93NUMPY\x01\x00\x05\x00{'a':",
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays(case: str, logits: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(BAD_ARRAYS[case])
    assert f"{path}: " in refused(4, logits, path)


def test_files_that_are_missing_or_no_images(
    logits: Path, pixels: Callable[..., Path], tmp_path: Path
) -> None:
    assert "no such .npy file" in refused(4, logits, tmp_path / "x.npy")
    assert "no such image" in refused(4, pixels(), tmp_path / "x.png")
    (tmp_path / "x.png").write_text("notes")
    assert "cannot be decoded" in refused(4, pixels(), tmp_path / "x.png")


def test_arrays_with_a_newer_header_and_in_any_order(logits: Path, tmp_path: Path) -> None:
    x = np.arange(4.0).reshape(4, 1).T
    with (tmp_path / "x.npy").open("wb") as file:
        np.lib.format.write_array(file, x, version=(3, 0))
    expected = open_program(logits)(x=x)["y"]
    np.testing.assert_array_equal(saved(tmp_path, logits, tmp_path / "x.npy")["x.y"], expected)


# --- the Python call -----------------------------------------------------------------------------


def test_python_example_of_the_readme(
    pixels: Callable[..., Path], photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it stands there, in a folder with a package and a photo."""
    (example,) = re.findall(r"```python\n([^`]*open_program[^`]*)```", README.read_text())
    redeclare(pixels(), tmp_path / "model.mlpackage", lambda _: None)
    save_photo(tmp_path / "photo.jpg", WIDTH, HEIGHT)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})


def test_readme_counts_the_operations() -> None:
    from targets.mil.rules import FAMILIES, RULES

    text = " ".join(README.read_text().split())
    assert f"{len(RULES)} operations in {len(FAMILIES)} families" in text
