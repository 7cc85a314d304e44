"""A QuantizedGraph as a `.tflite` model: one pass, one builtin operation or two per operation.

litert_writer.py says how tensors lie in the file and what they are called. Everything that is
written here is taken by LiteRT's default XNNPACK delegate as one piece, but for labels and
non-maximum suppression, which follow it; litert_runner.py insists on that.

int8   int8 activations, int8 weights with a scale per channel, int32 biases.
fp16   float16 weights behind DEQUANTIZE, which the delegate folds when it loads; biases stay
       float32 (1 % of the file). It computes in float32 unless an app asks it for float16.
"""

from __future__ import annotations

import numpy as np

from exporter.errors import UnsupportedError
from exporter.graph import (
    RELU,
    RELU6,
    Add,
    Clamp,
    Conv,
    Input,
    Linear,
    Op,
    Output,
    Permute,
    Pool,
    QParams,
    QuantizedGraph,
    Reshape,
    Shape,
    WeightedOp,
    accumulator_scale,
    no_rule,
)
from exporter.metadata import METADATA_KEY, metadata_text
from exporter.spec import Precision
from exporter.target import ExportOptions, IoType
from targets.litert_flatbuffer import write
from targets.litert_heads import HeadOp, add_head
from targets.litert_metadata import METADATA_NAME, append_labels, tflite_metadata
from targets.litert_records import DEPTHWISE_DILATED, DEQUANTIZE_HALF
from targets.litert_writer import GraphWriter, nhwc

PROBABILITY = "probability"
# TensorFlow's convention for quantized probabilities: 0 to 255/256.
PROBABILITY_QPARAMS = QParams(scale=1 / 256, zero_point=-128)


def build(graph: QuantizedGraph, precision: Precision, options: ExportOptions) -> bytes:
    """The whole file: model, metadata, labels."""
    writer = ModelWriter(graph, precision, options)
    for op in graph.ops:
        writer.add(op)
    writer.model.metadata = {
        METADATA_NAME: tflite_metadata(graph.spec, tuple(writer.model.outputs)),
        METADATA_KEY: metadata_text(graph, precision).encode(),
    }
    return append_labels(write(writer.model), graph.spec)


