"""Ways to break a Core ML package that leave it a package; every one must be caught."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from exporter.metadata import METADATA_KEY
from targets.coreml_sdk import coremltools

MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


@dataclasses.dataclass
class Mutant:
    """A package taken apart, to be changed and written back."""

    spec: Any
    weights: bytearray

    @property
    def block(self) -> Any:
        function = self.spec.mlProgram.functions["main"]
        return function.block_specializations[function.opset]

    def of(self, kind: str) -> list[Any]:
        return [op for op in self.block.operations if op.type == kind]

    def constant(self, operation: Any, key: str) -> Any:
        """The MIL value that an input is bound to."""
        if key in operation.attributes:
            return operation.attributes[key]
        binding = operation.inputs[key].arguments[0]
        if binding.WhichOneof("binding") == "value":
            return binding.value
        return next(
            op.attributes["val"] for op in self.of("const") if op.outputs[0].name == binding.name
        )

    def change(self, operation: Any, key: str, change: Callable[[float], float]) -> None:
        """Change the first number of a constant that is held in the program."""
        from coremltools.proto import MIL_pb2

        value = self.constant(operation, key)
        tensor = value.immediateValue.tensor
        kinds = {MIL_pb2.FLOAT16: np.float16, MIL_pb2.INT8: np.int8}
        if tensor.WhichOneof("value") == "bytes":
            array = np.frombuffer(tensor.bytes.values, kinds[value.type.tensorType.dataType]).copy()
            array.flat[0] = change(array.flat[0])
            tensor.bytes.values = array.tobytes()
        else:
            held = getattr(tensor, tensor.WhichOneof("value")).values
            held[0] = change(held[0])

    def blob(self, operation: Any, key: str) -> int:
        """Where a constant's bytes begin in the weight file."""
        offset = self.constant(operation, key).blobFileValue.offset
        return int(np.frombuffer(self.weights, np.uint64, 1, offset + 16)[0])


def clip_bound(mutant: Mutant) -> None:
    """ReLU6 becomes a clip at 5.9."""
    from coremltools.proto import MIL_pb2

    clamp = mutant.of("relu6")[3]
    kind = clamp.outputs[0].type.tensorType.dataType
    clamp.type = "clip"
    for key, bound in (("alpha", 0.0), ("beta", 5.9)):
        argument = clamp.inputs[key].arguments.add()
        argument.value.type.tensorType.dataType = kind
        tensor = argument.value.immediateValue.tensor
        if kind == MIL_pb2.FLOAT16:
            tensor.bytes.values = np.float16(bound).tobytes()
        else:
            tensor.floats.values.append(bound)


def pad_side(mutant: Mutant) -> None:
    padded = [
        op
        for op in mutant.of("conv")
        if "pad" in op.inputs and any(mutant.constant(op, "pad").immediateValue.tensor.ints.values)
    ]
    uneven = [op for op in padded if len(set(pads(mutant, op))) > 1]
    held = mutant.constant(uneven[0], "pad").immediateValue.tensor.ints.values
    held[0], held[1] = held[1], held[0]


def pads(mutant: Mutant, operation: Any) -> list[int]:
    return list(mutant.constant(operation, "pad").immediateValue.tensor.ints.values)


def weight_operation(mutant: Mutant) -> tuple[Any, str]:
    compressed = mutant.of("constexpr_affine_dequantize")
    return (compressed[9], "quantized_data") if compressed else (mutant.of("conv")[9], "weight")


def weight_bit(mutant: Mutant) -> None:
    """An exponent or high bit of one weight."""
    at = mutant.blob(*weight_operation(mutant))
    mutant.weights[at + 1] ^= 0x10


def one_lsb(mutant: Mutant) -> None:
    at = mutant.blob(*weight_operation(mutant))
    mutant.weights[at] = (mutant.weights[at] + 1) % 256


def scale(mutant: Mutant) -> None:
    """One per cent on a quantize; in a float program, on the weights of the first channel."""
    if mutant.of("quantize"):
        mutant.change(mutant.of("quantize")[20], "scale", lambda value: value * 1.01)
        return
    at = mutant.blob(mutant.of("conv")[20], "weight")
    first = np.frombuffer(mutant.weights, np.float16, 8, at) * np.float16(1.01)
    mutant.weights[at : at + first.nbytes] = first.tobytes()


def zero_point(mutant: Mutant) -> None:
    if mutant.of("quantize"):
        mutant.change(mutant.of("dequantize")[7], "zero_point", lambda value: value + 1)
    else:
        bias = mutant.blob(mutant.of("conv")[7], "bias")
        mutant.weights[bias + 1] ^= 0x04


def residual_wiring(mutant: Mutant) -> None:
    """A block is added to itself."""
    residual = mutant.of("add")[-1]
    residual.inputs["y"].CopyFrom(residual.inputs["x"])


