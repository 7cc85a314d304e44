"""Keras MobileNetV2: .h5 and .keras models, and weights-only .h5; read with h5py alone."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from exporter.checkpoints import keras_backbone, keras_bare, keras_scaling
from exporter.checkpoints.keras_backbone import Backbone
from exporter.checkpoints.keras_graph import GraphError, Node, parse
from exporter.checkpoints.keras_head import Head, check_whole_map, read_head
from exporter.checkpoints.keras_tensors import Stored, Tensors, backbone_tensors, head_tensors
from exporter.checkpoints.keras_weights import WeightReader
from exporter.checkpoints.records import DAMAGED_HINT, Detected, Overrides, Raw, Stated
from exporter.checkpoints.sniff import ZIP_ERRORS, Container
from exporter.errors import CheckpointError
from exporter.spec import PaddingStyle, Preprocess, keras_preprocess

WEIGHTS, CONFIG = "model.weights.h5", "config.json"
SHAPE_HINT = (
    "what can be exported is keras.applications.MobileNetV2, GlobalAveragePooling2D, then Dropout, "
    "BatchNormalization and Dense layers (relu, relu6, softmax at the end)"
)
NOT_STATED = "not in the file; default for keras, change with --preprocess"
# What h5py raises for damaged files.
HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError)
# What walking a malformed configuration raises.
CONFIG_ERRORS = (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError)


def read(path: Path, container: Container, overrides: Overrides) -> Raw:
    """A Keras model or weights file; nothing in it is executed."""
    try:
        if container is Container.KERAS_ZIP:
            config, weights = _read_zip(path)
            with _hdf5(path, io.BytesIO(weights)) as root:
                return _with_config(path, config, root, overrides, "Keras .keras")
        with _hdf5(path, path) as file:
            return _read_hdf5(path, file, overrides)
    except GraphError as error:
        raise CheckpointError(f"{path}: {error}", error.hint or SHAPE_HINT) from None


def _read_hdf5(path: Path, file: h5py.File, overrides: Overrides) -> Raw:
    stored = file.attrs.get("model_config")
    root = file.get("model_weights", file)
    if stored is None:
        tensors = keras_bare.read(root)
        return Raw(
            source="keras",
            format="Keras weights without a model (.h5)",
            tensors=tensors.tensors,
            names=tensors.names,
            head=tensors.head,
            head_how="from the file's one Dense layer; that it follows average pooling and ends in "
            "logits or softmax is assumed, a weights file does not say",
            preprocess=keras_preprocess,
            preprocess_how=NOT_STATED,
            padding=PaddingStyle.SAME,
            padding_how="what keras.applications uses; a weights file does not say",
            bn_eps=1e-3,
            bn_eps_how="what keras.applications uses; a weights file does not say",
        )
    text = stored.decode("utf-8", "replace") if isinstance(stored, bytes) else str(stored)
    return _with_config(path, text, root, overrides, "Keras .h5")


def _with_config(path: Path, text: str, root: Any, overrides: Overrides, file_format: str) -> Raw:
    """Weights together with the configuration that says how the layers connect."""
    try:
        output, shapes = parse(json.loads(text))
        nodes = keras_backbone.main_path(output)
        backbone, before, after = keras_backbone.match(nodes)
        scaling = keras_scaling.read_scaling(before)
    except CONFIG_ERRORS as error:
        raise CheckpointError(
            f"{path}: the model configuration is malformed ({type(error).__name__}: {error})",
            DAMAGED_HINT,
        ) from None
    weights, pools = WeightReader(root), list[Node]()
    try:
        head = read_head(after, weights.read, pools.append)
    except CONFIG_ERRORS as error:
        raise CheckpointError(
            f"{path}: the classifier cannot be read ({type(error).__name__}: {error})", DAMAGED_HINT
        ) from None
    tensors = backbone_tensors(
        Stored(module=module, layer=n.name, class_name=n.class_name, arrays=weights.read(n))
        for module, n in backbone.modules.items()
    )
    return _raw(
        _Model(
            path=path,
            file_format=file_format,
            tensors=tensors,
            backbone=backbone,
            scaling=scaling,
            head=head,
            pools=tuple(pools),
            resolution=_resolution(shapes),
        ),
        overrides,
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Model:
    """Everything that was read from a model with a configuration."""

    path: Path
    file_format: str
    tensors: Tensors
    backbone: Backbone
    scaling: keras_scaling.Scaling
    head: Head
    pools: tuple[Node, ...]
    resolution: int | None


def _raw(model: _Model, overrides: Overrides) -> Raw:
    tensors = head_tensors(model.tensors, model.head)
    dense = ", ".join(linear.name for linear in model.head.linears)
    return Raw(
        source="keras",
        format=model.file_format,
        tensors=tensors.tensors,
        names=tensors.names,
        head=model.head.layers(),
        head_how=f"from Dense {dense}",
        preprocess=_preprocess(model),
        preprocess_how=_preprocess_how(model, overrides),
        padding=PaddingStyle.SAME,
        padding_how="from the padding of the strided layers",
        bn_eps=model.backbone.bn_eps,
        bn_eps_how="from the model configuration",
        dropout=model.head.dropout or 0.0,
        resolution=_stated_resolution(model),
        notes=tuple(_notes(model, overrides)),
        check_resolution=lambda resolution: _check_resolution(model, resolution),
    )


def _stated_resolution(model: _Model) -> Stated | None:
    if model.resolution is None:
        return None
    return Stated(value=model.resolution, how="from the model's input shape")


def _preprocess(model: _Model) -> Any:
    def contract(resolution: int) -> Preprocess:
        return keras_scaling.preprocess(model.scaling, resolution)

    return contract if model.scaling.layers else keras_preprocess


def _preprocess_how(model: _Model, overrides: Overrides) -> str:
    if model.scaling.lambdas and overrides.preprocess is None:
        raise GraphError(
            f"layer {model.scaling.lambdas[0]!r} (Lambda) runs Python code on the input, which "
            "cannot be read",
            "state the whole preprocessing with --preprocess, or use Rescaling in the model",
        )
    if not model.scaling.layers:
        return NOT_STATED
    layers = ", ".join(model.scaling.layers)
    return f"value range from {layers}; resizing is the default for keras, change with --preprocess"


def _notes(model: _Model, overrides: Overrides) -> Iterator[Detected]:
    scaling, head = model.scaling, model.head
    if scaling.skipped:
        yield Detected(
            what="augmentation",
            value=f"skipped {', '.join(scaling.skipped)}",
            how="these layers only act in training",
        )
    replaced = (*scaling.lambdas, *scaling.layers) if overrides.preprocess else ()
    if replaced:
        yield Detected(
            what="scaling",
            value=f"skipped {', '.join(replaced)}",
            how="the stated preprocessing takes its place",
        )
    if head.folded:
        yield Detected(
            what="batch norm",
            value=f"folded {', '.join(head.folded)}",
            how="into the Dense layer beside it, in float64",
        )
    if head.softmax:
        yield Detected(
            what="softmax",
            value="dropped: outputs are logits",
            how=f"from layer {head.softmax}",
        )


def _check_resolution(model: _Model, resolution: int) -> None:
    """What the file bakes in for one input size fits the size that was chosen."""
    try:
        keras_backbone.check_pads(model.backbone, model.resolution or resolution)
        for pool in model.pools:
            check_whole_map(pool, -(-resolution // 32))
    except GraphError as error:
        raise CheckpointError(
            f"{model.path}: {error}",
            "use the resolution that the model was built for; for a model without one, a "
            "multiple of 32",
        ) from None
    except CONFIG_ERRORS as error:
        raise CheckpointError(
            f"{model.path}: a padding or pooling layer is malformed ({error})", DAMAGED_HINT
        ) from None


def _resolution(shapes: list[tuple[int | None, ...]]) -> int | None:
    """The first fixed square RGB input, outermost model first; None when no model fixes one."""
    for height, width, depth in shapes:
        if depth not in (3, None):
            raise GraphError(
                f"the input is {height} x {width} x {depth}, not RGB with channels last",
                "train with three-channel images in channels_last order",
            )
        if height != width:
            raise GraphError(
                f"the input is {height} x {width}, not square", "train with a square input"
            )
        if height is not None:
            return height
    return None


def _read_zip(path: Path) -> tuple[str, bytes]:
    """The configuration and the weights file inside a .keras archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            for name in (CONFIG, WEIGHTS):
                if name not in members:
                    raise CheckpointError(
                        f"{path}: the .keras archive has no {name!r} (only {', '.join(members)})",
                        "save the model with model.save('model.keras'), unsharded",
                    )
            return archive.read(CONFIG).decode("utf-8", "replace"), archive.read(WEIGHTS)
    except ZIP_ERRORS as error:
        raise CheckpointError(f"{path}: damaged .keras archive ({error})", DAMAGED_HINT) from None


@contextmanager
def _hdf5(path: Path, source: Any) -> Iterator[h5py.File]:
    """An open HDF5 file; what h5py raises inside becomes one line."""
    try:
        with h5py.File(source, "r") as file:
            yield file
    except HDF5_ERRORS as error:
        raise _explain_hdf5(path, error) from None


def _explain_hdf5(path: Path, error: BaseException) -> CheckpointError:
    text = str(error).strip("'\"")  # a KeyError quotes its text
    cut = re.search(r"truncated file: eof = (\d+).*stored_eof = (\d+)", text)
    if cut:
        return CheckpointError(
            f"{path}: cut short: ends at byte {int(cut[1]):,} of {int(cut[2]):,}", DAMAGED_HINT
        )
    return CheckpointError(
        f"{path}: damaged HDF5 file: {text.splitlines()[0][:200] if text else error!r}",
        DAMAGED_HINT,
    )
