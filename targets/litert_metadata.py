"""TFLite metadata: what generic image APIs read from a `.tflite` file.

A flatbuffer of its own (`metadata_schema.fbs`, file identifier M001) inside the model's buffer
`TFLITE_METADATA`, and a zip with the labels appended to the whole file. The schema's classes are in
no small package, so the few tables are written by field number, as that file lists them.

The zip's comment, so the last bytes of the file, is the SHA-256 of everything before it: one wrong
scale can make the native delegate corrupt its memory, so a damaged file must not get that far.

MediaPipe's ImageClassifier takes a classifier, its ImageSegmenter the logits of pixels, whose
softmax SEGMENTER_METADATA asks for. Its ObjectDetector takes none of a detector's outputs: it
decodes offsets of another order, or expects what TensorFlow's own suppression gives.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from exporter.metadata import LABELS_FILE, labels_text
from exporter.spec import ChannelOrder, ModelSpec
from exporter.tasks import Task

METADATA_NAME = "TFLITE_METADATA"
FILE_ID = b"M001"
MIN_PARSER_VERSION = "1.0.0"
AUTHOR = "mnv2-export"
DIGEST_BYTES = 64

# Enumerators and union members of metadata_schema.fbs.
COLOR_RGB, COLOR_GRAY, COLOR_UNKNOWN = 1, 2, 0
CONTENT_FEATURE, CONTENT_IMAGE, CONTENT_BOX = 1, 2, 3
BOX_BOUNDARIES = 1
PROCESS_NORMALIZATION = 1
FILE_TENSOR_AXIS_LABELS, FILE_TENSOR_VALUE_LABELS = 2, 3
# Of image_segmenter_metadata_schema.fbs.
SEGMENTER, SEGMENTER_ID = "SEGMENTER_METADATA", b"V001"
ACTIVATION_SOFTMAX = 2
ALIGNMENT = 16  # of a flatbuffer inside another

DESCRIPTIONS = {
    Task.CLASSIFICATION: "Image classifier",
    Task.DETECTION: "Object detector",
    Task.SEGMENTATION: "Image segmenter",
}
COLUMNS = {  # of outputs that are no scores of classes
    "box_offsets": "dx, dy, dw, dh from every anchor",
    "boxes": "x1, y1, x2, y2 as fractions of the image",
    "detections": f"x1, y1, x2, y2, score, class (a line of {LABELS_FILE}); score -1 for none",
    "labels": "the class of every pixel",
}


def tflite_metadata(spec: ModelSpec, outputs: Sequence[str]) -> bytes:
    """The metadata flatbuffer; `outputs` names the output tensors in order."""
    return _Writer(spec).finish(outputs)


def append_labels(data: bytes, spec: ModelSpec) -> bytes:
    """The model, a zip of its labels and the digest; nothing in them depends on the machine."""
    file = io.BytesIO(data)
    file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        entry = zipfile.ZipInfo(LABELS_FILE)  # dated 1980
        entry.create_system = 3
        archive.writestr(entry, labels_text(spec))
        archive.comment = bytes(DIGEST_BYTES)
    body = file.getvalue()[:-DIGEST_BYTES]
    return body + _digest(body)


def is_intact(data: bytes) -> bool:
    """Whether a file that `append_labels` wrote is still as it was."""
    return data[-DIGEST_BYTES:] == _digest(data[:-DIGEST_BYTES])


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


class _Writer:
    """Tables by field number, innermost first."""

    def __init__(self, spec: ModelSpec) -> None:
        import flatbuffers

        self.spec = spec
        self.builder: Any = flatbuffers.Builder(1024)

    def finish(self, outputs: Sequence[str]) -> bytes:
        image = self.offsets([self.image()])
        fields = {2: image, 3: self.offsets([self.output(name) for name in outputs])}
        if self.spec.task is Task.SEGMENTATION and not COLUMNS.keys() & set(outputs):
            fields[9] = self.offsets([self.softmax()])
        subgraph = self.table(fields)
        model = self.table(
            {
                0: self.text(f"{self.spec.network} {self.spec.width:g}"),
                1: self.text(f"{DESCRIPTIONS[self.spec.task]} of {self.spec.classes} classes"),
                3: self.offsets([subgraph]),
                4: self.text(AUTHOR),
                7: self.text(MIN_PARSER_VERSION),
            }
        )
        self.builder.Finish(model, FILE_ID)
        return bytes(self.builder.Output())

    def image(self) -> int:
        """TensorMetadata of the input: color space and the normalization (u - mean) / std."""
        contract = self.spec.preprocess
        scale, bias = contract.affine()
        mean, std = -bias / scale, 1.0 / scale
        rgb = contract.channel_order is ChannelOrder.RGB
        color = COLOR_RGB if rgb else COLOR_UNKNOWN  # the schema has no name for BGR
        side = np.uint32(contract.crop_size)
        size = self.table({0: side, 1: side})
        properties = self.table({0: np.int8(color), 1: size})
        content = self.table({0: np.uint8(CONTENT_IMAGE), 1: properties})
        normalization = self.table({0: self.floats(mean), 1: self.floats(std)})
        process = self.table({0: np.uint8(PROCESS_NORMALIZATION), 1: normalization})
        stats = self.table({0: self.floats(255 * scale + bias), 1: self.floats(bias)})
        name = self.text("image")
        return self.table({0: name, 3: content, 4: self.offsets([process]), 5: stats})

    def output(self, name: str) -> int:
        """TensorMetadata of an output."""
        if name not in COLUMNS:
            return self.scores(name)
        content = self.corners() if name == "boxes" else self.feature()
        fields = {0: self.text(name), 1: self.text(COLUMNS[name]), 3: content}
        if name == "labels":
            fields[6] = self.offsets([self.label_file(FILE_TENSOR_VALUE_LABELS)])
        return self.table(fields)

    def scores(self, name: str) -> int:
        """TensorMetadata of scores, whose last axis is labelled by the file in the zip."""
        labels = self.label_file(FILE_TENSOR_AXIS_LABELS)
        masks = self.spec.task is Task.SEGMENTATION
        content = self.masks() if masks else self.feature()
        return self.table({0: self.text(name), 3: content, 6: self.offsets([labels])})

    def label_file(self, kind: int) -> int:
        """AssociatedFile: one label per line."""
        return self.table({0: self.text(LABELS_FILE), 2: np.int8(kind)})

    def feature(self) -> int:
        """Content that is nothing in particular."""
        return self.table({0: np.uint8(CONTENT_FEATURE), 1: self.table({})})

    def corners(self) -> int:
        """Content that is boxes: left, top, right, bottom as fractions of the image."""
        order = int(self.builder.CreateNumpyVector(np.arange(4, dtype=np.uint32)))
        box = self.table({0: order, 1: np.int8(BOX_BOUNDARIES)})
        return self.table({0: np.uint8(CONTENT_BOX), 1: box})

    def masks(self) -> int:
        """Content that is a gray image per class: a Content of dimensions 1 and 2."""
        gray = self.table({0: np.int8(COLOR_GRAY)})
        span = self.table({0: np.int32(1), 1: np.int32(2)})
        return self.table({0: np.uint8(CONTENT_IMAGE), 1: gray, 2: span})

    def softmax(self) -> int:
        """CustomMetadata that has MediaPipe make probabilities of a segmenter's logits."""
        inner = _Writer(self.spec)
        version = inner.text(MIN_PARSER_VERSION)
        options = inner.table({0: np.int8(ACTIVATION_SOFTMAX), 1: version})
        inner.builder.Finish(options, SEGMENTER_ID)
        data = bytes(inner.builder.Output())
        self.builder.StartVector(1, len(data), ALIGNMENT)
        self.builder.head -= len(data)
        self.builder.Bytes[self.builder.head : self.builder.head + len(data)] = data
        vector = int(self.builder.EndVector())
        return self.table({0: self.text(SEGMENTER), 1: vector})

    def table(self, fields: Mapping[int, int | np.generic]) -> int:
        """A table by field number; plain integers are offsets, numpy ones are scalars."""
        builder = self.builder
        builder.StartObject(max(fields, default=-1) + 1)
        scalars = {
            np.int8: builder.PrependInt8Slot,
            np.uint8: builder.PrependUint8Slot,
            np.int32: builder.PrependInt32Slot,
            np.uint32: builder.PrependUint32Slot,
        }
        for number, value in fields.items():
            prepend = scalars.get(type(value), builder.PrependUOffsetTRelativeSlot)
            prepend(number, int(value), 0)
        return int(builder.EndObject())

    def text(self, value: str) -> int:
        return int(self.builder.CreateString(value))

    def floats(self, values: np.ndarray) -> int:
        return int(self.builder.CreateNumpyVector(values.astype(np.float32)))

    def offsets(self, tables: Sequence[int]) -> int:
        self.builder.StartVector(4, len(tables), 4)
        for table in reversed(tables):
            self.builder.PrependUOffsetTRelative(table)
        return int(self.builder.EndVector())
