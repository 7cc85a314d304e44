"""Keras MobileNetV2 files, written by Keras 3 itself and compared with Keras' own outputs.

Keras 2's two dialects are made from Keras 3 files by renaming, as TensorFlow 2.13 and 2.15 write
them (the reader was also run on files from both; TensorFlow is too large for the test extra).
"""

from __future__ import annotations

import dataclasses
import importlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from exporter.checkpoints import Checkpoint, Detected, Overrides, build_model, load_checkpoint
from exporter.errors import CheckpointError
from exporter.spec import Activation, PaddingStyle, Preprocess, ResizeRule, keras_preprocess

# Keras 3.15 hands torch tensors to NumPy 2 in the old way whenever it saves; ours to bear here.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

# Largest difference of logits (up to 8 in size): float32 rounding through 52 batch norms, measured
# up to 3.2e-5. Keras rounds there even under a float64 policy, so no finer comparison exists.
SAME_NETWORK = 1e-4
# The smallest mistakes that matter (padding, epsilon) are this far away.
OTHER_NETWORK = 100 * SAME_NETWORK
# Logits of different inputs differ at least this much, or the comparison would prove nothing.
LIVELY = 0.5


@pytest.fixture(scope="session")
def keras() -> Any:
    os.environ["KERAS_BACKEND"] = "torch"
    return importlib.import_module("keras")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model as users make it; `pixels` when it takes 0..255 and scales by itself."""

    name: str
    build: Callable[[Any], Any]
    resolution: int
    width: float
    head: tuple[tuple[int, Activation], ...]
    pixels: bool = False
    softmax: bool = True


def backbone(keras: Any, size: int | None, alpha: float = 0.35, **options: Any) -> Any:
    options = {"include_top": False} | options
    shape = (size, size, 3)
    return keras.applications.MobileNetV2(input_shape=shape, alpha=alpha, weights=None, **options)


def flat(keras: Any) -> Any:
    return backbone(keras, 96, include_top=True, classes=7)


def flat_wide(keras: Any) -> Any:
    return backbone(keras, 65, alpha=1.0, include_top=True, classes=10)


def nested(keras: Any) -> Any:
    """The transfer-learning tutorial, with a hidden layer and both foldable batch norms."""
    layers = keras.layers
    image = keras.Input((97, 97, 3))
    x = layers.RandomFlip("horizontal")(image)
    x = layers.RandomRotation(0.2)(x)
    x = keras.applications.mobilenet_v2.preprocess_input(x)
    x = backbone(keras, 97)(x, training=False)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.BatchNormalization()(x)
    x = layers.Dropout(0.3)(x)
    x = layers.Dense(64, activation="relu")(x)
    x = layers.BatchNormalization(scale=False)(x)
    return keras.Model(image, layers.Dense(5, activation="softmax")(x))


def sequential(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [backbone(keras, 64, alpha=0.5), layers.GlobalAveragePooling2D(), layers.Dense(3)]
    )


def pooled_with_nested_parts(keras: Any) -> Any:
    """Augmentation and classifier as models of their own; Dense, batch norm, activation apart."""
    layers = keras.layers
    augmentation = keras.Sequential([layers.RandomFlip(), layers.RandomZoom(0.1)])
    classifier = keras.Sequential(
        [
            layers.Dense(16, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.Dense(4),
            layers.Activation("softmax"),
        ]
    )
    image = keras.Input((75, 75, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(augmentation(image))
    x = backbone(keras, 75, pooling="avg")(x)
    return keras.Model(image, classifier(x))


def extended(keras: Any) -> Any:
    """A head put on base.output, average pooling over the whole map, as old tutorials do."""
    layers = keras.layers
    base = backbone(keras, 96)
    x = layers.AveragePooling2D(pool_size=(3, 3))(base.output)
    x = layers.Dense(8, activation="relu")(layers.Flatten()(x))
    return keras.Model(base.input, layers.Dense(2, activation="softmax")(layers.Dropout(0.5)(x)))


NONE, RELU, RELU6 = Activation.NONE, Activation.RELU, Activation.RELU6
CASES = (
    Case(name="flat", build=flat, resolution=96, width=0.35, head=((7, NONE),)),
    Case(name="flat wide", build=flat_wide, resolution=65, width=1.0, head=((10, NONE),)),
    Case(
        name="nested",
        build=nested,
        resolution=97,
        width=0.35,
        head=((64, RELU), (5, NONE)),
        pixels=True,
    ),
    Case(
        name="sequential",
        build=sequential,
        resolution=64,
        width=0.5,
        head=((3, NONE),),
        softmax=False,
    ),
    Case(
        name="nested parts",
        build=pooled_with_nested_parts,
        resolution=75,
        width=0.35,
        head=((16, RELU6), (4, NONE)),
        pixels=True,
    ),
    Case(name="extended", build=extended, resolution=96, width=0.35, head=((8, RELU), (2, NONE))),
)
WRITTEN = ("model.h5", "model.keras")


def enliven(model: Any, generator: np.random.Generator) -> None:
    """Random batch-norm statistics and biases that keep the signal alive through the depth."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            enliven(layer, generator)
            continue
        arrays = []
        for weight in layer.weights:
            kind, shape = weight.path.rpartition("/")[2], tuple(weight.shape)
            if kind in ("gamma", "moving_variance"):
                arrays.append(generator.uniform(0.6, 1.4, shape))
            elif kind in ("beta", "bias", "moving_mean"):
                arrays.append(generator.normal(0, 0.2, shape))
            elif kind in ("kernel", "depthwise_kernel"):
                fan_in = np.prod(shape[:2] if "depthwise" in layer.name else shape[:-1])
                arrays.append(generator.normal(0, np.sqrt(2 / fan_in), shape))
            else:
                arrays.append(np.asarray(weight))
        layer.set_weights(arrays)


