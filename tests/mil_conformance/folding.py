"""A pytest plugin: what coremltools folds with numpy, our rules compute once more.

coremltools knows the value of an operation whose inputs it knows, and its tests make many. Every
such value is held against the rule; the record counts them and describes each mismatch.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from targets.coreml_sdk import coremltools

coremltools()

from coremltools.converters.mil.mil import Operation  # noqa: E402

from mil_conformance.shipped import RECORD  # noqa: E402
from targets.mil.rules import RULES  # noqa: E402

# How far a folded value may be from ours, relative to itself and to the largest beside it;
# coremltools computes fp16 in fp16.
FLOAT16, FLOAT32 = (2e-3, 1e-3), (1e-5, 1e-6)

equal: Counter[str] = Counter()
different: list[str] = []
fold = Operation._auto_val


def argument(variable: Any) -> Any:
    """A known input as the interpreter would hand it to a rule."""
    if isinstance(variable, list | tuple):
        return [argument(v) for v in variable]
    value = variable.val
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    if array.dtype.kind in "OUS":
        return array.tolist()
    wider = {"float16": np.float32, "uint16": np.int32, "uint32": np.int64}
    array = array.astype(wider.get(array.dtype.name, array.dtype))
    return torch.from_numpy(array.copy()) if array.ndim else array.item()


def known(variable: Any) -> bool:
    if isinstance(variable, list | tuple):
        return all(map(known, variable))
    return getattr(variable, "val", None) is not None


def matches(got: Any, want: Any) -> bool:
    ours, theirs = np.asarray(got), np.asarray(want)
    if ours.shape != theirs.shape:
        return False
    relative, absolute = FLOAT16 if theirs.dtype == np.float16 else FLOAT32
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    largest = np.nan_to_num(np.abs(b), posinf=0).max(initial=1)
    return np.allclose(a, b, rtol=relative, atol=absolute * largest, equal_nan=True)


def folded(operation: Any, outputs: Any) -> list[Any] | None:
    """The values that coremltools knows for an operation, or would give it on a device."""
    if all(map(known, outputs)):
        return [out.val for out in outputs]
    materialize = getattr(operation, "materialized_val_inference", None)
    values = None if materialize is None else materialize()
    return list(values) if isinstance(values, tuple) else None if values is None else [values]


def compare(operation: Any, values: list[Any], inputs: dict[str, Any]) -> None:
    kind, test = operation.op_type, os.environ.get("PYTEST_CURRENT_TEST", "")
    try:
        results = RULES[kind](**{name: argument(value) for name, value in inputs.items()})
    except Exception as error:  # counted as a mismatch, whatever it is
        different.append(f"{kind}: {error!r} in {test}")
        return
    results = results if isinstance(results, tuple) else (results,)
    if len(results) == len(values) and all(map(matches, results, values)):
        equal[kind] += 1
    else:
        different.append(f"{kind}: {values} and {results} in {test}")


def folding(self: Any, types: Any) -> Any:
    outputs = fold(self, types)
    inputs = {k: v for k, v in self.inputs.items() if v is not None and not k.startswith("_")}
    if self.op_type in RULES and all(map(known, inputs.values())):
        values = folded(self, outputs)
        if values is not None:
            compare(self, values, inputs)
    return outputs


Operation._auto_val = folding


def pytest_sessionfinish(session: pytest.Session) -> None:
    record = {"equal": equal, "different": different}
    Path(os.environ[RECORD]).write_text(json.dumps(record))
