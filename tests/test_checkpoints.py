"""Checkpoints that are not Keras': torchvision, timm, safetensors, our own, and damaged files."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from exporter.checkpoints import (
    Checkpoint,
    Detected,
    Overrides,
    build_model,
    load_checkpoint,
    save_checkpoint,
)
from exporter.errors import CheckpointError, ExportError, UnsupportedError
from exporter.models import MobileNetV2
from exporter.spec import (
    Activation,
    HeadLayer,
    ModelSpec,
    PaddingStyle,
    Preprocess,
    ResizeFilter,
    keras_preprocess,
    torchvision_preprocess,
)

TORCHVISION_TENSORS = 314
CLASSES = 5
SMALL = ModelSpec(width=0.35, head=(HeadLayer(units=CLASSES),))
Tensors = dict[str, torch.Tensor]


def make_state(spec: ModelSpec = SMALL, seed: int = 0) -> Tensors:
    """A network with lively batch-norm statistics."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    state = MobileNetV2(spec).state_dict()
    for name, tensor in state.items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.1, generator=generator)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith("num_batches_tracked"):
            tensor.fill_(7)
    return state


@pytest.fixture(scope="module")
def state() -> Tensors:
    return make_state()


@pytest.fixture
def pth(tmp_path: Path) -> Callable[[Any], Path]:
    """Saves anything with torch.save and gives the path."""

    def save(content: Any) -> Path:
        path = tmp_path / "model.pth"
        torch.save(content, path)
        return path

    return save


def facts(checkpoint: Checkpoint) -> dict[str, Detected]:
    return {fact.what: fact for fact in checkpoint.detected}