@dataclass(frozen=True, kw_only=True, eq=False)
class Built:
    """Files of one case, an input in [-1, 1] as (n, h, w, 3), and Keras' log-probabilities."""

    folder: Path
    image: np.ndarray
    expected: np.ndarray


@pytest.fixture(scope="session")
def build(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Built]:
    """Builds each case once."""
    cache: dict[str, Built] = {}

    def make(case: Case) -> Built:
        if case.name not in cache:
            generator = np.random.default_rng(len(case.name))
            model = case.build(keras)
            enliven(model, generator)
            folder = tmp_path_factory.mktemp("keras")
            for name in WRITTEN:
                model.save(folder / name)
            model.save_weights(folder / "model.weights.h5")
            image = generator.uniform(-1, 1, (3, case.resolution, case.resolution, 3))
            cache[case.name] = Built(
                folder=folder, image=image.astype("f4"), expected=outputs(model, case, image)
            )
        return cache[case.name]

    return make


def outputs(model: Any, case: Case, image: np.ndarray) -> np.ndarray:
    """Keras' logits; of a softmax, the logarithm, which is the logits but for a constant."""
    fed = (image.astype("f4") + 1) * np.float32(127.5) if case.pixels else image.astype("f4")
    with torch.no_grad():
        result = model(fed, training=False).detach().numpy().astype("f8")
    return np.log(result) if case.softmax else result


def difference(checkpoint: Checkpoint, built: Built, softmax: bool) -> float:
    with torch.no_grad():
        logits = build_model(checkpoint)(torch.from_numpy(built.image.transpose(0, 3, 1, 2)))
    ours = logits.double()
    ours = ours.log_softmax(1) if softmax else ours
    assert np.ptp(built.expected, axis=0).max() > LIVELY
    return float(np.abs(ours.numpy() - built.expected).max())


def facts(checkpoint: Checkpoint) -> dict[str, Detected]:
    return {fact.what: fact for fact in checkpoint.detected}


def refused(path: Path, overrides: Overrides | None = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, overrides or Overrides())
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value.message.replace(str(path), "")


def case_named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


# --- the same network ----------------------------------------------------------------------------


@pytest.mark.parametrize("file", WRITTEN)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_logits_equal_keras(build, case, file):
    built = build(case)
    checkpoint = load_checkpoint(built.folder / file)
    spec = checkpoint.spec
    assert (spec.width, spec.resolution) == (case.width, case.resolution)
    assert tuple((layer.units, layer.activation) for layer in spec.head) == case.head
    assert (spec.padding, spec.bn_eps) == (PaddingStyle.SAME, 1e-3)
    assert spec.preprocess == keras_preprocess(case.resolution)
    assert checkpoint.source == "keras"
    assert ("softmax" in facts(checkpoint)) == case.softmax
    assert difference(checkpoint, built, case.softmax) < SAME_NETWORK


