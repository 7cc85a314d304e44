"""Operations that cost time and could be spared or moved, and shapes that Core ML dislikes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from exporter.findings import Finding
from targets.mil.lint.findings import found, listed
from targets.mil.lint.flow import Flow, Node, dimensions
from targets.mil.package import constant_bytes

MOST_DIMENSIONS = 5  # coremltools refuses to write a program with more
NEURAL_ENGINE_DIMENSIONS = 4
CONVOLUTION = "conv"
MOVES = {"cast", "quantize", "dequantize"}  # conversions, which compute nothing themselves
# Most of a network's work; in float32 they never run on the Neural Engine, wherever they stand.
HEAVY = {
    CONVOLUTION,
    "conv_transpose",
    "linear",
    "matmul",
    "einsum",
    "lstm",
    "gru",
    "rnn",
    "scaled_dot_product_attention",
}
SCALES, OFFSETS = {"mul", "real_div"}, {"add", "sub"}


def structure_findings(flow: Flow) -> Iterator[Finding]:
    """ML106 and ML201 to ML206."""
    yield from _shapes(flow)
    yield from _dead(flow)
    yield from _pads(flow)
    yield from _preprocessing(flow)
    yield from _float32(flow)


def _shapes(flow: Flow) -> Iterator[Finding]:
    values = [(v.name, v.type) for v in flow.function.inputs]
    values += [value for node in flow.nodes if not node.constant for value in node.outputs()]
    shapes = {name: dimensions(kind) for name, kind in values}
    if many := [n for n, shape in shapes.items() if len(shape) > MOST_DIMENSIONS]:
        yield found("ML106", listed(many))
    if dynamic := [n for n, shape in shapes.items() if None in shape]:
        yield found("ML201", listed(dynamic))
    limits = range(NEURAL_ENGINE_DIMENSIONS + 1, MOST_DIMENSIONS + 1)
    if five := [n for n, shape in shapes.items() if len(shape) in limits]:
        yield found("ML202", listed(five))


def _dead(flow: Flow) -> Iterator[Finding]:
    """Backwards from what the function gives; an operation without a result is there to act."""
    needed = set(flow.block.outputs)
    dead = []
    for node in reversed(flow.nodes):
        if not node.op.outputs or any(name in needed for name, _ in node.outputs()):
            needed |= node.reads
        else:
            dead.append(node)
    if dead:
        stored = sum(constant_bytes(node.op) for node in dead if node.constant)
        names = listed(node.name for node in reversed(dead))
        yield found("ML203", f"{names}; {stored:,} bytes of constants")


def _pads(flow: Flow) -> Iterator[Finding]:
    names = [node.name for node in flow.nodes if _foldable_pad(flow, node)]
    if names:
        yield found("ML204", listed(names))


def _foldable_pad(flow: Flow, node: Node) -> bool:
    """Zeros around height and width for convolutions whose own padding is a list of numbers."""
    readers = flow.only_readers(node.name)
    if not _pads_zeros(flow, node) or not readers:
        return False
    return all(
        reader.type == CONVOLUTION
        and flow.source(reader, "x") is node
        and flow.text(reader, "pad_type", "valid") in ("valid", "custom")
        for reader in readers
    )


def _pads_zeros(flow: Flow, node: Node) -> bool:
    if node.type != "pad" or flow.text(node, "mode", "constant") != "constant":
        return False
    pad, value = flow.constant(node, "pad"), flow.constant(node, "constant_val")
    if pad is None or (value is not None and np.any(value != 0)):
        return False
    spatial = 2 * (len(node.shape) - 2)  # all but batch and channels
    return bool(np.all(pad >= 0) and not np.any(pad.ravel()[: max(pad.size - spatial, 0)]))


def _preprocessing(flow: Flow) -> Iterator[Finding]:
    """Scales between an input and its convolutions, and offsets where no padding is in between.

    A padded zero stays zero under a scale but not under an offset, so an offset in front of a
    padded convolution has to stay an operation.
    """
    for value in flow.function.inputs:
        chain, layers = _input_chain(flow, value.name)
        if not layers:
            continue
        padded = any(n.type == "pad" for n in chain) or any(_padded(flow, n) for n in layers)
        kinds = SCALES if padded else SCALES | OFFSETS
        if names := [node.name for node in chain if node.type in kinds]:
            yield found("ML205", f"{listed(names)} before {listed(n.name for n in layers)}")


def _input_chain(flow: Flow, value: str) -> tuple[list[Node], list[Node]]:
    """Per-channel steps from an input on, and the convolutions at their end, if there are some."""
    chain: list[Node] = []
    while len(readers := flow.only_readers(value)) == 1 and _per_channel(flow, readers[0]):
        chain.append(readers[0])
        value = readers[0].name
    writer = chain[-1] if chain else None
    convolutions = all(n.type == CONVOLUTION and flow.source(n, "x") is writer for n in readers)
    return chain, readers if convolutions else []


def _per_channel(flow: Flow, node: Node) -> bool:
    if node.type == "pad":
        return _pads_zeros(flow, node)
    if node.type == "cast":
        return node.gives("fp16") or node.gives("fp32")
    if node.type not in SCALES | OFFSETS:
        return False
    constants = [flow.constant(node, argument) for argument in ("x", "y")]
    if node.type == "real_div" and constants[0] is not None:
        return False  # a constant divided by the image
    held = [c for c in constants if c is not None]
    return len(held) == 1 and len(node.shape) == 4 and _along_channels(held[0].shape)


def _along_channels(shape: tuple[int, ...]) -> bool:
    """Whether a constant broadcasts along the channels of (n, c, h, w) and nothing else."""
    full = (1,) * (4 - len(shape)) + shape
    return len(shape) <= 4 and full[0] == full[2] == full[3] == 1


def _padded(flow: Flow, convolution: Node) -> bool:
    kind, pad = flow.text(convolution, "pad_type", "valid"), flow.constant(convolution, "pad")
    return kind.startswith("same") or (kind == "custom" and pad is not None and bool(pad.any()))


def _float32(flow: Flow) -> Iterator[Finding]:
    """Heavy layers in float32 anywhere, other operations only between narrower ones.

    What stands before all float16 or quantized operations is the input's own precision (8-bit
    images need more than float16 to quantize right), what stands after all of them the output's
    (a softmax in float16 loses classes that are close). In between, float32 is a detour. A
    program that computes in float32 throughout does so by choice.
    """
    if not any(_computes_in_half(node) for node in flow.nodes):
        return
    late = flow.flagged(_narrow, downstream=True)
    early = flow.flagged(_narrow, downstream=False)
    names = [
        node.name
        for node in flow.nodes
        if node.gives("fp32")
        and not node.constant
        and node.type not in MOVES
        and (node.type in HEAVY or (node in late and node in early))
    ]
    if names:
        yield found("ML206", listed(names))


def _computes_in_half(node: Node) -> bool:
    return node.gives("fp16") and not node.constant and node.type != "cast"


def _narrow(node: Node) -> bool:
    return node.type == "quantize" or _computes_in_half(node)
