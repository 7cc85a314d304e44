"""What LiteRT's default XNNPACK delegate takes of a model, and what it has to.

Everything, as one node: a silent fallback to built-in kernels is slower and rounds differently. But
labels and suppressed detections end in operations that it does not have; then everything before
them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from targets.litert_records import FlatModel

DELEGATE = "DELEGATE"  # the name of a node that a delegate has taken over


class Tail(NamedTuple):
    """How an output that built-in kernels finish is told, and the operation that begins it."""

    name: str
    begins: str


TAILS = {
    "labels": Tail("argmax", "ARG_MAX"),
    "detections": Tail("non-maximum suppression", "TOPK_V2"),
}


def delegate_nodes(interpreter: Any) -> list[dict[str, Any]]:
    """The nodes that a delegate has taken over, each with its input and output tensors."""
    nodes = interpreter._get_ops_details()  # the only view of the plan that Python has
    return [node for node in nodes if node["op_name"] == DELEGATE]


def covers(pieces: Sequence[Mapping[str, Any]], model: FlatModel, outputs: Sequence[int]) -> bool:
    """Whether one delegate node takes all that it has to for these outputs."""
    inputs = set(model.inputs.values())
    reads = [{int(i) for i in piece["inputs"] if not model.tensors[i].buffer} for piece in pieces]
    first = [piece for piece, read in zip(pieces, reads, strict=True) if read & inputs]
    if len(first) != 1 or inputs not in reads or (len(pieces) > 1 and not tails(model)):
        return False
    computed = _producing(model, {int(i) for i in first[0]["outputs"]})
    return _network(model) & _producing(model, set(outputs)) <= computed


def told(pieces: Sequence[Mapping[str, Any]], model: FlatModel) -> str:
    """For a person."""
    if not covers(pieces, model, list(model.outputs.values())):
        return f"XNNPACK takes {len(pieces)} pieces; built-in kernels run the rest"
    network, found = len(_network(model)), tails(model)
    if not found:
        return f"one XNNPACK node takes all {len(model.operators)} ops"
    return f"one XNNPACK node takes the network, {network} ops; {found[0].name} outside"


def undelegated(pieces: Sequence[Mapping[str, Any]], model: FlatModel) -> int:
    """How many operations no delegate node computes."""
    outputs = {int(i) for piece in pieces for i in piece["outputs"]}
    inputs = {int(i) for piece in pieces for i in piece["inputs"]}
    taken = _producing(model, outputs, inputs - outputs)
    return len(model.operators) - len(taken)


def tails(model: FlatModel) -> list[Tail]:
    """Those of the model's outputs."""
    return [TAILS[name] for name in model.outputs if name in TAILS]


def _network(model: FlatModel) -> set[int]:
    """Operations on the image that stand before any tail."""
    ends = {tail.begins for tail in tails(model)}
    return _following(model, set(model.inputs.values()), set()) - _following(model, set(), ends)


def _following(model: FlatModel, tensors: set[int], kinds: set[str]) -> set[int]:
    """Places of the operations of these kinds, and of all that need them or these tensors."""
    reached, found = set(tensors), set()
    for place, op in enumerate(model.operators):
        if op.kind in kinds or reached.intersection(op.inputs):
            found.add(place)
            reached.update(op.outputs)
    return found


def _producing(
    model: FlatModel, tensors: set[int], given: Collection[int] = frozenset()
) -> set[int]:
    """Places of the operations that these tensors need, up to those that are given."""
    needed, found = set(tensors), set()
    for place, op in reversed(list(enumerate(model.operators))):
        if needed.intersection(op.outputs):
            found.add(place)
            needed.update(set(op.inputs).difference(given))
    return found