def operation_order(mutant: Mutant) -> None:
    """The clamp comes before the convolution instead of after it."""
    convolution, clamp = mutant.of("conv")[3], None
    for op in mutant.of("relu6"):
        if op.inputs["x"].arguments[0].name == convolution.outputs[0].name:
            clamp = op
    assert clamp is not None
    readers = [
        argument
        for op in mutant.block.operations
        for bound in op.inputs.values()
        for argument in bound.arguments
        if argument.name == clamp.outputs[0].name
    ]
    before = convolution.inputs["x"].arguments[0].name
    for reader in readers:
        reader.name = convolution.outputs[0].name
    clamp.inputs["x"].arguments[0].name = before
    convolution.inputs["x"].arguments[0].name = clamp.outputs[0].name
    shape = next(o for op in mutant.block.operations for o in op.outputs if o.name == before)
    clamp.outputs[0].type.CopyFrom(shape.type)
    operations = list(mutant.block.operations)
    operations.remove(clamp)
    operations.insert(operations.index(convolution), clamp)
    copies = [type(op).FromString(op.SerializeToString()) for op in operations]
    del mutant.block.operations[:]
    mutant.block.operations.extend(copies)


def label_order(mutant: Mutant) -> None:
    (classify,) = mutant.of("classify")
    held = mutant.constant(classify, "classes").immediateValue.list.values
    first, second = (v.immediateValue.tensor.strings.values for v in (held[0], held[1]))
    first[0], second[0] = second[0], first[0]


def image_bias(mutant: Mutant) -> None:
    """By one pixel value."""
    step = 1 / 128 if mutant.of("quantize") else 1.0  # a float program adds to pixels
    mutant.change(mutant.of("add")[0], "y", lambda value: value + step)


def declared_shape(mutant: Mutant) -> None:
    mutant.of("conv")[4].outputs[0].type.tensorType.dimensions[1].constant.size += 1


def truncated_blob(mutant: Mutant) -> None:
    del mutant.weights[len(mutant.weights) // 2 :]


def stride(mutant: Mutant) -> None:
    """Dilation where there was none, on a depthwise kernel: the shapes stay possible."""
    layer = next(op for op in mutant.of("conv") if pads(mutant, op) == [1, 1, 1, 1])
    for key, number in (("dilations", 2), ("pad", 2)):
        held = mutant.constant(layer, key).immediateValue.tensor.ints.values
        held[:] = [number] * len(held)


def channel_order(mutant: Mutant) -> None:
    from coremltools.proto import FeatureTypes_pb2 as types

    image = mutant.spec.description.input[0].type.imageType
    image.colorSpace = types.ImageFeatureType.BGR


def pooling(mutant: Mutant) -> None:
    (mean,) = mutant.of("reduce_mean")
    mean.type = "reduce_max"


def probabilities(mutant: Mutant) -> None:
    """The label is chosen from the logits: the same label, but no probabilities."""
    (classify,) = mutant.of("classify")
    classify.inputs["probabilities"].arguments[0].name = "logits"


def opset(mutant: Mutant) -> None:
    mutant.spec.specificationVersion += 1


def metadata(mutant: Mutant) -> None:
    """The app would read another normalization than the program has."""
    held = mutant.spec.description.metadata.userDefined
    key = METADATA_KEY
    held[key] = held[key].replace("-1.0", "-0.5", 1)


def needless_rounding(mutant: Mutant) -> None:
    """The logits pass through fp16 on their way to the probabilities."""
    from coremltools.proto import MIL_pb2

    (softmax,) = mutant.of("softmax")
    position = list(mutant.block.operations).index(softmax)
    bound = softmax.inputs["x"].arguments[0]
    for name, text, kind in (
        ("narrow", "fp16", MIL_pb2.FLOAT16),
        ("wide", "fp32", MIL_pb2.FLOAT32),
    ):
        cast = type(softmax)(type="cast")
        cast.inputs["x"].arguments.add().name = bound.name
        value = cast.inputs["dtype"].arguments.add().value
        value.type.tensorType.dataType = MIL_pb2.STRING
        value.immediateValue.tensor.strings.values.append(text)
        out = cast.outputs.add(name=name)
        out.type.CopyFrom(softmax.outputs[0].type)
        out.type.tensorType.dataType = kind
        bound.name = name
        mutant.block.operations.insert(position, cast)
        position += 1
        (softmax,) = mutant.of("softmax")
        bound = softmax.inputs["x"].arguments[0]


def other_opset(mutant: Mutant) -> None:
    """A newer system would run another program."""
    function = mutant.spec.mlProgram.functions["main"]
    newer = function.block_specializations["CoreML9"]
    newer.CopyFrom(mutant.block)
    next(op for op in newer.operations if op.type == "relu6").type = "relu"


def bytes_behind_the_weights(mutant: Mutant) -> None:
    mutant.weights += bytes(4096)


MUTATIONS = [
    clip_bound,
    pad_side,
    weight_bit,
    one_lsb,
    scale,
    zero_point,
    residual_wiring,
    operation_order,
    label_order,
    image_bias,
    declared_shape,
    truncated_blob,
    stride,
    channel_order,
    pooling,
    probabilities,
    opset,
    metadata,
    needless_rounding,
    other_opset,
    bytes_behind_the_weights,
]


def mutate(package: Path, mutation: Callable[[Mutant], None]) -> None:
    coremltools()
    from coremltools.proto import Model_pb2

    model, weights = package / MODEL, package / WEIGHTS
    mutant = Mutant(spec=Model_pb2.Model(), weights=bytearray(weights.read_bytes()))
    mutant.spec.ParseFromString(model.read_bytes())
    before = mutant.spec.SerializeToString(), bytes(mutant.weights)
    mutation(mutant)
    model.write_bytes(mutant.spec.SerializeToString())
    weights.write_bytes(mutant.weights)
    assert before != (mutant.spec.SerializeToString(), bytes(mutant.weights))
