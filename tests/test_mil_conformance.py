"""coremltools' own tests of operations, with the reference evaluator in place of Core ML."""

from __future__ import annotations

import pytest
from mil_conformance.shipped import run

# Test classes for what the packages written here consist of, and what detection and segmentation
# will need. `python tests/mil_conformance` runs all the others too.
CLASSES = (
    "AvgPool",
    "Cast",
    "Concat",
    "Constexpr",
    "Conv",
    "Dequantize",
    "ElementwiseBinary",
    "ElementwiseUnary",
    "ExpandDims",
    "Gather",
    "JointCompression",
    "Linear",
    "MatMul",
    "MaxPool",
    "NormalizationBatchNorm",
    "Pad",
    "Quantize",
    "ReLU",
    "Reduction",
    "Reshape",
    "Resize",
    "Select",
    "SiLU",
    "Sigmoid",
    "SliceByIndex",
    "SliceBySize",
    "Softmax",
    "Split",
    "Squeeze",
    "Stack",
    "TopK",
    "Transpose",
    "Upsample",
)
EVERY = 60  # of each test's cases, or one; some multiply their parameters out to over a thousand
# What a package written here may hold, and its successors: each must have been predicted. (The
# tests of non_maximum_suppression need TensorFlow; test_mil_rules.py has cases of its own.)
OPERATIONS = {
    "add",
    "avg_pool",
    "batch_norm",
    "cast",
    "clip",
    "concat",
    "const",
    "constexpr_affine_dequantize",
    "constexpr_blockwise_shift_scale",
    "constexpr_lut_to_dense",
    "constexpr_sparse_to_dense",
    "conv",
    "conv_transpose",
    "dequantize",
    "expand_dims",
    "gather",
    "linear",
    "matmul",
    "max_pool",
    "mul",
    "pad",
    "quantize",
    "reduce_argmax",
    "reduce_mean",
    "relu",
    "relu6",
    "reshape",
    "resize",
    "resize_bilinear",
    "select",
    "sigmoid",
    "silu",
    "slice_by_index",
    "slice_by_size",
    "softmax",
    "split",
    "squeeze",
    "stack",
    "topk",
    "transpose",
    "upsample_bilinear",
}


@pytest.mark.slow
def test_the_evaluator_passes_coremltools_own_tests() -> None:
    """Every case that is not run falls under a reason in `prediction.SKIPPED`."""
    record = run("prediction", ["-k", " or ".join(f"Test{name}" for name in CLASSES)], EVERY)
    assert record["failures"] == []
    assert record["unexplained"] == {}
    assert record["outcomes"]["predicted"] >= 250  # about 300 with coremltools 9.0
    assert OPERATIONS - set(record["operations"]) == set()