def refused(path: Path, overrides: Overrides | None = None) -> str:
    """The message of the refusal, which is one line, names the file and says what to do."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, overrides or Overrides())
    message, hint = caught.value.message, caught.value.hint
    assert str(path) in message
    assert "\n" not in message
    assert "\n" not in hint
    return message.replace(str(path), "")


def same(loaded: Tensors, saved: Tensors) -> bool:
    return list(loaded) == list(saved) and all(torch.equal(loaded[n], saved[n]) for n in saved)


# --- torchvision ---------------------------------------------------------------------------------


def test_torchvision_state_dict_has_its_314_tensors_and_loads_unchanged(state, pth):
    checkpoint = load_checkpoint(pth(state))
    assert len(state) == TORCHVISION_TENSORS
    assert same(checkpoint.state_dict, state)
    assert checkpoint.source == "torchvision"
    assert checkpoint.spec.padding is PaddingStyle.TORCH
    assert checkpoint.spec.bn_eps == 1e-5
    assert checkpoint.spec.preprocess == torchvision_preprocess(224)
    assert len(checkpoint.sha256) == 64


def test_every_fact_says_how_it_is_known(state, pth):
    found = facts(load_checkpoint(pth(state)))
    assert set(found) == {
        "format",
        "width",
        "resolution",
        "classes",
        "head",
        "padding",
        "bn_eps",
        "preprocessing",
        "labels",
    }
    assert all(fact.how for fact in found.values())
    assert "default for torchvision, change with --resolution" in found["resolution"].how
    assert "default for torchvision, change with --preprocess" in found["preprocessing"].how
    assert found["classes"].value == str(CLASSES)
    assert "classifier.1.weight" in found["classes"].how


@pytest.mark.parametrize("width", [0.35, 0.5, 0.75, 1.0, 1.3, 1.4, 0.25, 0.6, 2.0])
def test_width_comes_from_the_whole_channel_list(width, pth):
    with torch.device("meta"):
        model = MobileNetV2(ModelSpec(width=width, head=(HeadLayer(units=2),)))
    state = {name: torch.ones(t.shape, dtype=t.dtype) for name, t in model.state_dict().items()}
    assert load_checkpoint(pth(state)).spec.width == width


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "model_ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module.", "model."])
def test_wrapped_state_dicts_are_unwrapped_and_said_so(state, pth, key, prefix):
    wrapped = {key: {prefix + name: t for name, t in state.items()}, "epoch": 3, "optimizer": {}}
    checkpoint = load_checkpoint(pth(wrapped))
    assert same(checkpoint.state_dict, state)
    assert facts(checkpoint)["entry"].value == key
    assert ("prefix" in facts(checkpoint)) == bool(prefix)


def test_the_plain_weights_are_preferred_to_their_average_and_both_are_named(state, pth):
    average = {"n_averaged": torch.tensor(9)} | {
        f"module.{n}": t + 1 if t.is_floating_point() else t for n, t in state.items()
    }
    checkpoint = load_checkpoint(pth({"model_ema": average, "model": state}))
    assert same(checkpoint.state_dict, state)
    assert facts(checkpoint)["entry"].value == "model"
    assert "'model_ema'" in facts(checkpoint)["entry"].how
    only = load_checkpoint(pth({"model_ema": average}))
    assert torch.equal(only.state_dict["classifier.1.bias"], state["classifier.1.bias"] + 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_become_float32(state, pth, dtype):
    stored = {n: t.to(dtype) if t.is_floating_point() else t for n, t in state.items()}
    loaded = load_checkpoint(pth(stored)).state_dict
    assert all(torch.equal(loaded[n], stored[n].to(loaded[n].dtype)) for n in stored)
    assert {t.dtype for t in loaded.values()} == {torch.float32, torch.int64}


def test_missing_training_counters_are_filled_with_zero(state, pth):
    counters = [n for n in state if n.endswith("num_batches_tracked")]
    loaded = load_checkpoint(pth({n: t for n, t in state.items() if n not in counters}))
    assert len(loaded.state_dict) == TORCHVISION_TENSORS
    assert all(int(loaded.state_dict[n]) == 0 for n in counters)


@pytest.mark.parametrize("linear", ["classifier", "classifier.0", "classifier.4"])
def test_a_single_linear_is_the_head_wherever_users_put_it(state, pth, linear):
    moved = OrderedDict((n.replace("classifier.1", linear), t) for n, t in state.items())
    checkpoint = load_checkpoint(pth(moved))
    assert same(checkpoint.state_dict, state)
    assert f"{linear}.weight" in facts(checkpoint)["classes"].how


def test_legacy_pickles_without_zip_load(state, tmp_path):
    path = tmp_path / "old.pth.tar"
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=False)
    assert same(load_checkpoint(path).state_dict, state)


@pytest.mark.parametrize(
    "kept",
    [
        {"classes": list("abcde")},
        {"class_to_idx": {"e": 4, "d": 3, "c": 2, "b": 1, "a": 0}},
        {"idx_to_class": dict(enumerate("abcde"))},
    ],
)
def test_labels_beside_the_weights_are_kept(state, pth, kept):
    checkpoint = load_checkpoint(pth({"state_dict": state, **kept}))
    assert checkpoint.spec.labels == tuple("abcde")
    assert repr(next(iter(kept))) in facts(checkpoint)["labels"].how


def test_stated_options_win_over_defaults_and_file(state, pth):
    path = pth({"state_dict": state, "classes": list("vwxyz")})
    checkpoint = load_checkpoint(
        path, Overrides(resolution=96, labels=tuple("abcde"), preprocess=keras_preprocess(96))
    )
    assert checkpoint.spec.resolution == 96
    assert checkpoint.spec.labels == tuple("abcde")
    assert checkpoint.spec.preprocess == keras_preprocess(96)
    assert {facts(checkpoint)[w].how for w in ("resolution", "labels", "preprocessing")} == {
        "stated"
    }


def test_a_stated_preprocessing_implies_the_resolution(state, pth):
    checkpoint = load_checkpoint(pth(state), Overrides(preprocess=torchvision_preprocess(160)))
    assert checkpoint.spec.resolution == 160
    with pytest.raises(UnsupportedError, match="crops to 160 px"):
        load_checkpoint(
            pth(state), Overrides(resolution=96, preprocess=torchvision_preprocess(160))
        )


def test_label_counts_must_match(state, pth):
    with pytest.raises(UnsupportedError, match="2 labels for a model of 5 classes"):
        load_checkpoint(pth(state), Overrides(labels=("a", "b")))
    assert "holds 2 labels but 5 classes" in refused(pth({"model": state, "classes": ["a", "b"]}))


# --- timm ----------------------------------------------------------------------------------------

TIMM_STAGES = (1, 2, 3, 4, 3, 3, 1)


def to_timm(state: Tensors) -> Tensors:
    """Our names -> timm's, written from timm's module tree and not from the product's table."""
    places = [(s, r) for s, count in enumerate(TIMM_STAGES) for r in range(count)]
    depthwise = {"0.0": "conv_dw", "0.1": "bn1", "1": "conv_pw", "2": "bn2"}
    inverted = {
        "0.0": "conv_pw",
        "0.1": "bn1",
        "1.0": "conv_dw",
        "1.1": "bn2",
        "2": "conv_pwl",
        "3": "bn3",
    }
    renamed = {}
    for name, tensor in state.items():
        parts, leaf = name.split(".")[:-1], name.split(".")[-1]
        if parts[0] == "classifier":
            new = "classifier"
        elif parts[1] in ("0", "18"):
            new = {"00": "conv_stem", "01": "bn1", "180": "conv_head", "181": "bn2"}[
                parts[1] + parts[2]
            ]
        else:
            stage, repeat = places[int(parts[1]) - 1]
            kinds = depthwise if parts[1] == "1" else inverted
            new = f"blocks.{stage}.{repeat}.{kinds['.'.join(parts[3:])]}"
        renamed[f"{new}.{leaf}"] = tensor
    return renamed