class ModelWriter(GraphWriter):
    """Appends operation after operation."""

    def add(self, op: Op) -> None:
        """Append what `op` becomes."""
        if isinstance(op, Conv):
            self.conv(op)
        elif isinstance(op, Linear):
            options = self.schema.FullyConnectedOptionsT()
            options.fusedActivationFunction = self.activation_function(op.clamp)
            inputs = [self.source(op.input), *self.parameters(op, op.weight.values, 0)]
            self.model.operate("FULLY_CONNECTED", inputs, self.result(op), options)
        elif isinstance(op, Add):
            options = self.schema.AddOptionsT()
            options.potScaleInt16 = False
            self.model.operate("ADD", [self.source(n) for n in op.inputs], self.result(op), options)
        elif isinstance(op, Pool):
            options = self.schema.ReducerOptionsT()
            options.keepDims = True
            axes = self.model.constant(f"{op.output}/axes", np.array([1, 2], np.int32))
            self.model.operate("MEAN", [self.source(op.input), axes], self.result(op), options)
        elif isinstance(op, Reshape):
            self.reshape(op)
        elif isinstance(op, Permute):
            self.permute(op)
        elif isinstance(op, HeadOp):
            add_head(self, op)
        elif isinstance(op, Input):
            self.input(op)
        elif isinstance(op, Output):
            self.output(op)
        else:
            raise no_rule(op, "the litert target")

    def input(self, op: Input) -> None:
        """The image as the app hands it over, then as the graph's first operation reads it."""
        name, shape = op.output, nhwc(self.graph.input.shape)
        q, io = self.graph.input.qparams, self.options.io
        if q is None or io is IoType.INT8:
            image = place = self.result(op)
        elif io is IoType.UINT8:
            image = self.model.tensor(name, shape, np.uint8, q)
            place = self.cast(image, self.model.tensor(f"{name}/quantized", shape, np.int8, q))
        else:
            image = self.model.tensor(name, shape, np.float32)
            place = self.quantize(image, self.model.tensor(f"{name}/quantized", shape, np.int8, q))
        self.model.inputs[name] = image
        self.places[name] = place

    def output(self, op: Output) -> None:
        """A result; codes and probabilities in the element type that the app asked for."""
        place, shape = self.source(op.input), self.shape(op.output)
        q, io = self.graph.tensors[op.output].qparams, self.options.io
        if q is not None and (io is IoType.FLOAT32 or self.options.softmax):
            place = self.dequantize(place, self.model.tensor(op.output, shape, np.float32))
        elif q is not None and io is IoType.UINT8:
            place = self.cast(place, self.model.tensor(op.output, shape, np.uint8, q))
        name = op.output
        if self.options.softmax:
            name = PROBABILITY
            place = self.softmax(place, shape)
        self.model.outputs[name] = place

    def softmax(self, logits: int, shape: Shape) -> int:
        """Probabilities of float32 logits. The delegate has no integer softmax."""
        options = self.schema.SoftmaxOptionsT()
        options.beta = 1.0
        io = self.options.io
        name = PROBABILITY if io is IoType.FLOAT32 else f"{PROBABILITY}/float32"
        place = self.model.tensor(name, shape, np.float32)
        self.model.operate("SOFTMAX", [logits], place, options)
        if io is not IoType.FLOAT32:
            codes = self.model.tensor(PROBABILITY, shape, np.dtype(io), PROBABILITY_QPARAMS)
            place = self.quantize(place, codes)
        return place

    def conv(self, op: Conv) -> None:
        """A (depthwise) convolution; its padding is part of it or an operation before it."""
        schema, weight = self.schema, op.weight.values
        if op.depthwise:
            options, kind = schema.DepthwiseConv2DOptionsT(), "DEPTHWISE_CONV_2D"
            options.depthMultiplier = len(weight) // op.groups
            parameters = self.parameters(op, weight.transpose(1, 2, 3, 0), 3)
        elif op.groups == 1:
            options, kind = schema.Conv2DOptionsT(), "CONV_2D"
            parameters = self.parameters(op, weight.transpose(0, 2, 3, 1), 0)
        else:
            raise UnsupportedError(f"{op.output}: LiteRT export has no grouped convolution")
        options.strideH, options.strideW = op.stride
        options.dilationHFactor, options.dilationWFactor = op.dilation
        options.fusedActivationFunction = self.activation_function(op.clamp)
        source, options.padding = self.padded(op)
        dilated = op.depthwise and op.dilation != (1, 1) and op.weight.scale is None
        version = DEPTHWISE_DILATED if dilated else 0
        self.model.operate(kind, [source, *parameters], self.result(op), options, version)

    def padded(self, op: Conv) -> tuple[int, int]:
        """The convolution's input and schema.Padding: SAME where that is exactly `op.padding`."""
        place, padding = self.source(op.input), self.schema.Padding
        shape = self.graph.tensors[op.input].shape
        if not any(op.padding):
            return place, padding.VALID
        if op.padding == _same_padding(op, shape):
            return place, padding.SAME
        top, left, bottom, right = op.padding
        n, height, width, channels = nhwc(shape)
        wider = (n, height + top + bottom, width + left + right, channels)
        name = f"{op.output}/padded"
        dtype = self.model.tensors[place].dtype
        result = self.model.tensor(name, wider, dtype, self.graph.tensors[op.input].qparams)
        amounts = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
        inputs = [place, self.model.constant(f"{op.output}/padding", amounts)]
        return self.model.operate("PAD", inputs, result, self.schema.PadOptionsT()), padding.VALID

    def reshape(self, op: Reshape) -> None:
        """A change of shape that means the same in both memory orders."""
        source, shape = self.graph.tensors[op.input].shape, np.array(op.shape, np.int32)
        if len(shape) == 4 or (self.is_map(op.input) and source[2:] != (1, 1)):
            raise UnsupportedError(f"{op.output}: a reshaped map would mix (h, w, c) and (c, h, w)")
        options = self.schema.ReshapeOptionsT()
        options.newShape = shape
        inputs = [self.places[op.input], self.model.constant(f"{op.output}/shape", shape)]
        self.model.operate("RESHAPE", inputs, self.result(op), options)

    def parameters(self, op: WeightedOp, weight: np.ndarray, axis: int) -> list[int]:
        """[weight, bias]; `axis` is that of the output channels."""
        name, scale = f"{op.output}/weight", op.weight.scale
        if scale is not None:
            bias_scale = accumulator_scale(op, self.graph)
            return [
                self.model.constant(name, weight, scale, axis),
                self.model.constant(f"{op.output}/bias", op.bias, bias_scale),
            ]
        bias = self.model.constant(f"{op.output}/bias", op.bias)
        return [self.halved(name, weight) if self.half else self.model.constant(name, weight), bias]

    def halved(self, name: str, values: np.ndarray) -> int:
        """A float32 tensor that the runtime widens from float16."""
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float16)
        if not np.isfinite(narrow).all():
            raise UnsupportedError(
                f"{name} holds {np.abs(values).max():.3g}, which exceeds float16's 65504",
                "export fp32 or int8",
            )
        source = self.model.constant(f"{name}/float16", narrow)
        target = self.model.tensor(name, values.shape, np.float32)
        options = self.schema.DequantizeOptionsT()
        return self.model.operate("DEQUANTIZE", [source], target, options, DEQUANTIZE_HALF)

    def activation_function(self, clamp: Clamp | None) -> int:
        """schema.ActivationFunctionType of a clamp."""
        functions = self.schema.ActivationFunctionType
        known = {None: functions.NONE, RELU: functions.RELU, RELU6: functions.RELU6}
        if clamp not in known:
            raise UnsupportedError(f"LiteRT has no activation that clamps to {clamp}")
        return int(known[clamp])


def _same_padding(op: Conv, shape: Shape) -> tuple[int, int, int, int]:
    """What TensorFlow's SAME adds: (top, left, bottom, right), the odd pixel below and right."""
    before, after = [], []
    for size, kernel, stride, dilation in zip(
        shape[2:], op.kernel, op.stride, op.dilation, strict=True
    ):
        outputs = -(-size // stride)
        total = max(0, (outputs - 1) * stride + dilation * (kernel - 1) + 1 - size)
        before.append(total // 2)
        after.append(total - total // 2)
    return before[0], before[1], after[0], after[1]
