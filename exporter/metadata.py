"""The text that travels inside artifacts: spec, labels, preprocessing and input quantization."""

from __future__ import annotations

import json
from typing import Any

from exporter.errors import ExportError
from exporter.graph import QuantizedGraph
from exporter.spec import ModelSpec, Precision

METADATA_VERSION = 1
METADATA_KEY = "mnv2_export"
LABELS_FILE = "labels.txt"


def metadata(graph: QuantizedGraph, precision: Precision) -> dict[str, Any]:
    """The JSON object that an artifact carries under `METADATA_KEY`."""
    scale, bias = graph.spec.preprocess.affine()
    image = graph.input.qparams
    return {
        "metadata_version": METADATA_VERSION,
        "precision": str(precision),
        "spec": graph.spec.to_json(),
        "normalize": {
            "expression": "x = u * scale[c] + bias[c] in float32",
            "scale": [float(v) for v in scale],
            "bias": [float(v) for v in bias],
        },
        "input_quantization": image and {"scale": image.scale, "zero_point": image.zero_point},
    }


def metadata_text(graph: QuantizedGraph, precision: Precision) -> str:
    """`metadata` as one line of JSON with sorted keys."""
    return json.dumps(metadata(graph, precision), sort_keys=True, separators=(",", ":"))


def labels_text(spec: ModelSpec) -> str:
    """One label per line, "class N" where the model has none."""
    return "".join(f"{spec.label(i)}\n" for i in range(spec.classes))


def spec_from_text(text: str | None) -> ModelSpec | None:
    """The spec inside an artifact's metadata text; None when it carries none that we can read."""
    if not text:
        return None
    try:
        return ModelSpec.from_json(json.loads(text)["spec"])
    except (KeyError, TypeError, ValueError, RecursionError, ExportError):
        return None