def test_timm_names_give_the_same_network_with_timms_defaults(state, pth):
    checkpoint = load_checkpoint(pth(to_timm(state)))
    assert same(checkpoint.state_dict, state)
    assert checkpoint.source == "timm"
    assert checkpoint.spec.padding is PaddingStyle.TORCH
    assert checkpoint.spec.bn_eps == 1e-5
    # timm/models/efficientnet.py: crop_pct 0.875, bicubic, ImageNet mean and std
    assert checkpoint.spec.preprocess.resize_filter is ResizeFilter.BICUBIC
    assert checkpoint.spec.preprocess.resize_size == 256
    assert "default for timm" in facts(checkpoint)["preprocessing"].how


def test_timm_training_checkpoints_with_arch_and_ema_load(state, pth):
    named = to_timm(state)
    wrapped = {"arch": "mobilenetv2_100", "state_dict": named, "state_dict_ema": named}
    assert same(load_checkpoint(pth(wrapped)).state_dict, state)


def test_timm_depth_multiplied_variants_are_refused_by_their_block_counts(state, pth):
    named = to_timm(state)
    deeper = named | {
        n.replace("blocks.1.1.", "blocks.1.2."): t
        for n, t in named.items()
        if n.startswith("blocks.1.1.")
    }
    message = refused(pth(deeper))
    assert "depth-multiplied" in message
    assert "blocks.1 has 3 blocks where MobileNetV2 has 2" in message


def test_timm_errors_name_timms_tensors(state, pth):
    named = to_timm(state)
    del named["blocks.2.1.conv_dw.weight"]
    assert "tensor 'blocks.2.1.conv_dw.weight' is missing" in refused(pth(named))


# --- wrong networks ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "named"),
    [
        (["conv1.weight", "bn1.weight", "layer1.0.conv1.weight"], "conv1.weight"),  # ResNet
        (["features.0.0.weight", "features.1.block.0.0.weight"], "features.1.block.0.0.weight"),
        (["conv_stem.weight", "blocks.0.0.se.conv_reduce.weight"], "blocks.0.0.se.conv_reduce"),
    ],
)
def test_other_networks_are_refused_by_their_first_foreign_tensor(pth, names, named):
    message = refused(pth({name: torch.zeros(16, 3, 3, 3) for name in names}))
    assert "not a MobileNetV2" in message
    assert named in message


def test_two_networks_in_one_file_are_refused(state, pth):
    assert "two networks" in refused(pth(to_timm(state) | state))


def test_missing_and_extra_tensors_are_named(state, pth):
    less = {n: t for n, t in state.items() if n != "features.3.conv.0.1.running_mean"}
    assert "tensor 'features.3.conv.0.1.running_mean' is missing" in refused(pth(less))
    more = state | {"features.3.conv.9.weight": torch.zeros(2)}
    assert "tensor 'features.3.conv.9.weight' (2,) has no place" in refused(pth(more))
    assert "tensor 'auxiliary.weight'" in refused(pth(state | {"auxiliary.weight": torch.ones(1)}))