@pytest.mark.parametrize("mistake", [{"padding": PaddingStyle.TORCH}, {"bn_eps": 1e-5}])
def test_the_tolerance_tells_a_wrong_padding_or_epsilon(build, mistake):
    case = case_named("flat")
    built = build(case)
    right = load_checkpoint(built.folder / "model.keras")
    wrong = dataclasses.replace(right, spec=dataclasses.replace(right.spec, **mistake))
    assert difference(wrong, built, case.softmax) > OTHER_NETWORK


def test_what_was_skipped_folded_and_dropped_is_said(build):
    found = facts(load_checkpoint(build(case_named("nested")).folder / "model.keras"))
    assert found["augmentation"].value == "skipped random_flip, random_rotation"
    assert found["batch norm"].value.startswith("folded batch_normalization")
    assert found["softmax"].value == "dropped: outputs are logits"
    assert found["head"].value == "64 relu -> 5 logits"
    assert "value range from true_divide, subtract" in found["preprocessing"].how
    assert found["resolution"].how == "from the model's input shape"


def test_scaling_outside_the_model_is_a_stated_default(build):
    found = facts(load_checkpoint(build(case_named("flat")).folder / "model.h5"))
    assert "default for keras, change with --preprocess" in found["preprocessing"].how


# --- dialects of older versions ------------------------------------------------------------------


def keras2_layer(layer: dict[str, Any]) -> dict[str, Any]:
    """A Keras 3 layer configuration as Keras 2 writes it."""
    config = dict(layer["config"])
    if "batch_shape" in config:
        config["batch_input_shape"] = config.pop("batch_shape")
    if "layers" in config:
        config["layers"] = [keras2_layer(inner) for inner in config["layers"]]
        config.pop("build_input_shape", None)
    for ends in ("input_layers", "output_layers"):
        if ends in config:
            config[ends] = [config[ends]]
    if layer["class_name"] == "BatchNormalization" and isinstance(config["axis"], int):
        config["axis"] = [3 if "_BN" in config["name"] or "bn" in config["name"] else 1]
    calls = layer.get("inbound_nodes")
    old = {**layer, "config": config}
    if calls:
        old["inbound_nodes"] = [keras2_call(call) for call in calls]
    operation = {"TrueDivide": "math.truediv", "Subtract": "math.subtract"}
    if layer["class_name"] in operation:
        config["function"] = operation[layer["class_name"]]
        old["class_name"] = "TFOpLambda"
        old["inbound_nodes"] = [
            [*keras2_call(calls[0])[0][:3], {"y": calls[0]["args"][1], "name": None}]
        ]
    return old


def keras2_call(call: dict[str, Any]) -> list[Any]:
    tensors = call["args"][0] if isinstance(call["args"][0], list) else [call["args"][0]]
    return [[*t["config"]["keras_history"], {}] for t in tensors]


def keras2_h5(source: Path, target: Path) -> Path:
    """TensorFlow 2.15's .h5: its configuration, `kernel:0`, `depthwise_kernel:0`."""
    shutil.copy(source, target)
    with h5py.File(target, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        file.attrs["model_config"] = json.dumps(keras2_layer(config))
        names: list[str] = []
        weights = file["model_weights"]
        weights.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
        )
        for name in names:
            folder, _, leaf = name.rpartition("/")
            old = "depthwise_kernel" if "depthwise" in folder and leaf == "kernel" else leaf
            weights.move(name, f"{folder}/{old}:0")
    return target


def keras2_zip(source: Path, target: Path, container: str) -> Path:
    """TensorFlow 2.13's and 2.15's .keras: groups without names; 2.13 counts layers twice."""
    with zipfile.ZipFile(source) as archive:
        config = json.loads(archive.read("config.json"))
        weights = io.BytesIO(archive.read("model.weights.h5"))
    new = io.BytesIO()
    with h5py.File(weights, "r") as old, h5py.File(new, "w") as file:
        copy_unnamed(old, file, container)
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("config.json", json.dumps(keras2_layer(config)))
        archive.writestr("model.weights.h5", new.getvalue())
    return target


def copy_unnamed(old: Any, new: Any, container: str) -> None:
    for name, item in old.items():
        if isinstance(item, h5py.Dataset):
            new[name] = item[()]
        elif name == "layers":
            inside = new.create_group(container)
            for layer, group in item.items():
                copy_unnamed(group, inside.create_group(renumbered(layer, container)), container)
        else:
            copy_unnamed(item, new.create_group(name), container)


