"""A Core ML package as the runner app on a device needs it: arrays in, arrays out.

The app of coremltools 9 hands every input to Core ML as an array and fails on an output that is no
array, so an image's decoding and a classifier's label are left out. The layers stay the same.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

CHANNELS = 3


def arrays_only(spec: Any) -> Any:
    """A copy of a package's specification that takes and gives arrays."""
    twin = copy.deepcopy(spec)
    _plain(twin.description)
    for part in (twin, *twin.pipeline.models):
        _plain(part.description)
        if part.WhichOneof("Type") == "mlProgram":
            _drop_outputs(part)
    return twin


def _plain(description: Any) -> None:
    """Images become arrays, outputs that are neither go."""
    for feature in (*description.input, *description.output):
        if feature.type.WhichOneof("Type") == "imageType":
            _array(feature)
    kept = [f for f in description.output if f.type.WhichOneof("Type") == "multiArrayType"]
    if len(kept) != len(description.output):
        kept = [copy.deepcopy(feature) for feature in kept]
        del description.output[:]
        description.output.extend(kept)
        description.predictedFeatureName = ""
        description.predictedProbabilitiesName = ""


def _array(feature: Any) -> None:
    from coremltools.proto import FeatureTypes_pb2 as types

    image = feature.type.imageType
    shape = [1, CHANNELS, image.height, image.width]
    array = feature.type.multiArrayType  # writing to it takes the image's place
    array.shape.extend(shape)
    array.dataType = types.ArrayFeatureType.ArrayDataType.FLOAT32


def _drop_outputs(part: Any) -> None:
    """What the description no longer names, and the operations that only made that."""
    named = {feature.name for feature in part.description.output}
    for function in part.mlProgram.functions.values():
        block = function.block_specializations[function.opset]
        kept = [name for name in block.outputs if name in named]
        del block.outputs[:]
        block.outputs.extend(kept)
        _drop_unread(block)


def _drop_unread(block: Any) -> None:
    """From the end, so that what fed a dropped operation goes as well."""
    read, used = set(block.outputs), []
    for operation in reversed(block.operations):
        if read.isdisjoint(output.name for output in operation.outputs):
            continue
        used.append(copy.deepcopy(operation))
        read.update(_reads(operation))
    del block.operations[:]
    block.operations.extend(reversed(used))


def _reads(operation: Any) -> Iterator[str]:
    """Names of what it needs, also inside of a loop."""
    for argument in (*operation.inputs.values(), *operation.attributes.values()):
        yield from (bound.name for bound in getattr(argument, "arguments", ()) if bound.name)
    for inner in operation.blocks:
        yield from inner.outputs
        for held in inner.operations:
            yield from _reads(held)