def test_a_wrong_shape_names_tensor_shape_and_nearest_width(state, pth):
    name = "features.5.conv.2.weight"
    message = refused(pth(state | {name: torch.zeros(12, 48, 1, 1)}))
    assert f"tensor {name!r} has shape (12, 48, 1, 1), expected (16, 96, 1, 1)" in message
    assert "for width 0.35" in message
    message = refused(pth(state | {"features.5.conv.0.1.bias": torch.zeros(7)}))
    assert "'features.5.conv.0.1.bias' has shape (7,), expected (96,)" in message


def test_heads_that_a_state_dict_cannot_describe_are_refused(state, pth):
    two = state | {"classifier.4.weight": torch.zeros(2, 5), "classifier.4.bias": torch.zeros(2)}
    assert "2 layers (classifier.1, classifier.4)" in refused(pth(two))
    none = {n: t for n, t in state.items() if "classifier" not in n}
    assert "has no classifier" in refused(pth(none))
    no_bias = {n: t for n, t in state.items() if n != "classifier.1.bias"}
    assert "'classifier.1.bias' is missing" in refused(pth(no_bias))
    narrow = state | {"classifier.1.weight": torch.zeros(5, 640)}
    assert "has shape (5, 640), expected (5, 1280)" in refused(pth(narrow))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_weights_are_named_and_counted(state, pth, value):
    bad = {n: t.clone() for n, t in state.items()}
    bad["features.7.conv.1.0.weight"].view(-1)[:3] = value
    message = refused(pth(bad))
    assert "tensor 'features.7.conv.1.0.weight' holds 3 NaN or infinite values" in message


def test_float64_beyond_float32_is_not_silently_infinite(state, pth):
    big = state | {"classifier.1.bias": torch.full((CLASSES,), 1e300, dtype=torch.float64)}
    assert "'classifier.1.bias' holds 5 NaN or infinite" in refused(pth(big))


def test_negative_variances_are_named(state, pth):
    bad = {n: t.clone() for n, t in state.items()}
    bad["features.0.1.running_var"][0] = -1e-3
    assert "'features.0.1.running_var' holds 1 negative variances" in refused(pth(bad))


def test_quantized_state_dicts_are_refused_as_such(state, pth):
    scaled = state | {"features.0.0.scale": torch.tensor(0.1)}
    assert "already quantized (tensor 'features.0.0.scale')" in refused(pth(scaled))
    packed = state | {"classifier.1._packed_params._packed_params": (torch.zeros(2), None)}
    assert "already quantized" in refused(pth(packed))
    integers = state | {"classifier.1.weight": torch.zeros(CLASSES, 1280, dtype=torch.int8)}
    assert "tensor 'classifier.1.weight' is int8, not floating point" in refused(pth(integers))


# --- pickles -------------------------------------------------------------------------------------