def renumbered(layer: str, container: str) -> str:
    """`conv2d_1` -> `conv2d_2` where every layer with weights is listed twice."""
    stem, _, number = layer.rpartition("_")
    if container == "layers" or not number.isdecimal():
        return layer
    return f"{stem}_{2 * int(number)}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("version", ["2.15 h5", "2.15 keras", "2.13 keras"])
def test_keras_2_files_give_the_same_checkpoint(build, tmp_path, case, version):
    built = build(case)
    modern = load_checkpoint(built.folder / "model.keras")
    if version.endswith("h5"):
        path = keras2_h5(built.folder / "model.h5", tmp_path / "old.h5")
    else:
        container = "layers" if "2.15" in version else "_layer_checkpoint_dependencies"
        path = keras2_zip(built.folder / "model.keras", tmp_path / "old.keras", container)
    old = load_checkpoint(path)
    assert old.spec == modern.spec
    assert all(torch.equal(old.state_dict[n], t) for n, t in modern.state_dict.items())


# --- weights without a model ---------------------------------------------------------------------


def legacy_weights(source: Path, target: Path) -> Path:
    """Keras 2's save_weights("x.h5"): the `model_weights` group as the whole file."""
    with h5py.File(source, "r") as old, h5py.File(target, "w") as new:
        for name, item in old["model_weights"].items():
            old.copy(item, new, name)
    return target


def unnamed_weights(source: Path, target: Path) -> Path:
    with h5py.File(source, "r") as old, h5py.File(target, "w") as new:
        copy_unnamed(old, new, "layers")
    return target


@pytest.mark.parametrize("layout", ["keras 3", "unnamed", "legacy"])
@pytest.mark.parametrize("name", ["flat", "sequential"])
def test_weights_only_files_with_one_dense_layer_load(build, tmp_path, name, layout):
    case, target = case_named(name), tmp_path / "only.h5"
    built = build(case)
    path = built.folder / "model.weights.h5"
    if layout == "unnamed":
        path = unnamed_weights(path, target)
    elif layout == "legacy":
        path = legacy_weights(built.folder / "model.h5", target)
    checkpoint = load_checkpoint(path, Overrides(resolution=case.resolution))
    assert difference(checkpoint, built, case.softmax) < SAME_NETWORK
    found = facts(load_checkpoint(path))
    assert found["resolution"].value == "224 px"
    assert "default for keras" in found["resolution"].how
    assert "a weights file does not say" in found["bn_eps"].how


@pytest.mark.parametrize("name", ["nested", "nested parts", "extended"])
def test_weights_only_files_with_more_layers_are_refused(build, tmp_path, name):
    folder = build(case_named(name)).folder
    for path in (
        folder / "model.weights.h5",
        unnamed_weights(folder / "model.weights.h5", tmp_path / "unnamed.h5"),
        legacy_weights(folder / "model.h5", tmp_path / "legacy.h5"),
    ):
        assert "a weights-only file does not say how they connect" in refused(path)


def test_weights_without_a_classifier_are_refused(keras, tmp_path):
    backbone(keras, 32).save_weights(tmp_path / "no_top.weights.h5")
    assert "no classifier" in refused(tmp_path / "no_top.weights.h5")


# --- input size, padding and scaling -------------------------------------------------------------


def saved(keras: Any, tmp_path: Path, image: Any, output: Any) -> Path:
    path = tmp_path / "model.keras"
    keras.Model(image, output).save(path)
    return path


def with_head(keras: Any, features: Any, classes: int = 2) -> Any:
    x = keras.layers.GlobalAveragePooling2D()(features)
    return keras.layers.Dense(classes)(x)


def test_an_unknown_input_size_takes_a_stated_default_or_option(keras, tmp_path):
    layers = keras.layers
    base = backbone(keras, None)
    head = keras.Sequential([layers.GlobalAveragePooling2D(), layers.Dense(2)])
    model = keras.Model(base.input, head(base.output))
    enliven(model, np.random.default_rng(3))
    path = tmp_path / "model.h5"
    model.save(path)
    assert "default for keras, change with --resolution" in (
        facts(load_checkpoint(path))["resolution"].how
    )
    generator = np.random.default_rng(4)
    image = generator.uniform(-1, 1, (3, 96, 96, 3)).astype("f4")
    case = Case(name="", build=flat, resolution=96, width=0.35, head=(), softmax=False)
    built = Built(folder=tmp_path, image=image, expected=outputs(model, case, image))
    checkpoint = load_checkpoint(path, Overrides(resolution=96))
    assert difference(checkpoint, built, softmax=False) < SAME_NETWORK


