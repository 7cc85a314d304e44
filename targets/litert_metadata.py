"""TFLite metadata: what generic image-classifier APIs read from a `.tflite` file.

A flatbuffer of its own (`metadata_schema.fbs`, file identifier M001) inside the model's buffer
`TFLITE_METADATA`, and a zip with the labels appended to the whole file. The schema's classes are in
no small package, so the few tables are written by field number, as that file lists them.

The zip's comment, so the last bytes of the file, is the SHA-256 of everything before it: one wrong
scale can make the native delegate corrupt its memory, so a damaged file must not get that far.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from exporter.metadata import LABELS_FILE, labels_text
from exporter.spec import ChannelOrder, ModelSpec

METADATA_NAME = "TFLITE_METADATA"
FILE_ID = b"M001"
MIN_PARSER_VERSION = "1.0.0"
AUTHOR = "mnv2-export"
DIGEST_BYTES = 64

# Enumerators and union members of metadata_schema.fbs.
COLOR_RGB, COLOR_UNKNOWN = 1, 0
CONTENT_FEATURE, CONTENT_IMAGE = 1, 2
PROCESS_NORMALIZATION = 1
FILE_TENSOR_AXIS_LABELS = 2


def tflite_metadata(spec: ModelSpec, output: str) -> bytes:
    """The metadata flatbuffer; `output` names the output tensor."""
    return _Writer(spec).finish(output)


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

    def finish(self, output: str) -> bytes:
        subgraph = self.table(
            {2: self.offsets([self.image()]), 3: self.offsets([self.scores(output)])}
        )
        model = self.table(
            {
                0: self.text(f"MobileNetV2 {self.spec.width:g}"),
                1: self.text(f"Image classifier of {self.spec.classes} classes"),
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

    def scores(self, name: str) -> int:
        """TensorMetadata of the output: a feature whose axis is labelled by the file in the zip."""
        labels = self.table({0: self.text(LABELS_FILE), 2: np.int8(FILE_TENSOR_AXIS_LABELS)})
        content = self.table({0: np.uint8(CONTENT_FEATURE), 1: self.table({})})
        return self.table({0: self.text(name), 3: content, 6: self.offsets([labels])})

    def table(self, fields: dict[int, int | np.generic]) -> int:
        """A table by field number; plain integers are offsets, numpy ones are scalars."""
        builder = self.builder
        builder.StartObject(max(fields, default=-1) + 1)
        scalars = {
            np.int8: builder.PrependInt8Slot,
            np.uint8: builder.PrependUint8Slot,
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
