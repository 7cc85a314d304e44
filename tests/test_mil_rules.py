"""Each rule against coremltools' own declaration of the operation, and against what it folds."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mil_conformance.shipped import run
from torch.ao.quantization.fx import _decomposed  # noqa: F401 (registers quantized_decomposed)

from exporter.errors import UnsupportedError
from targets.coreml_sdk import coremltools
from targets.mil.rules import FAMILIES, RULES
from targets.mil.rules.limits import LARGEST_TENSOR
from targets.mil.rules.quantization import quantize_reciprocal

# Defaults that MIL states per dimension; a rule leaves them out and takes the same number for all.
PER_DIMENSION = {"strides": 1, "dilations": 1, "pad": 0}


def registry() -> dict[str, dict[Any, Any]]:
    coremltools()
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    operations: dict[str, dict[Any, Any]] = SSAOpRegistry.core_ops
    return operations


def versions() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Every operation that has a rule, in every version of it: name, class, declared inputs."""
    for name in RULES:
        for declared in registry()[name].values():
            yield name, declared, declared.input_spec.input_types


def defaults(declared: Any) -> dict[str, Any]:
    """What MIL takes for inputs that are left out, for an `x` of rank 4."""
    from coremltools.converters.mil.mil import types

    image = SimpleNamespace(rank=4, shape=(1, 2, 4, 4), dtype=types.fp32)
    absent = dict.fromkeys(declared.input_spec.input_types)
    operation = object.__new__(declared)
    vars(operation).update(absent | {"x": image, "weight": image})
    operation.return_indices = SimpleNamespace(val=True)
    return {k: getattr(v, "val", v) for k, v in declared.default_inputs(operation).items()}


def same_default(name: str, ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, list) and name in PER_DIMENSION:
        return ours is None and set(theirs) == {PER_DIMENSION[name]}
    if isinstance(theirs, range):  # the axes of a layer_norm
        return ours is None and theirs == range(4)
    if isinstance(theirs, np.ndarray):  # the bias of a linear
        return ours is None and not theirs.any()
    if isinstance(theirs, np.floating):
        return theirs == type(theirs)(ours)
    return type(ours) is type(theirs) and bool(ours == theirs)


def test_a_rule_belongs_to_one_family() -> None:
    assert sum(map(len, FAMILIES.values())) == len(RULES) >= 145


def test_every_rule_is_an_operation_of_mil() -> None:
    assert set(RULES) - set(registry()) == set()


def test_rules_take_the_inputs_that_mil_declares_in_every_version() -> None:
    """No more, no fewer; required where every version requires them."""
    compared, wrong = 0, []
    for name in RULES:
        parameters = inspect.signature(RULES[name]).parameters
        specs = [spec for other, _, spec in versions() if other == name]
        declared = {key for spec in specs for key in spec}
        required = {k for k in declared if all(k in s and not s[k].optional for s in specs)}
        ours = {key for key, p in parameters.items() if p.default is inspect.Parameter.empty}
        compared += len(specs)
        if (set(parameters), ours) != (declared, required):
            wrong.append((name, sorted(parameters), sorted(declared), sorted(ours ^ required)))
    assert wrong == []
    assert compared >= 812  # as of coremltools 9.0


def test_rules_have_the_defaults_that_mil_declares_in_every_version() -> None:
    compared, wrong = 0, []
    for name, declared, spec in versions():
        parameters = inspect.signature(RULES[name]).parameters
        stated = defaults(declared)
        for key in (key for key, kind in spec.items() if kind.optional):
            compared += 1
            ours = parameters[key].default
            if not same_default(key, ours, stated.get(key)):
                wrong.append((name, declared.__module__, key, ours, stated.get(key)))
    assert wrong == []
    assert compared >= 741  # as of coremltools 9.0


def test_rules_compute_what_coremltools_folds() -> None:
    """Its tests of constants, in a process of their own: as of 9.0, 543 values of 98 operations."""
    record = run("folding", ["-k", "eval or value_inference or val_inference"])
    assert record["different"] == [], record["output"]
    assert len(record["equal"]) >= 95
    assert sum(record["equal"].values()) >= 500


