"""The comparison with other tools: its recipes, its plain network, its figures and its table."""

from __future__ import annotations

import dataclasses
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from graphs import make_spec, random_model
from PIL import Image

from exporter.errors import UnsupportedError
from exporter.latency.records import Median
from exporter.preprocess import normalize, read_image, to_pixels
from exporter.spec import HeadLayer, PaddingStyle, keras_preprocess, torchvision_preprocess
from exporter.verdicts import Quality

FOLDER = Path(__file__).parents[1] / "benchmarks"
STOCK = FOLDER / "stock"
RECIPES = sorted(path.stem for path in STOCK.glob("*.txt"))
SIDE = 64


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


@pytest.fixture
def table(module) -> ModuleType:
    return module("alternatives_table")


@pytest.fixture
def exports(module) -> ModuleType:
    return module("alternatives_exports")


@pytest.fixture
def figures(module) -> ModuleType:
    return module("alternatives_figures")


def trained(padding: PaddingStyle, eps: float, *, stretched: bool):
    spec = make_spec(1.0, SIDE, padding, (HeadLayer(units=7),))
    preprocess = (keras_preprocess if stretched else torchvision_preprocess)(SIDE)
    return random_model(spec.__class__(**{**vars(spec), "bn_eps": eps, "preprocess": preprocess}))


