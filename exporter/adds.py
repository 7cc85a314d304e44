"""The residual add, as each family of runtimes rounds it: int8 codes and int8 codes -> int8 codes.

Sources: XNNPACK `src/microparams-init.c`; ONNX Runtime `core/mlas/lib/qladd.cpp`.
"""

from __future__ import annotations

import numpy as np

from exporter.graph import QMAX, QMIN, QParams
from exporter.spec import Rules

f32 = np.float32
Real = np.ndarray | np.float32
UNSIGNED = 128  # ONNX Runtime's uint8 codes are the int8 codes plus this
ADD_SHIFT = 20  # XNNPACK scales the larger operand's multiplier to [2^20, 2^21)


def add_xnnpack(
    a: np.ndarray, b: np.ndarray, qa: QParams, qb: QParams, target: QParams
) -> np.ndarray:
    """Integer multipliers of 21 bits, then an arithmetic shift that rounds half up."""
    ratios = [np.float64(f32(f32(q.scale) / f32(target.scale))) for q in (qa, qb)]
    shift = ADD_SHIFT - int(np.floor(np.log2(max(ratios))))
    ma, mb = (int(np.rint(np.ldexp(r, shift))) for r in ratios)
    bias = (1 << (shift - 1)) - ma * qa.zero_point - mb * qb.zero_point
    acc = a.astype(np.int64) * ma + b.astype(np.int64) * mb + bias
    return saturate((acc >> shift) + target.zero_point)


def add_ort(a: np.ndarray, b: np.ndarray, qa: QParams, qb: QParams, target: QParams) -> np.ndarray:
    """MLAS QLinearAdd on x86: unsigned codes, fused multiply-adds in float32, one rounding to even.

    The zero points are folded into one constant first (its AVX2 kernel; tests/test_onnx.py).
    """
    za, zb, zy = (f32(q.zero_point + UNSIGNED) for q in (qa, qb, target))
    ra, rb = (f32(f32(q.scale) / f32(target.scale)) for q in (qa, qb))
    constant = f32(zy - _fma(ra, za, f32(rb * zb)))
    ua, ub = a.astype(f32) + f32(UNSIGNED), b.astype(f32) + f32(UNSIGNED)
    codes = np.rint(_fma(ua, ra, _fma(ub, rb, constant)))
    return saturate(codes - UNSIGNED)


def add_ort_wasm(
    a: np.ndarray, b: np.ndarray, qa: QParams, qb: QParams, target: QParams
) -> np.ndarray:
    """MLAS's plain kernel of the same: every product, sum and quotient is rounded to float32."""
    reals = [
        f32(q.scale) * (codes.astype(f32) - f32(q.zero_point)) for codes, q in ((a, qa), (b, qb))
    ]
    steps = (reals[0] + reals[1]) / f32(target.scale)
    return saturate(np.rint(steps + f32(target.zero_point + UNSIGNED)) - UNSIGNED)


ADDS = {Rules.XNNPACK: add_xnnpack, Rules.ORT: add_ort, Rules.ORT_WASM: add_ort_wasm}


def _fma(x: Real, y: Real, z: Real) -> np.ndarray:
    """`x * y + z` of float32 values rounded once: float64 holds the product exactly."""
    return np.asarray((np.float64(x) * np.float64(y) + np.float64(z)).astype(f32))


def saturate(codes: np.ndarray) -> np.ndarray:
    """Whole numbers -> int8, those beyond at the bounds."""
    return np.asarray(np.clip(codes, QMIN, QMAX).astype(np.int8))
