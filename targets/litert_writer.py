"""A `.tflite` model while it is written: where each tensor of the graph is in it.

Maps are (n, h, w, c) with n = 1, all else is as in the graph, and both are called as in the graph;
a name with a slash is ours alone ("input/quantized", "<tensor>/padded", "<tensor>/weight").
"""

from __future__ import annotations

from typing import Any

import numpy as np

from exporter.errors import UnsupportedError
from exporter.graph import Op, Permute, QuantizedGraph, Shape
from exporter.spec import Precision
from exporter.target import ExportOptions
from targets.litert_records import FlatModel

DESCRIPTION = "mnv2-export"
TO_ROWS = (0, 2, 3, 1)  # the order of dimensions that the file has anyway


class GraphWriter:
    """The model so far; `precision` and `options` are of the export."""

    def __init__(self, graph: QuantizedGraph, precision: Precision, options: ExportOptions) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema: Any = schema
        self.graph = graph
        self.half = precision is Precision.FP16
        self.options = options
        self.model = FlatModel(description=DESCRIPTION)
        self.places: dict[str, int] = {}
        self.permuted: set[str] = set()  # the graph calls them (n, h, w, c) as the file does

    def is_map(self, name: str) -> bool:
        """Whether the file has a tensor as (n, h, w, c) that the graph has as (n, c, h, w)."""
        return len(self.graph.tensors[name].shape) == 4 and name not in self.permuted

    def shape(self, name: str) -> Shape:
        """Of a tensor in the file."""
        shape = self.graph.tensors[name].shape
        return nhwc(shape) if self.is_map(name) else shape

    def source(self, name: str) -> int:
        """What an operation reads that knows maps; raises UnsupportedError for a permuted one."""
        if name in self.permuted:
            raise UnsupportedError(f"LiteRT export only reshapes permuted maps such as {name}")
        return self.places[name]

    def result(self, op: Op) -> int:
        """A new activation for what `op` writes, in the graph's own type."""
        qparams = self.graph.tensors[op.output].qparams
        dtype = np.float32 if qparams is None else np.int8
        place = self.model.tensor(op.output, self.shape(op.output), dtype, qparams)
        self.places[op.output] = place
        return place

    def permute(self, op: Permute) -> None:
        """Nothing: a map's values lie in the file as this puts them."""
        if op.order != TO_ROWS or not self.is_map(op.input):
            raise UnsupportedError(f"{op.output}: LiteRT export has no permutation {op.order}")
        self.places[op.output] = self.places[op.input]
        self.permuted.add(op.output)

    def quantize(self, source: int, target: int) -> int:
        """Float32 -> codes; returns `target`."""
        return self.model.operate("QUANTIZE", [source], target, self.schema.QuantizeOptionsT())

    def dequantize(self, source: int, target: int) -> int:
        """Codes -> float32; returns `target`."""
        return self.model.operate("DEQUANTIZE", [source], target, self.schema.DequantizeOptionsT())

    def cast(self, source: int, target: int) -> int:
        """Between int8 and uint8 codes of equal real values.

        By way of float32, which returns the same codes: the delegate does not take QUANTIZE from
        uint8 to int8 and would leave it to a slower kernel outside.
        """
        record = self.model.tensors[target]
        real = self.model.tensor(f"{record.name}/float32", record.shape, np.float32)
        return self.quantize(self.dequantize(source, real), target)


def nhwc(shape: Shape) -> Shape:
    """(n, c, h, w) -> (n, h, w, c)."""
    n, channels, height, width = shape
    return n, height, width, channels