CASES = [
    pytest.param(PaddingStyle.TORCH, 1e-5, False, id="torchvision"),
    pytest.param(PaddingStyle.SAME, 1e-3, True, id="keras"),
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_tells_its_interface_without_any_package(recipe) -> None:
    command = [sys.executable, "-S", STOCK / f"{recipe}.py", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for word in ("checkpoint", "calibration", "out", "--resolution", "--variant"):
        assert word in told


def test_every_alternative_has_a_recipe_that_knows_its_variant(module) -> None:
    alternatives = module("alternatives").ALTERNATIVES
    names = {alternative.name for alternative in alternatives}
    assert len(names) == len(alternatives)
    assert {a.recipe for a in alternatives if a.recipe} == set(RECIPES)
    for alternative in alternatives:
        assert alternative.rival in names | {""}
        if alternative.recipe:
            source = (STOCK / f"{alternative.recipe}.py").read_text()
            assert f'"{alternative.variant}"' in source or alternative.variant == "int8"


def test_of_chosen_recipes_our_rivals_are_kept(module) -> None:
    alternatives = module("alternatives")
    chosen = alternatives.chosen(["litert_torch"])
    assert [a.recipe for a in chosen] == ["", "litert_torch"]
    assert chosen[0].variant == "litert"
    assert alternatives.chosen(None) == alternatives.ALTERNATIVES


@pytest.mark.parametrize(("padding", "eps", "stretched"), CASES)
def test_the_plain_network_is_the_exporters(module, tmp_path, padding, eps, stretched) -> None:
    inputs, network = module("alternatives_inputs"), module("stock.network")
    model = trained(padding, eps, stretched=stretched)
    inputs.save(model, tmp_path / "network.pth")
    images = np.random.default_rng(0).uniform(-1, 1, (2, 3, SIDE, SIDE)).astype(np.float32)
    plain = network.load(tmp_path / "network.pth")
    assert np.array_equal(inputs.logits_of(plain, images), inputs.logits_of(model.eval(), images))


@pytest.mark.parametrize(("padding", "eps", "stretched"), CASES)
def test_pictures_become_the_same_input(module, tmp_path, padding, eps, stretched) -> None:
    inputs, network = module("alternatives_inputs"), module("stock.network")
    model = trained(padding, eps, stretched=stretched)
    inputs.save(model, tmp_path / "network.pth")
    random = np.random.default_rng(1)
    photos = tmp_path / "photos"
    photos.mkdir()
    # Lying ones: for standing ones Pillow resizes the height first where the exporter does not.
    for i, size in enumerate(((90, 120), (70, 100))):
        pixels = random.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{i}.png")
    contract = model.spec.preprocess
    files = sorted(photos.iterdir())
    ours = normalize(np.stack([to_pixels(read_image(f), contract) for f in files]), contract)
    how = network.describe(tmp_path / "network.pth")
    theirs = network.load_images(photos, 10, SIDE, how)
    assert theirs.shape == ours.shape
    assert np.abs(theirs - ours).max() < 1e-6


def test_a_network_that_the_recipes_cannot_build_is_refused(module, tmp_path) -> None:
    model = random_model(make_spec(0.35, SIDE, PaddingStyle.TORCH, (HeadLayer(units=7),)))
    with pytest.raises(UnsupportedError, match=r"1\.0"):
        module("alternatives_inputs").save(model, tmp_path / "network.pth")


def test_calibration_is_filled_up_with_crops(module, monkeypatch, tmp_path) -> None:
    inputs = module("alternatives_inputs")
    monkeypatch.setattr(inputs.photos, "SIDE", 16)
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(2).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photos" / "one.png")
    folder = inputs.calibration(tmp_path / "photos", tmp_path / "calibration")
    files = sorted(folder.iterdir())
    assert len(files) == inputs.CALIBRATION_IMAGES
    assert np.array_equal(np.asarray(Image.open(files[0])), pixels)
    first = [file.read_bytes() for file in files]
    inputs.calibration(tmp_path / "photos", tmp_path / "calibration")
    assert [file.read_bytes() for file in files] == first


FAKE = """
import json, sys
from pathlib import Path
out = Path(sys.argv[3])
out.mkdir(parents=True)
(out / "model.bin").write_bytes(b"1")
print("noise", file=sys.stderr)
{end}
"""
DOCUMENT = {
    "seconds": {"lower": 1.0},
    "files": ["model.bin"],
    "versions": {"torch": "2"},
    "verified": "no",
    "notes": ["a note"],
}


def inputs_of(module, folder: Path):
    inputs = module("alternatives_inputs")
    spec = make_spec(1.0, SIDE, PaddingStyle.TORCH, (HeadLayer(units=7),))
    nothing = np.zeros(0)
    return inputs.Inputs(
        checkpoint=folder / "c",
        stock_checkpoint=folder / "s",
        calibration=folder,
        spec=spec,
        pixels=nothing,
        images=nothing,
        logits=nothing,
    )


@pytest.mark.parametrize(
    ("end", "failure"),
    [
        (f"print(json.dumps({DOCUMENT!r}))", ""),
        ("raise ValueError('takes no such network')", "ValueError: takes no such network"),
    ],
)
def test_an_export_is_a_file_or_its_reason(
    module, exports, monkeypatch, tmp_path, end, failure
) -> None:
    monkeypatch.setattr(exports, "RECIPES", tmp_path)
    (tmp_path / "fake.py").write_text(FAKE.format(end=end))
    alternative = exports.Alternative(name="Fake", recipe="fake", variant="int8")
    given = inputs_of(module, tmp_path)
    done = exports.export(alternative, Path(sys.executable), given, tmp_path / "out")
    assert done.failure == failure
    assert done.wall_s > 0
    assert done.file == (None if failure else tmp_path / "out" / "model.bin")


def test_an_earlier_export_is_taken_up_while_its_file_is_there(exports, tmp_path) -> None:
    file, record = tmp_path / "m.pte", tmp_path / "deep" / "record.json"
    file.write_bytes(b"1")
    done = exports.Exported(
        file=file, wall_s=2.0, cpu_s=1.0, stages={"a": 1.0}, versions={}, notes=("n",)
    )
    assert exports.resumed(record) is None
    exports.note(done, record)
    assert exports.resumed(record) == done
    file.unlink()
    assert exports.resumed(record) is None
    exports.note(dataclasses.replace(done, file=None, failure="no"), record)
    assert exports.resumed(record) is None


def test_what_does_not_install_is_told(exports, monkeypatch, tmp_path) -> None:
    def run(command, **settings):
        answer = subprocess.CompletedProcess(command, 0 if "venv" in command else 1)
        answer.stderr = "WARNING: no cache\nERROR: No matching distribution found for it\n"
        return answer

    monkeypatch.setattr(exports.subprocess, "run", run)
    python, why = exports.environment("litert_torch", tmp_path, {})
    assert python is None
    assert why == "does not install: ERROR: No matching distribution found for it"
    chosen = exports.environment("litert_torch", tmp_path, {"litert_torch": Path("/their/python")})
    assert chosen == (Path("/their/python"), "")


def test_a_build_of_ours_says_how_it_was_proved(exports, tmp_path) -> None:
    parity = {"outcome": "same", "max_lsb": 0, "images": 20, "by": ""}
    artifact = {"path": "model-int8.pte", "parity": parity}
    document = {
        "manifest": {"artifacts": [artifact]},
        "seconds": {"quantize": {"seconds": 2.0, "check": None}},
    }
    done = exports.read_build(document, tmp_path, 3.0, 2.5)
    assert done.verified == "same, 0 LSB on 20 images"
    assert done.stages == {"quantize": 2.0}


def test_a_folders_digest_is_of_names_and_bytes(exports, tmp_path) -> None:
    for folder, name in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(b"1")
    a, b, c = (exports.digest(tmp_path / folder) for folder in "abc")
    assert a == b != c
    (tmp_path / "b" / "x").write_bytes(b"2")
    assert exports.digest(tmp_path / "b") != a


def test_a_ratio_is_within_rounds(figures, monkeypatch) -> None:
    """The machine gets slower for good half way; the ratio does not see it."""
    order: list[str] = []
    speed = {"ours": 1.0, "theirs": 1.5}

    def block_ms(model, _):
        order.append(model)
        return speed[model] * (1.0 if len(order) < 24 else 4.0)

    monkeypatch.setattr(figures, "block_ms", block_ms)

    class Named(str):
        def fit(self, image):
            return image

    models = {name: Named(name) for name in speed}
    timed = figures.race(models, {"theirs": "ours"}, np.zeros(1), rounds=20)
    assert timed["ours"].ratio is None
    assert timed["theirs"].ratio == Median(value=1.5, low=1.5, high=1.5)
    assert order[:4] == ["theirs", "ours", "ours", "theirs"]
    assert len(order) == 2 * (20 + figures.WARM_UP)


def test_int8_inputs_and_outputs_are_mapped(figures) -> None:
    tensor = {"dtype": np.int8, "quantization": (0.5, -3)}
    codes = figures.quantized(np.array([0.0, 1.0, 1000.0, -1000.0], np.float32), tensor)
    assert codes.dtype == np.int8
    assert codes.tolist() == [-3, -1, 127, -128]
    assert figures.dequantized(codes, tensor).tolist() == [0.0, 1.0, 65.0, -62.5]
    exact = {"dtype": np.float32, "quantization": (0.0, 0)}
    assert figures.quantized(np.ones(2, np.float32), exact).tolist() == [1.0, 1.0]


def test_the_table_has_a_line_for_each_and_reasons_for_the_rest(table, exports) -> None:
    def done(wall: float):
        return exports.Exported(
            file=Path("m"),
            wall_s=wall,
            cpu_s=1.0,
            stages={},
            versions={"torch": "2"},
            verified="no",
        )

    def alternative(name: str):
        return exports.Alternative(name=name, recipe="fake", variant="int8")

    timed = table.Timed(
        ms=Median(value=1.234, low=1.2, high=1.3), ratio=Median(value=1.5, low=1.4, high=1.6)
    )
    quality = Quality(images=100, sqnr_db=20.04, top1_agreement=0.9, kl=0.01234, max_abs=1.0)
    rows = [
        table.Row(
            alternative=alternative("Theirs"),
            exports=(done(4.0), done(6.0)),
            size_bytes=2_000_000,
            quality=quality,
            timed=timed,
        ),
        table.Row(alternative=alternative("Package"), exports=(done(1.0),), quality=quality),
        table.Row(alternative=alternative("Broken"), exports=(), not_run="does not install"),
    ]
    text = table.markdown(rows)
    first, second = text.splitlines()[2:4]
    cells = [cell.strip() for cell in first.strip("|").split("|")]
    assert cells == [
        "Theirs",
        "20.0 dB",
        "90 % (83 to 94)",
        "0.012",
        "2.00 MB",
        "1.23 ms",
        "1.50 (1.40 to 1.60)",
        "5 s, 1 CPU-s",
        "no",
        "no",
    ]
    assert table.NO_MAC in second
    assert "Broken: not run: does not install" in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1
    assert "Theirs: torch 2" in table.versions(rows)


def test_recipes_print_one_document(module, monkeypatch, tmp_path, capfd) -> None:
    """What tools print, natively too, is not part of it."""
    monkeypatch.syspath_prepend(STOCK)
    recipe, inputs = importlib.import_module("recipe"), module("alternatives_inputs")
    monkeypatch.setattr(sys, "path", list(sys.path))
    inputs.save(trained(PaddingStyle.TORCH, 1e-5, stretched=False), tmp_path / "n.pth")
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "photos" / "0.png")

    def export(job):
        subprocess.run(["echo", "noise"], check=True)
        with job.stage("lower"):
            (job.out / "m.bin").write_bytes(bytes(job.images.shape))
        assert job.example().shape == (1, 3, SIDE, SIDE)
        return recipe.Done(files=(job.out / "m.bin",), verified="no", packages=("numpy",))

    arguments = [tmp_path / "n.pth", tmp_path / "photos", tmp_path / "out", "--resolution", SIDE]
    monkeypatch.setattr(sys, "argv", ["fake.py", *map(str, arguments)])
    threads = torch.get_num_threads()
    try:
        assert recipe.main("Fake.", export) == 0
    finally:
        torch.set_num_threads(threads)
        sys.modules.pop("network", None)
    out, err = capfd.readouterr()
    document = json.loads(out)
    assert "noise" in err
    assert document["files"] == ["m.bin"]
    assert document["images"] == 1
    assert {"imports", "checkpoint", "images", "lower"} <= set(document["seconds"])