def test_paddings_that_keras_baked_for_even_maps_are_refused_at_odd_ones(keras, tmp_path):
    """Keras pads (0, 1) when it does not know the size; at 200 px the 25 px map needs (1, 1)."""
    base = backbone(keras, None)
    path = saved(keras, tmp_path, base.input, with_head(keras, base.output))
    message = refused(path, Overrides(resolution=200))
    assert "layer 'block_6_pad' pads (0, 1) and (0, 1), but at 200 px its 25 px map" in message


def test_another_resolution_than_the_files_is_allowed_and_said(build):
    path = build(case_named("flat")).folder / "model.keras"
    checkpoint = load_checkpoint(path, Overrides(resolution=160))
    assert checkpoint.spec.preprocess == keras_preprocess(160)
    assert facts(checkpoint)["resolution"].how == "stated; the file says 96"


def test_a_pool_that_no_longer_covers_the_map_is_refused(build):
    path = build(case_named("extended")).folder / "model.keras"
    message = refused(path, Overrides(resolution=160))
    assert "not the whole 5 x 5 map" in message


def test_inputs_that_are_not_square_rgb_are_refused(keras, tmp_path):
    base = keras.applications.MobileNetV2(
        input_shape=(64, 96, 3), alpha=0.35, include_top=False, weights=None
    )
    path = saved(keras, tmp_path, base.input, with_head(keras, base.output))
    assert "the input is 64 x 96, not square" in refused(path)
    base = keras.applications.MobileNetV2(
        input_shape=(64, 64, 1), alpha=0.35, include_top=False, weights=None
    )
    path = saved(keras, tmp_path, base.input, with_head(keras, base.output))
    assert "64 x 64 x 1, not RGB" in refused(path)


def scaled(keras: Any, tmp_path: Path, scale: Callable[[Any], Any]) -> Path:
    image = keras.Input((32, 32, 3))
    return saved(keras, tmp_path, image, with_head(keras, backbone(keras, 32)(scale(image))))


@pytest.mark.parametrize(
    ("options", "value_range"),
    [
        ({"scale": 1 / 255}, (0.0, 1.0)),
        ({"scale": 1 / 127.5, "offset": -1}, (-1.0, 1.0)),
        ({"scale": 1.0}, (0.0, 255.0)),
    ],
)
def test_rescaling_defines_the_value_range(keras, tmp_path, options, value_range):
    path = scaled(keras, tmp_path, keras.layers.Rescaling(**options))
    preprocess = load_checkpoint(path).spec.preprocess
    assert preprocess.value_range == value_range
    assert preprocess.resize_rule is ResizeRule.STRETCH


def test_a_stated_preprocessing_replaces_the_models_own_scaling_and_says_so(keras, tmp_path):
    path = scaled(keras, tmp_path, keras.layers.Rescaling(1 / 255, name="unit"))
    checkpoint = load_checkpoint(path, Overrides(preprocess=keras_preprocess(32)))
    assert checkpoint.spec.preprocess == keras_preprocess(32)
    assert facts(checkpoint)["scaling"].value == "skipped unit"


def test_chained_and_per_channel_scaling_fold_into_mean_and_std(keras, tmp_path):
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]

    def scale(x: Any) -> Any:
        x = keras.layers.Rescaling(1 / 255)(x)
        return keras.layers.Rescaling(
            [1 / s for s in std], [-m / s for m, s in zip(mean, std, strict=True)]
        )(x)

    preprocess = load_checkpoint(scaled(keras, tmp_path, scale)).spec.preprocess
    assert preprocess.mean == pytest.approx(mean)
    assert preprocess.std == pytest.approx(std)
    assert preprocess.value_range == (0.0, 1.0)


def test_arithmetic_on_the_wrong_side_is_refused(keras, tmp_path):
    assert "(Subtract) before the network" in refused(scaled(keras, tmp_path, lambda x: 1.0 - x))


