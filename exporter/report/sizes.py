"""Bytes: of a layer's constants, and of an artifact once a store has compressed it."""

from __future__ import annotations

import zlib
from pathlib import Path

from exporter.files import CHUNK
from exporter.graph import Conv, Linear, Op, QuantizedGraph, multiply_adds
from exporter.latency.blocks import block_of, kind_of, layers_in
from exporter.report.records import Layer

LEVEL = 6  # what most archivers use; 9 takes twice as long for a thousandth


def deflated(path: Path) -> int:
    """Bytes of a file, or of a directory's files one by one, as a zip archive holds them."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return sum(_deflated(file) for file in files)


def _deflated(path: Path) -> int:
    packer, total = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            total += len(packer.compress(chunk))
    return total + len(packer.flush())


def layers(graph: QuantizedGraph) -> tuple[Layer, ...]:
    """Every operation that computes something, in execution order."""
    return tuple(
        Layer(
            name=op.output,
            block=block_of(op.output, graph.spec.task),
            kind=kind_of(op),
            size_bytes=_constant_bytes(op),
            multiply_adds=multiply_adds(op, graph),
        )
        for op in layers_in(graph)
    )


def _constant_bytes(op: Op) -> int:
    if not isinstance(op, Conv | Linear):
        return 0
    scale = op.weight.scale
    return op.weight.values.nbytes + op.bias.nbytes + (0 if scale is None else scale.nbytes)