def f(*values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


def u(*values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.uint8)


# The example of MIL's documentation for sparse tables: 9 of 24 places, each 0 or 1 in a table of 2.
MASK = u([1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 1], [0, 1, 1, 0, 1, 0], [0, 0, 0, 1, 0, 0])
PLACES = u(0, 1, 1, 0, 1, 1, 0, 0, 1)
# Its example of vectors: two of three numbers each, here 10, 11, 12 and 20, 21, 22.
VECTORS = f([10, 11, 12], [20, 21, 22]).reshape(1, 1, 1, 2, 3)
VECTOR_INDICES = u([[0, 0], [1, 0]], [[1, 1], [0, 0]])

# operation, inputs, result; computed by hand or taken from MIL's documentation.
CASES: dict[str, tuple[str, Mapping[str, Any], Any]] = {
    "batch norm": (
        "batch_norm",
        {
            "x": f(3, 5).reshape(1, 2, 1, 1),
            "mean": f(1, 1),
            "variance": f(4, 16),
            "gamma": f(2, 3),
            "beta": f(0.5, -1),
            "epsilon": 0.0,
        },
        f(2.5, 2).reshape(1, 2, 1, 1),  # (3 - 1) / 2 * 2 + 0.5, (5 - 1) / 4 * 3 - 1
    ),
    "batch norm, epsilon inside the root": (
        "batch_norm",
        {"x": f(6).reshape(1, 1, 1), "mean": f(0), "variance": f(3), "epsilon": 1.0},
        f(3).reshape(1, 1, 1),
    ),
    "quantize: ties to even, saturation": (
        "quantize",
        {"input": f(0.5, 1.5, 2.5, -0.5, -1.5, 1e4), "scale": 1.0, "output_dtype": "int8"},
        torch.tensor([0, 2, 2, 0, -2, 127], dtype=torch.int8),
    ),
    "quantize: zero point after rounding": (
        "quantize",
        {"input": f(-1e4, 1.25), "scale": 0.5, "output_dtype": "uint8", "zero_point": 127},
        u(0, 129),
    ),
    "dequantize: one scale per channel": (
        "dequantize",
        {"input": u([3, 3], [5, 5]), "scale": f(0.5, 2), "zero_point": u(1, 3), "axis": 0},
        f([1, 1], [4, 4]),
    ),
    "affine weights": (
        "constexpr_affine_dequantize",
        {"quantized_data": u([3, 5]), "zero_point": 3, "scale": f(0.5, 2), "axis": -1},
        f([0, 4]),
    ),
    "weights in blocks": (
        "constexpr_blockwise_shift_scale",
        {"data": u([1, 2, 3, 4]), "scale": f([0.5, 2]), "offset": u([1, 2])},
        f([0, 0.5, 2, 4]),
    ),
    "weights in blocks, no offset": (
        "constexpr_blockwise_shift_scale",
        {"data": u([1], [2], [3]), "scale": f([0.5])},
        f([0.5], [1], [1.5]),
    ),
    "cast weights": (
        "constexpr_cast",
        {"source_val": f(1.5), "output_dtype": "fp32"},
        f(1.5),
    ),
    "packed table, 2 bits": (
        "constexpr_lut_to_dense",
        {"indices": u(0b01101100, 0b11), "lut": f(10, 20, 30, 40), "shape": [5]},
        f(10, 40, 30, 20, 40),
    ),
    "packed table, 6 bits across bytes": (
        "constexpr_lut_to_dense",
        {"indices": u(65, 248, 3), "lut": torch.arange(64.0), "shape": [3]},
        f(1, 33, 63),
    ),
    "table per group": (
        "constexpr_lut_to_dense",
        {
            "indices": u([2, 3], [3, 0], [1, 0], [3, 0], [2, 1], [0, 3]),
            "lut": f([1, 5, 9, 13], [2, 10, 18, 26]).reshape(2, 1, 4, 1),
        },
        f([9, 13], [13, 1], [5, 1], [26, 2], [18, 10], [2, 26]),
    ),
    "table of vectors, axis 1": (
        "constexpr_lut_to_dense",
        {"indices": VECTOR_INDICES, "lut": VECTORS, "vector_axis": 1},
        f(
            [[10, 10], [11, 11], [12, 12], [20, 10], [21, 11], [22, 12]],
            [[20, 20], [21, 21], [22, 22], [10, 10], [11, 11], [12, 12]],
        ),
    ),
    "table of vectors, axis 2": (
        "constexpr_lut_to_dense",
        {"indices": VECTOR_INDICES, "lut": VECTORS, "vector_axis": 2},
        f(
            [[10, 11, 12, 10, 11, 12], [20, 21, 22, 10, 11, 12]],
            [[20, 21, 22, 20, 21, 22], [10, 11, 12, 10, 11, 12]],
        ),
    ),
    "sparse, packed mask": (
        "constexpr_sparse_to_dense",
        {"nonzero_data": f(7, 8), "mask": u(0b00001100), "shape": [5]},
        f(0, 0, 7, 8, 0),
    ),
    "sparse, mask of the weights' shape": (
        "constexpr_sparse_to_dense",
        {"nonzero_data": f(7, 8), "mask": u([0, 1], [1, 0])},
        f([0, 7], [8, 0]),
    ),
    "sparse table": (
        "constexpr_lut_to_sparse",
        {
            "indices_mask": MASK,
            "indices_nonzero_data": PLACES,
            "lut": f(2, 3).reshape(1, 1, 2, 1),
        },
        (MASK, f(2, 3, 3, 2, 3, 3, 2, 2, 3)),
    ),
    "sparse table of vectors": (
        "constexpr_lut_to_sparse",
        {
            "indices_mask": MASK,
            "indices_nonzero_data": PLACES,
            "lut": f([2, 4], [3, 5]).reshape(1, 1, 2, 2),
            "vector_axis": 0,
        },
        (
            MASK.repeat_interleave(2, 0),
            f(2, 3, 4, 5, 3, 2, 3, 5, 4, 5, 3, 2, 2, 5, 4, 4, 3, 5),
        ),
    ),
    "sparse weights in blocks": (
        "constexpr_sparse_blockwise_shift_scale",
        {
            "data_mask": u([1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]),
            "nonzero_data": u(10, 11, 3, 4, 5, 6, 7, 8, 9),
            "scale": f([0.1, 0.2, 0.3, 0.4]),
            "offset": u([1, 2, 3, 4]),
        },
        (
            u([1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]),
            f(0.9, 1.8, 0.2, 0.4, 0.6, 0.9, 1.2, 0.7, 1.4),
        ),
    ),
    "resize: corners aligned": (
        "resize_bilinear",
        {
            "x": f([[[0, 1]]]),
            "target_size_height": 1,
            "target_size_width": 5,
            "sampling_mode": "STRICT_ALIGN_CORNERS",
        },
        f([[[0, 0.25, 0.5, 0.75, 1]]]),
    ),
    "resize: half pixels": (
        "resize_bilinear",
        {
            "x": f([[[0, 1]]]),
            "target_size_height": 1,
            "target_size_width": 5,
            "sampling_mode": "UNALIGN_CORNERS",
        },
        f([[[0, 0.1, 0.5, 0.9, 1]]]),
    ),
    "convolution: an odd padding goes behind": (
        "conv",
        {"x": f([[1, 2, 3]]), "weight": f([[1, 10]]), "pad_type": "same"},
        f([[21, 32, 3]]),
    ),
    "convolution: an odd padding goes in front": (
        "conv",
        {"x": f([[1, 2, 3]]), "weight": f([[1, 10]]), "pad_type": "same_lower"},
        f([[10, 21, 32]]),
    ),
    "reshape: 0 keeps a dimension, from the right": (
        "reshape",
        {"x": f([[1], [2]]), "shape": [1, 0, 0]},
        f([[1], [2]]).reshape(1, 2, 1),
    ),
    "concat: interleaved": (
        "concat",
        {"values": [f(1, 2), f(3, 4)], "axis": 0, "interleave": True},
        f(1, 3, 2, 4),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_rule_computes_what_mil_defines(case: str) -> None:
    kind, inputs, expected = CASES[case]
    results = RULES[kind](**inputs)
    wanted = expected if isinstance(expected, tuple) else (expected,)
    got = results if isinstance(results, tuple) else (results,)
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours.dtype is theirs.dtype
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_classify_names_the_first_of_equals() -> None:
    label, probabilities = RULES["classify"](
        probabilities=f([0.25, 0.5, 0.5]), classes=["a", "b", "c"]
    )
    assert label == "b"
    assert probabilities == {"a": 0.25, "b": 0.5, "c": 0.5}
    assert RULES["classify"](probabilities=f(0.5, 0.25), classes=[7, 9]) == (7, {7: 0.5, 9: 0.25})


def test_quantization_is_torchs_bit_for_bit() -> None:
    """The reciprocal form is; MIL's own definition falls differently on some ties."""
    ops = torch.ops.quantized_decomposed
    scale = 1 / 127.5
    x = torch.arange(-256, 257).float() / 127.5 * 0.5  # every tie of the scale, and every step
    ours = quantize_reciprocal(x, scale, "int8", 3)
    assert torch.equal(ours, ops.quantize_per_tensor(x, scale, 3, -128, 127, torch.int8))
    assert not torch.equal(ours, RULES["quantize"](x, scale, "int8", 3))
    real = ops.dequantize_per_tensor(ours, scale, 3, -128, 127, torch.int8)
    assert torch.equal(RULES["dequantize"](ours, scale, 3), real)
    codes = torch.arange(-128, 128, dtype=torch.int8).repeat(2, 1)
    scales, zeros = f(0.1, 0.7), torch.tensor([5, -7], dtype=torch.int8)
    channels = ops.dequantize_per_channel(codes, scales, zeros.long(), 0, -128, 127, torch.int8)
    assert torch.equal(RULES["dequantize"](codes, scales, zeros, 0), channels)


def boxes(*rows: tuple[float, float, float, float]) -> torch.Tensor:
    return f(*rows)[None]


# One image. (x, y, width, height) about the centre: the first two overlap by 2 / 4 exactly, the
# third stands apart.
PAIR_AND_ONE = boxes((1.5, 0.5, 3, 1), (2.5, 0.5, 3, 1), (10, 10, 2, 2))
# scores (one row per box), IoU threshold, score threshold, boxes wanted, per class -> indices
SUPPRESSIONS: dict[str, tuple[list[list[float]], float, float, int, bool, list[int]]] = {
    "above the threshold": ([[0.9], [0.8], [0.7]], 0.49, 0.0, 3, False, [0, 2]),
    "at the threshold": ([[0.9], [0.8], [0.7]], 0.5, 0.0, 3, False, [0, 1, 2]),
    "best first": ([[0.7], [0.9], [0.8]], 0.49, 0.0, 3, False, [1, 2]),
    "a tie": ([[0.5], [0.5], [0.5]], 0.49, 0.0, 3, False, [0, 2]),
    "no more than wanted": ([[0.7], [0.8], [0.9]], 0.5, 0.0, 2, False, [2, 1]),
    "across classes": ([[0.9, 0], [0, 0.8], [0.7, 0]], 0.4, 0.0, 3, False, [0, 2]),
    "per class": ([[0.9, 0], [0, 0.8], [0.7, 0]], 0.4, 0.0, 3, True, [0, 1, 2]),
    "score at its threshold": ([[0.9], [0.8], [0.7]], 0.5, 0.7, 3, False, [0, 1]),
    "no score above": ([[0.1], [0.3], [0.2]], 0.5, 0.7, 3, False, [1]),
}


@pytest.mark.parametrize("case", SUPPRESSIONS)
def test_suppression_before_ios_17(case: str) -> None:
    rows, iou, least, wanted, per_class, indices = SUPPRESSIONS[case]
    scores = f(rows)
    got = RULES["non_maximum_suppression"](
        boxes=PAIR_AND_ONE,
        scores=scores,
        iou_threshold=iou,
        score_threshold=least,
        max_boxes=wanted,
        per_class_suppression=per_class,
    )
    spare = wanted - len(indices)
    assert got[2].tolist() == [indices + [-1] * spare]
    assert got[3].tolist() == [len(indices)]
    for kept, every in ((got[0], PAIR_AND_ONE), (got[1], scores)):
        assert torch.equal(kept[0, : len(indices)], every[0][indices])
        assert torch.equal(kept[0, len(indices) :], torch.zeros(spare, every.shape[-1]))


def greedy(corners: np.ndarray, best: np.ndarray, labels: np.ndarray, iou: float) -> list[int]:
    """Suppression as its definition reads, one pair of (left, top, right, bottom) at a time."""

    def overlap(a: np.ndarray, b: np.ndarray) -> float:
        width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
        height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
        areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
        return float(width * height / (areas - width * height)) if width * height else 0.0

    kept: list[int] = []
    for i in sorted(range(len(best)), key=lambda i: (-best[i], i)):
        same = [j for j in kept if labels[j] == labels[i]]
        if all(overlap(corners[i], corners[j]) <= iou for j in same):
            kept.append(i)
    return kept


@pytest.mark.parametrize("per_class", [False, True])
def test_suppression_from_ios_17_on_is_greedy(per_class: bool) -> None:
    """A crowd of 60 boxes in two images, scores in steps of a tenth so that many are equal."""
    generator = torch.Generator().manual_seed(1)
    centres = torch.rand(2, 2, 60, generator=generator) * 6
    sizes = torch.rand(2, 2, 60, generator=generator) * 2
    sizes[:, :, 7] = 0  # boxes without an area
    scores = torch.randint(0, 10, (2, 3, 60), generator=generator) / 10
    stacked = torch.cat([centres, sizes], 1)
    kept_boxes, kept_scores, kept = RULES["non_maximum_suppression"](
        boxes=stacked,
        scores=scores,
        iou_threshold=0.3,
        max_boxes=64,
        per_class_suppression=per_class,
    )
    for n in range(2):
        corners = torch.cat([centres[n] - sizes[n] / 2, centres[n] + sizes[n] / 2]).T.numpy()
        best, labels = scores[n].numpy().max(0), scores[n].numpy().argmax(0)
        indices = greedy(corners, best, labels if per_class else np.zeros(60), 0.3)
        assert 10 < len(indices) < 60
        assert kept[n].tolist() == indices + [-1] * (64 - len(indices))
        assert torch.equal(kept_boxes[n, :, : len(indices)], stacked[n][:, indices])
        assert torch.equal(kept_scores[n, :, : len(indices)], scores[n][:, indices])
        assert not kept_boxes[n, :, len(indices) :].any()
        assert not kept_scores[n, :, len(indices) :].any()


SIDE = math.isqrt(LARGEST_TENSOR) + 1
ROW, COLUMN = torch.zeros(1, SIDE), torch.zeros(SIDE, 1)
IMAGE = torch.zeros(1, 1, 1, 1)
# Small arguments that ask for more than the largest tensor.
EXCESSES: list[tuple[str, Mapping[str, Any]]] = [
    ("add", {"x": ROW, "y": COLUMN}),
    ("select", {"cond": ROW, "a": COLUMN, "b": 0.0}),
    ("matmul", {"x": COLUMN, "y": ROW}),
    ("matmul", {"x": torch.zeros(SIDE, 1, 1), "y": torch.zeros(1, 1, SIDE)}),
    ("linear", {"x": COLUMN, "weight": COLUMN}),
    ("conv", {"x": IMAGE, "weight": IMAGE, "pad_type": "custom", "pad": [SIDE] * 4}),
    ("conv", {"x": torch.zeros(1, 1, SIDE), "weight": torch.zeros(SIDE, 1, 1)}),
    ("conv_transpose", {"x": torch.zeros(1, 1, 2, 2), "weight": IMAGE, "strides": [SIDE, SIDE]}),
    ("conv_transpose", {"x": IMAGE, "weight": IMAGE, "output_shape": [1, 1, SIDE, SIDE]}),
    ("max_pool", {"x": IMAGE, "kernel_sizes": [1, 1], "pad_type": "custom", "pad": [SIDE] * 4}),
    ("fill", {"shape": [SIDE, SIDE]}),
    ("range_1d", {"start": 0, "end": SIDE * SIDE, "step": 1}),
    ("one_hot", {"indices": torch.zeros(SIDE).int(), "one_hot_vector_size": SIDE}),
    ("tile", {"x": ROW, "reps": [SIDE, 1]}),
    ("pad", {"x": ROW, "pad": [SIDE, 0, 0, 0]}),
    ("pad", {"x": ROW, "pad": [SIDE, 0, 0, 0], "mode": "replicate"}),
    ("concat", {"values": [torch.zeros(1 << 20)] * 300, "axis": 0}),
    ("stack", {"values": [torch.zeros(1 << 20)] * 300, "axis": 0}),
    ("gather", {"x": ROW, "indices": torch.zeros(SIDE).int()}),
    ("gather_nd", {"x": ROW, "indices": torch.zeros(SIDE, 1).int()}),
    ("sliding_windows", {"x": torch.zeros(2 * SIDE), "axis": 0, "size": SIDE}),
    ("space_to_batch", {"x": IMAGE, "block_shape": [1, 1], "paddings": [[SIDE, 0], [SIDE, 0]]}),
    ("resize", {"x": IMAGE, "shape": [SIDE, SIDE], "resized_dims": 2}),
    ("resize_bilinear", {"x": IMAGE, "target_size_height": SIDE, "target_size_width": SIDE}),
    (
        "resize_nearest_neighbor",
        {"x": IMAGE, "target_size_height": SIDE, "target_size_width": SIDE},
    ),
    ("upsample_bilinear", {"x": IMAGE, "scale_factor_height": SIDE, "scale_factor_width": SIDE}),
    (
        "upsample_nearest_neighbor",
        {"x": IMAGE, "scale_factor_height": SIDE, "scale_factor_width": SIDE},
    ),
    ("constexpr_lut_to_dense", {"indices": u(0), "lut": f(1, 2), "shape": [SIDE, SIDE]}),
    ("constexpr_sparse_to_dense", {"nonzero_data": f(1), "mask": u(1), "shape": [SIDE, SIDE]}),
    (
        "non_maximum_suppression",
        {
            "boxes": torch.zeros(1, 4, 1),
            "scores": torch.zeros(1, 1, 1),
            "iou_threshold": 0.5,
            "max_boxes": LARGEST_TENSOR,
        },
    ),
]


@pytest.mark.parametrize(("kind", "inputs"), EXCESSES, ids=[kind for kind, _ in EXCESSES])
def test_a_rule_refuses_to_take_all_memory(kind: str, inputs: Mapping[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match=f"beyond {LARGEST_TENSOR} elements"):
        RULES[kind](**inputs)


MODES: list[tuple[str, Mapping[str, Any]]] = [
    ("cast", {"x": ROW, "dtype": "string"}),
    ("gelu", {"x": ROW, "mode": "OTHER"}),
    ("pad", {"x": ROW, "pad": [1, 1], "mode": "other"}),
    ("conv", {"x": IMAGE, "weight": IMAGE, "pad_type": "other"}),
    ("quantize", {"input": ROW, "scale": 1.0, "output_dtype": "other"}),
    ("scatter", {"data": f(1), "indices": u(0), "updates": f(1), "mode": "other"}),
    ("resize_bilinear", {"x": IMAGE, "sampling_mode": "OTHER"}),
    ("upsample_bilinear", {"x": IMAGE, "align_corners": True, "half_pixel_centers": True}),
]


@pytest.mark.parametrize(("kind", "inputs"), MODES, ids=[kind for kind, _ in MODES])
def test_an_unknown_mode_is_not_guessed(kind: str, inputs: Mapping[str, Any]) -> None:
    with pytest.raises(UnsupportedError):
        RULES[kind](**inputs)


CONTRADICTIONS: list[tuple[str, Mapping[str, Any]]] = [
    ("concat", {"values": [f(1), f(2)], "axis": 1}),
    ("gather", {"x": f(1, 2), "indices": 2}),
    ("gather", {"x": f(1, 2), "indices": 0, "axis": 1}),
    ("scatter", {"data": f(1), "indices": torch.tensor([1]), "updates": f(1)}),
    ("reduce_mean", {"x": f(1, 2), "axes": [1]}),
    ("slice_by_index", {"x": f(1), "begin": [1], "end": [0], "squeeze_mask": [1]}),
    ("split", {"x": f(1, 2, 3), "axis": 0, "num_splits": 2}),
    ("quantize", {"input": f(1, 2), "scale": f(1, 2), "output_dtype": "int8"}),
    ("dequantize", {"input": u(1, 2), "scale": f(1, 2, 3), "axis": 0}),
    ("constexpr_sparse_to_dense", {"nonzero_data": f(1, 2), "mask": u([0, 1])}),
    ("constexpr_blockwise_shift_scale", {"data": u([1, 2, 3]), "scale": f([1, 2])}),
    ("constexpr_lut_to_dense", {"indices": u(0, 0), "lut": f(1, 2), "shape": [3]}),
    ("prelu", {"x": torch.zeros(1, 2, 3), "alpha": f(1, 2, 3)}),
    ("classify", {"probabilities": f(0.5, 0.5), "classes": ["a"]}),
]


@pytest.mark.parametrize(
    ("kind", "inputs"), CONTRADICTIONS, ids=[kind for kind, _ in CONTRADICTIONS]
)
def test_arguments_that_contradict_each_other_are_not_computed(
    kind: str, inputs: Mapping[str, Any]
) -> None:
    with pytest.raises((ValueError, IndexError)):
        RULES[kind](**inputs)