def test_a_lambda_is_refused_unless_the_preprocessing_is_stated(keras, tmp_path):
    path = scaled(keras, tmp_path, keras.layers.Lambda(lambda x: x / 3, output_shape=(32, 32, 3)))
    assert "(Lambda) runs Python code" in refused(path)
    stated = Preprocess(resize_size=32, crop_size=32, value_range=(0.0, 85.0))
    checkpoint = load_checkpoint(path, Overrides(preprocess=stated))
    assert checkpoint.spec.preprocess == stated
    assert "skipped lambda" in facts(checkpoint)["scaling"].value


@pytest.mark.parametrize("layer", ["Resizing", "CenterCrop", "RandomCrop"])
def test_layers_that_change_the_image_at_inference_are_refused(keras, tmp_path, layer):
    path = scaled(keras, tmp_path, getattr(keras.layers, layer)(32, 32))
    assert f"({layer}) before the network is not understood" in refused(path)


# --- heads and graphs that cannot be exported ----------------------------------------------------


def flattened(keras: Any, x: Any) -> Any:
    return keras.layers.Dense(2)(keras.layers.Flatten()(x))


def max_pooled(keras: Any, x: Any) -> Any:
    return keras.layers.Dense(2)(keras.layers.GlobalMaxPooling2D()(x))


def sigmoid_end(keras: Any, x: Any) -> Any:
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.layers.Dense(1, activation="sigmoid")(x)


def single_output(keras: Any, x: Any) -> Any:
    return with_head(keras, x, classes=1)


def gelu_hidden(keras: Any, x: Any) -> Any:
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.layers.Dense(2)(keras.layers.Dense(4, activation="gelu", name="soft")(x))


def relu_end(keras: Any, x: Any) -> Any:
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.layers.Dense(2, activation="relu", name="last")(x)


def norm_at_the_end(keras: Any, x: Any) -> Any:
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(2, activation="relu")(x)
    return keras.layers.BatchNormalization(name="norm")(x)


def relu_after_norm_after_relu(keras: Any, x: Any) -> Any:
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(4, activation="relu")(x)
    x = keras.layers.ReLU(name="again")(keras.layers.BatchNormalization()(x))
    return keras.layers.Dense(2)(x)


def two_branches(keras: Any, x: Any) -> Any:
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.layers.Concatenate(name="both")([keras.layers.Dense(2)(x) for _ in range(2)])


def second_convolution(keras: Any, x: Any) -> Any:
    return with_head(keras, keras.layers.Conv2D(8, 1, name="extra")(x))


def no_head(keras: Any, x: Any) -> Any:
    return x


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (flattened, "(Flatten) follows the network where GlobalAveragePooling2D belongs"),
        (max_pooled, "(GlobalMaxPooling2D) follows the network"),
        (sigmoid_end, "ends in a sigmoid; train it with one output per class"),
        (single_output, "has a single output"),
        (gelu_hidden, "layer 'soft' applies 'gelu'"),
        (relu_end, "layer 'last' ends in relu"),
        (norm_at_the_end, "batch norm 'norm' has no Dense next to it"),
        (relu_after_norm_after_relu, "layer 'again' applies 'relu' where it cannot be exported"),
        (two_branches, "layer 'both' (Concatenate) joins several paths"),
        (second_convolution, "layer 'extra' (Conv2D) follows the network"),
        (no_head, "no classifier"),
    ],
)
def test_heads_that_cannot_be_exported_name_the_layer(keras, tmp_path, head, expected):
    base = backbone(keras, 32)
    assert expected in refused(saved(keras, tmp_path, base.input, head(keras, base.output)))


def test_several_outputs_are_refused(keras, tmp_path):
    base = backbone(keras, 32)
    path = saved(keras, tmp_path, base.input, [with_head(keras, base.output) for _ in range(2)])
    assert "1 inputs and 2 outputs" in refused(path)


def test_other_keras_networks_are_refused_by_layer(keras, tmp_path):
    other = keras.applications.MobileNet(input_shape=(32, 32, 3), alpha=0.25, weights=None)
    other.save(tmp_path / "v1.h5")
    message = refused(tmp_path / "v1.h5")
    assert "stands where MobileNetV2 has" in message
    other.save_weights(tmp_path / "v1.weights.h5")
    assert "no weights for layer 'Conv1'" in refused(tmp_path / "v1.weights.h5")


def test_a_backbone_cut_short_is_refused_by_layer(keras, tmp_path):
    base = backbone(keras, 32)
    cut = base.get_layer("block_12_add").output
    message = refused(saved(keras, tmp_path, base.input, with_head(keras, cut)))
    assert "(GlobalAveragePooling2D) stands where MobileNetV2 has 'block_13_expand'" in message


