"""An int8 graph cut into the blocks that are trained one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from exporter.graph import Add, Conv, Op, Output, Pool, QuantizedGraph
from exporter.quantize.bias_correction import FEWEST_IMAGES

MEMORY_BYTES = 4 * 10**9


@dataclass(frozen=True, kw_only=True)
class Block:
    """Operations that are trained together, what they read from outside and what others read."""

    ops: tuple[Op, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def split(graph: QuantizedGraph) -> tuple[Block, ...]:
    """The graph's integer operations after the Input, cut where a block ends.

    That is behind a tensor that is linear (a projection or a sum) or that branches off to heads,
    and before the pool; never between a sum and what it adds.
    """
    ops = [op for op in graph.ops[1:] if _is_integer(op, graph)]
    readers: dict[str, list[int]] = {op.output: [] for op in graph.ops}
    for place, op in enumerate(ops):
        for name in op.inputs:
            readers[name].append(place)
    cuts = [0, *(i + 1 for i in range(len(ops) - 1) if _ends(ops, i, readers)), len(ops)]
    return tuple(_block(ops, a, b, readers) for a, b in pairwise(cuts))


def _is_integer(op: Op, graph: QuantizedGraph) -> bool:
    return not isinstance(op, Output) and graph.tensors[op.output].qparams is not None


def _ends(ops: list[Op], place: int, readers: Mapping[str, list[int]]) -> bool:
    """Whether a block ends with an operation."""
    op = ops[place]
    later = [i for i in readers[op.output] if i > place]
    linear = isinstance(op, Add) or (isinstance(op, Conv) and op.clamp is None)
    branches = len(later) > 1 and not any(isinstance(ops[i], Add) for i in later)
    pending = (
        i
        for other in ops[:place]
        for i in readers[other.output]
        if i > place and isinstance(ops[i], Add)
    )
    return (linear or branches or isinstance(ops[place + 1], Pool)) and not any(pending)


def _block(ops: list[Op], start: int, end: int, readers: Mapping[str, list[int]]) -> Block:
    inside = ops[start:end]
    own = {op.output for op in inside}
    reads = dict.fromkeys(n for op in inside for n in op.inputs if n not in own)
    # What no operation reads is read by the results.
    writes = [n for n in own if not readers[n] or max(readers[n]) >= end]
    return Block(
        ops=tuple(inside),
        reads=tuple(reads),
        writes=tuple(op.output for op in inside if op.output in writes),
    )


def affordable(graph: QuantizedGraph, blocks: tuple[Block, ...]) -> int:
    """How many images fit: 9 bytes per value of what is held between blocks.

    That is int8 codes and float32 values, which are there twice while batches are joined.
    """
    largest, held = 1, set(blocks[0].reads)
    for index, block in enumerate(blocks):
        held |= set(block.writes)
        largest = max(largest, sum(math.prod(graph.tensors[name].shape) for name in held))
        held &= {name for later in blocks[index + 1 :] for name in later.reads}
    return max(FEWEST_IMAGES, MEMORY_BYTES // (9 * largest))