class Malicious:
    """Creates a file when it is unpickled without care."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.marker),))


def test_whole_pickled_modules_are_refused_by_class(pth):
    message = refused(pth(nn.Sequential(nn.Linear(2, 2))))
    assert "contains Python objects (class torch.nn.modules.container.Sequential)" in message


def test_pickles_that_run_code_do_not_run(pth, tmp_path):
    marker = tmp_path / "tricked"
    message = refused(pth({"state_dict": Malicious(marker)}))
    assert f"contains Python objects (class {os.name}.mkdir)" in message
    assert not marker.exists()


def test_argparse_namespaces_beside_the_weights_are_refused_with_the_reason(state, pth):
    message = refused(pth({"model": state, "args": argparse.Namespace(lr=1)}))
    assert "contains Python objects (class argparse.Namespace)" in message


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], {}, {"epoch": 1}, {"model": {}}])
def test_pickles_without_a_state_dict_are_refused(pth, content):
    refused(pth(content))


def test_entries_that_are_no_tensors_are_named(state, pth):
    assert "entry 'epoch' is a int, not a tensor" in refused(pth(state | {"epoch": 3}))


def test_torchscript_is_refused(tmp_path):
    path = tmp_path / "scripted.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("scripted/constants.pkl", b"")
        archive.writestr("scripted/data.pkl", b"")
    assert "TorchScript" in refused(path)


# --- safetensors and our own ---------------------------------------------------------------------


@pytest.mark.parametrize("naming", ["torchvision", "timm"])
def test_safetensors_with_either_naming_load(state, tmp_path, naming):
    path = tmp_path / "model.safetensors"
    tensors = state if naming == "torchvision" else to_timm(state)
    save_file(tensors, path, metadata={"format": "pt", "labels": json.dumps(list("abcde"))})
    checkpoint = load_checkpoint(path)
    assert same(checkpoint.state_dict, state)
    assert checkpoint.source == f"safetensors ({naming})"
    assert checkpoint.spec.labels == tuple("abcde")


OWN = ModelSpec(
    width=0.5,
    resolution=97,
    labels=("kåt", "dog", "犬"),
    head=(HeadLayer(units=6, activation=Activation.RELU6), HeadLayer(units=4), HeadLayer(units=3)),
    padding=PaddingStyle.SAME,
    bn_eps=1e-3,
    dropout=0.3,
    preprocess=keras_preprocess(97),
)


def test_our_own_format_keeps_the_whole_spec_and_every_bit(tmp_path):
    path, state = tmp_path / "deep" / "own.safetensors", make_state(OWN)
    save_checkpoint(path, OWN, state)
    checkpoint = load_checkpoint(path)
    assert checkpoint.spec == OWN
    assert checkpoint.source == "mnv2-export"
    assert same(checkpoint.state_dict, state)
    model = build_model(checkpoint)
    assert not model.training
    assert model(torch.zeros(1, 3, 97, 97)).shape == (1, 3)
    assert {f.how for f in checkpoint.detected if f.what != "format"} == {"stated in the file"}


def test_our_own_format_is_the_same_bytes_every_time(tmp_path):
    state = make_state(OWN)
    shuffled = dict(reversed(state.items()))
    for name, tensors in (("a", state), ("b", state), ("c", shuffled)):
        save_checkpoint(tmp_path / name, OWN, tensors)
    contents = {(tmp_path / name).read_bytes() for name in "abc"}
    assert len(contents) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c"]  # no temporary left


def test_half_stores_float16_and_loads_as_float32(state, tmp_path):
    save_checkpoint(tmp_path / "full", SMALL, state)
    save_checkpoint(tmp_path / "half", SMALL, state, half=True)
    sizes = [(tmp_path / name).stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.55 * sizes[1]
    loaded = load_checkpoint(tmp_path / "half").state_dict
    assert all(torch.equal(loaded[n], t.half().to(t.dtype)) for n, t in state.items() if t.ndim)
    big = state | {"classifier.1.bias": torch.full((CLASSES,), 1e6)}
    with pytest.raises(CheckpointError, match=r"'classifier\.1\.bias' holds values beyond float16"):
        save_checkpoint(tmp_path / "big", SMALL, big, half=True)
    assert not (tmp_path / "big").exists()


def test_another_resolution_for_our_own_scales_its_preprocessing(state, tmp_path):
    path = tmp_path / "own.safetensors"
    save_checkpoint(path, SMALL, state)
    checkpoint = load_checkpoint(path, Overrides(resolution=160))
    assert checkpoint.spec.preprocess == torchvision_preprocess(160)
    assert facts(checkpoint)["resolution"].how == "stated; the file says 224"


def test_saving_what_does_not_fit_the_spec_is_refused(state, tmp_path):
    path = tmp_path / "own.safetensors"
    with pytest.raises(CheckpointError, match="has shape"):
        save_checkpoint(path, ModelSpec(width=0.5, head=(HeadLayer(units=CLASSES),)), state)
    with pytest.raises(CheckpointError, match="'x' has no place"):
        save_checkpoint(path, SMALL, state | {"x": torch.zeros(1)})
    assert not path.exists()


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("{", "malformed"),
        ("[]", "malformed"),
        ('{"format_version": 99, "spec": {}}', "format version 99"),
        ('{"format_version": 1, "spec": {"task": "classification"}}', "malformed"),
    ],
)
def test_a_broken_spec_in_our_own_format_is_refused(state, tmp_path, record, expected):
    path = tmp_path / "own.safetensors"
    save_file(state, path, metadata={"mnv2_export": record})
    assert expected in refused(path)


def test_our_own_format_with_other_tensors_than_its_spec_is_refused(state, tmp_path):
    path = tmp_path / "own.safetensors"
    text = json.dumps({"format_version": 1, "spec": ModelSpec(width=1.0).to_json()})
    save_file(state, path, metadata={"mnv2_export": text})
    assert "expected (32, 3, 3, 3) for width 1" in refused(path)


# --- damaged and mistaken files ------------------------------------------------------------------


def test_a_truncated_safetensors_names_the_tensor_and_its_bytes(state, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(state, path)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    last = max(header, key=lambda name: header[name]["data_offsets"][1])
    begin, end = (8 + length + offset for offset in header[last]["data_offsets"])
    path.write_bytes(data[:-1])
    assert refused(path) == (
        f": file ends at byte {len(data) - 1:,} but tensor {last!r} needs bytes {begin:,}..{end:,}"
    )
    path.write_bytes(data[:100])
    assert f"file ends at byte 100 but the safetensors header needs bytes 8..{8 + length:,}" in (
        refused(path)
    )


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


@pytest.mark.parametrize(
    ("legacy", "damage", "expected"),
    [
        (False, _cut, "the file ends at byte"),
        (False, _flip, "is damaged near bytes"),
        (True, _cut, "the file ends at byte"),
    ],
)
def test_damaged_pickles_name_bytes(state, tmp_path, legacy, damage, expected):
    path = tmp_path / "model.pth"
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(damage(path.read_bytes()))
    assert expected in refused(path)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 14214848\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty (0 bytes)"),
        (LFS, "git-lfs pointer"),
        (LFS, "14,214,848 bytes"),
        (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "is a web page"),
        (b"\x1f\x8b\x08\x00", "gzip-compressed"),
        (b"hello, world", "not a checkpoint"),
        (b"PK\x03\x04 and nothing more", "zip archive without a readable directory"),
        (b"\x80", "damaged or cut short"),
        (b"\x89HDF\r\n\x1a\n", "damaged HDF5"),
    ],
)
@pytest.mark.parametrize("name", ["model.pth", "model.h5"])
def test_files_that_are_no_checkpoint_are_refused_by_what_they_are(
    tmp_path, name, content, expected
):
    path = tmp_path / name
    path.write_bytes(content)
    assert expected in refused(path)


def test_missing_files_directories_and_foreign_zips_are_refused(tmp_path):
    assert "no such file" in refused(tmp_path / "absent.pth")
    assert "is a directory" in refused(tmp_path)
    (tmp_path / "saved_model.pb").touch()
    assert "TensorFlow SavedModel" in refused(tmp_path)
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cat.jpg", b"")
    assert "zip archive of something else (1 files: cat.jpg" in refused(path)


def test_names_inside_a_file_cannot_write_to_the_terminal(tmp_path):
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("\x1b[2Jcat\n.jpg", b"")
    assert "\x1b" not in refused(path)


@pytest.mark.parametrize("container", ["zip pickle", "legacy pickle", "own"])
def test_no_damage_escapes_as_a_traceback(state, tmp_path, container):
    """Random cuts and flips either load or are refused; nothing else gets out."""
    path = tmp_path / "model.bin"
    if container == "own":
        save_checkpoint(path, SMALL, state)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=container == "zip pickle")
    data, generator = path.read_bytes(), random.Random(container)
    for _ in range(25):
        damaged = bytearray(data[: generator.choice([len(data), generator.randrange(len(data))])])
        for _ in range(generator.choice([1, 4])):
            region = generator.choice([len(damaged), min(len(damaged), 4096)])
            damaged[generator.randrange(region)] = generator.randrange(256)
        path.write_bytes(damaged)
        with contextlib.suppress(ExportError):
            load_checkpoint(path)


def test_facts_describe_contracts_that_differ_differently(state, pth):
    def described(contract: Preprocess) -> str:
        checkpoint = load_checkpoint(pth(state), Overrides(preprocess=contract))
        return facts(checkpoint)["preprocessing"].value

    assert described(torchvision_preprocess(224)) == (
        "shortest side to 256 px (bilinear), crop 224, rgb, 0..255 to 0..1, "
        "mean 0.485/0.456/0.406, std 0.229/0.224/0.225"
    )
    assert described(keras_preprocess(224)) == (
        "stretch to 224 px (bilinear), rgb, 0..255 to -1..1"
    )
