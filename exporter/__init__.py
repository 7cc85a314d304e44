"""A model enters at the top and walks straight down; each step takes a record and gives the next.

    checkpoints/   torchvision, timm, Keras, safetensors, own  ->  ModelSpec and state dict
    models/        MobileNetV2, SSDLite and Mobile DeepLabv3 as PyTorch modules
    detection/     anchors, boxes, non-maximum suppression, the detector's loss
    segmentation/  the segmenter's loss and its mean IoU
    training/      labeled images -> a checkpoint, float or int8; recipes, one device or many
    fold           batch norm folded: the float QuantizedGraph
    reference      the float and the int8 graph, and what artifacts are compared with (request;
                   reference_file and layout say where it lies)
    quantize/      calibration images  ->  the int8 QuantizedGraph; quantizing is where builds do it
    graph          the operations that golden and targets share (operations); validate, graph_file
    ends           the graph with other results: scores and boxes, suppression, labels
    golden         the integer-exact reference; float_rules, resize, adds
    threads        batches side by side, each sum on one thread; memory keeps what they free
    pipeline       graph -> each target -> written, reloaded from disk, compared (building, making);
                   several at once (workers), from what an earlier build left (cache/)
    parity         same, drifted or not run, for every output (results); quality against float
    manifest       what was built and how it was proved
    verify         the same proofs again, from what is on disk
    scoring/       how right what was built is on labeled data, and the difference from float;
                   intervals, worst (classes), labeled_images, labeled_pictures and labeled_parts
    timing         what a target adds so that its artifacts can be timed
    latency/       one schema of profiles, honest statistics, traces of runtimes -> times of layers
    devices/       where artifacts are timed: host, adb/, apple
    comparison/    two builds, or one against limits: what changed, and a budget of it
    report/        a build told to a person: HTML, Markdown or JSON
    sweep/         many networks through the pipeline: what each costs and what it is worth
    sample         an app of `app_samples` with the model in place; sample_kinds, sample_constants;
                   self_test is what the manifest has an app ask of its artifact
    evaluation     one Core ML package by itself, whoever wrote it; photos makes pictures fit it

The names below are what `from exporter import ...` offers; each is loaded when first used, so that
importing this package loads no torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "BuildRequest": "exporter.pipeline",
    "ExportError": "exporter.errors",
    "ExportOptions": "exporter.target",
    "Finished": "exporter.events",
    "ModelSpec": "exporter.spec",
    "Overrides": "exporter.checkpoints",
    "Precision": "exporter.spec",
    "Preprocess": "exporter.spec",
    "Request": "exporter.request",
    "build": "exporter.pipeline",
    "load_checkpoint": "exporter.checkpoints",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'exporter' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