def edit_config(source: Path, target: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of an .h5 whose flat model has one layer configuration changed."""
    shutil.copy(source, target)
    with h5py.File(target, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            edit(layer["config"])
        file.attrs["model_config"] = json.dumps(config)
    return target


@pytest.mark.parametrize(
    ("layer", "change", "expected"),
    [
        ("block_3_depthwise", {"strides": [1, 1]}, "'block_3_depthwise' has strides"),
        ("block_5_depthwise", {"dilation_rate": [2, 2]}, "has dilation_rate"),
        ("Conv1_relu", {"max_value": None}, "'Conv1_relu' is no ReLU6"),
        ("Conv1", {"data_format": "channels_first"}, "has data_format channels_first"),
        ("Conv1", {"padding": "valid"}, "'Conv1' has padding 'valid'"),
        ("Conv1", {"strides": None}, "malformed"),
        ("block_7_project_BN", {"epsilon": 1e-5}, "different epsilons"),
        ("block_1_pad", {"padding": [[1, 1], [1, 1]]}, "'block_1_pad' pads (1, 1) and (1, 1)"),
        ("block_1_pad", {"padding": "much"}, "malformed"),
    ],
)
def test_modified_backbones_are_refused(build, tmp_path, layer, change, expected):
    def edit(config: dict[str, Any]) -> None:
        if config["name"] == layer:
            config.update(change)

    source = build(case_named("flat")).folder / "model.h5"
    assert expected in refused(edit_config(source, tmp_path / "edited.h5", edit))


# --- damaged files -------------------------------------------------------------------------------


def test_truncated_files_name_the_byte(build, tmp_path):
    folder = build(case_named("flat")).folder
    data = (folder / "model.h5").read_bytes()
    path = tmp_path / "cut.h5"
    path.write_bytes(data[:100_000])
    assert refused(path) == f": cut short: ends at byte 100,000 of {len(data):,}"
    path = tmp_path / "cut.keras"
    path.write_bytes((folder / "model.keras").read_bytes()[:100_000])
    assert "the file ends at byte 100,000" in refused(path)


def test_a_flipped_bit_in_a_keras_archive_is_noticed(build, tmp_path):
    data = bytearray((build(case_named("flat")).folder / "model.keras").read_bytes())
    data[len(data) // 2] ^= 1
    path = tmp_path / "flipped.keras"
    path.write_bytes(data)
    assert "damaged .keras archive" in refused(path)


@pytest.fixture
def editable(build, tmp_path) -> Path:
    path = tmp_path / "edited.h5"
    shutil.copy(build(case_named("flat")).folder / "model.h5", path)
    return path


def test_bad_values_name_keras_array(editable):
    with h5py.File(editable, "r+") as file:
        file["model_weights/block_4_expand/block_4_expand/kernel"][0, 0, 0, 0] = np.nan
    assert "tensor 'block_4_expand/kernel' holds 1 NaN or infinite values" in refused(editable)


def test_nan_in_the_classifier_is_named(editable):
    with h5py.File(editable, "r+") as file:
        file["model_weights/predictions/predictions/bias"][0] = np.inf
    assert "tensor 'predictions/bias' holds 1 NaN or infinite" in refused(editable)


def test_missing_misshapen_and_quantized_arrays_are_named(editable):
    name = "model_weights/block_4_expand/block_4_expand/kernel"
    with h5py.File(editable, "r+") as file:
        kernel = file[name][()]
        del file[name]
    assert "layer 'block_4_expand' has no weights" in refused(editable)
    with h5py.File(editable, "r+") as file:
        file[name] = kernel[..., :5]
    assert "tensor 'block_4_expand/kernel' has shape (5, 16, 1, 1)" in refused(editable)
    with h5py.File(editable, "r+") as file:
        del file[name]
        file[name] = kernel.astype("i1")
    assert "is int8, not floating point" in refused(editable)


@pytest.mark.parametrize("config", ["{", "[]", "{}", '{"class_name": "MyModel", "config": {}}'])
def test_malformed_and_subclassed_configurations_are_refused(editable, config):
    with h5py.File(editable, "r+") as file:
        file.attrs["model_config"] = config
    refused(editable)


def test_archives_without_their_parts_are_refused(tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    assert "no 'model.weights.h5'" in refused(path)
