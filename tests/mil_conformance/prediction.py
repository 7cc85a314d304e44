"""A pytest plugin: our evaluator answers where coremltools' tests ask Core ML.

Each test builds a model, saves it as a package, asks for a prediction and compares it with what
it expects. Off macOS it stops before the prediction; here it believes itself on macOS, and the
prediction is computed from the package on disk. `SKIPPED` names what is left out and why: the
record counts every skip under the group that explains it, or under "unexplained".
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from targets.coreml_sdk import coremltools

coremltools()

import coremltools.converters.mil.mil.ops.tests.testing_utils as builder  # noqa: E402
import coremltools.converters.mil.testing_utils as testing  # noqa: E402
import coremltools.models.model as model  # noqa: E402
import coremltools.models.utils as utils  # noqa: E402
from coremltools.proto import MIL_pb2  # noqa: E402

from exporter.errors import UnsupportedError  # noqa: E402
from mil_conformance.shipped import EVERY, RECORD  # noqa: E402
from targets.mil.package import read_package  # noqa: E402
from targets.mil.program import Arithmetic, Program  # noqa: E402

UNEXPLAINED = "unexplained"
NO_RULE = r"evaluator: .*without a rule: .*"
# group: (what its reasons look like, why it is left out)
SKIPPED = {
    "faults of Core ML": (
        r".*rdar://|Linear op doesn't work with int32|CPU: |Seg fault",
        "Apple's own bug numbers: coremltools skips these, or expects them to fail, on macOS too",
    ),
    "invalid combinations": (
        r"axis should either be None|Invalid configuration of align_corners|got empty parameter set"
        r"|same_lower pad_type not supported|The test is breaking at opset|No need to test",
        "parameters that a test multiplies out and that MIL does not allow in that opset",
    ),
    "TensorFlow": (
        r"TensorFlow .* not found",
        "the test asks TensorFlow for the expected values; non_maximum_suppression, which this "
        "concerns, has cases of its own in test_mil_rules.py",
    ),
    "recurrent networks": (
        r"evaluator: recurrent|" + NO_RULE + r"\b(gru|lstm|rnn)\b",
        "gru, lstm and rnn have no rule",
    ),
    "random numbers": (NO_RULE + r"\brandom_", "no two generators draw the same"),
    "control flow": (NO_RULE + r"\b(cond|while_loop)\b", "no branches, no loops inside loops"),
    "lists": (NO_RULE + r"\b(make_list|list_\w+)\b", "dynamic lists exist for control flow"),
    "state": (
        r"evaluator: has state|" + NO_RULE + r"\b\w+_state\b",
        "a program here has no memory",
    ),
    "free sampling": (
        NO_RULE + r"\b(affine|crop_resize|resample)\b",
        "sampling at computed coordinates has no rule",
    ),
    "undefined results": (
        r"evaluator: undefined",
        "an index out of range is refused here, whatever `validate_indices` says",
    ),
    "neural networks": (
        r"evaluator: not an ML program",
        "the test itself asks for the older format, in which models are not programs",
    ),
    "einsum": (NO_RULE + r"\beinsum\b", "einsum has no rule"),
}
# Tests that would only be skipped after their conversion, which takes most of the time.
SKIPPED_EARLY = {
    "test_recurrent.py": "evaluator: recurrent",
    "test_states.py": "evaluator: has state",
    "test_coreml_dialect.py": "evaluator: has state",
    "test_ios17_invalid_indices": "evaluator: undefined",
}
# coremltools allows an fp16 program an error of 0.5, as a device rounds after every operation.
# Here only inputs, constants and expected values are, so a hundredth of that must do.
FP16 = {"atol": 5e-3, "rtol": 5e-3}

predictions = 0
operations: Counter[str] = Counter()
outcomes: Counter[str] = Counter()
skips: Counter[str] = Counter()
failures: list[str] = []
unexplained: Counter[str] = Counter()


def predict(self: Any, data: dict[str, Any], state: Any = None) -> dict[str, Any]:
    """In place of `MLModel.predict`."""
    global predictions
    assert state is None
    if not self.is_package:
        pytest.skip("evaluator: not an ML program")
    try:
        program = Program(read_package(Path(self.package_path)), Arithmetic.EXACT)
    except UnsupportedError as error:
        pytest.skip(f"evaluator: {error.message.partition(': ')[2]}")
    outputs = program(**data)
    predictions += 1
    operations.update(operation.type for operation in program.package.operations)
    return {k: v.numpy() if torch.is_tensor(v) else v for k, v in outputs.items()}


def compare(mlmodel: Any, *arguments: Any, **options: Any) -> Any:
    """In place of `compare_backend`, with our tolerance wherever something is typed fp16."""
    main = mlmodel.get_spec().mlProgram.functions["main"]
    written = main.block_specializations[main.opset].operations
    types = {out.type.tensorType.dataType for op in written for out in op.outputs}
    if MIL_pb2.FLOAT16 in types:
        options |= FP16
    options["dtype"] = "fp32"
    return compare_backend(mlmodel, *arguments, **options)


compare_backend = testing.compare_backend
model.MLModel.predict = predict
testing._IS_MACOS = True
for module in (model, utils):
    module._macos_version = lambda: (26, 0)
for module in (testing, builder):
    module.compare_backend = compare


def mode(item: pytest.Item) -> tuple[str, ...]:
    """The test function with its parameters that are text: modes, types, names of operations."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return item.nodeid.partition("[")[0], *(p for p in parameters if isinstance(p, str))


def spread(cases: list[pytest.Item], every: int) -> list[pytest.Item]:
    """One of n, evenly; of a few, the middle one, where coremltools puts float32."""
    count = math.ceil(len(cases) / every)
    return [cases[((2 * i + 1) * len(cases) - 1) // (2 * count)] for i in range(count)]


@pytest.hookimpl(trylast=True)  # after -k
def pytest_collection_modifyitems(items: list[pytest.Item], config: pytest.Config) -> None:
    """Take one case of n of every mode of every test, and at least one."""
    every = int(os.environ.get(EVERY, 1))
    modes: dict[tuple[str, ...], list[pytest.Item]] = {}
    for item in items:
        modes.setdefault(mode(item), []).append(item)
    kept = [case for cases in modes.values() for case in spread(cases, every)]
    chosen = set(kept)
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = kept
    for item in items:
        for part in {item.path.name, item.name.partition("[")[0]} & SKIPPED_EARLY.keys():
            item.add_marker(pytest.mark.skip(reason=SKIPPED_EARLY[part]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    before = predictions
    try:
        return (yield)
    finally:
        item.user_properties.append(("predictions", predictions - before))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        outcomes["failed"] += 1
        failures.append(f"{report.nodeid}: {str(report.longrepr)[-1500:]}")
    elif report.skipped:
        outcomes["skipped"] += 1
        reason = getattr(report, "wasxfail", None)
        if reason is None:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else "?"
        skips[group(reason)] += 1
        if group(reason) == UNEXPLAINED:
            unexplained[reason] += 1
    elif report.when == "call":
        predicted = dict(report.user_properties)["predictions"]
        fault = hasattr(report, "wasxfail")  # which the evaluator does not share
        kind = "predicted" if predicted else "passed without a prediction"
        outcomes["passed against expectation" if fault else kind] += 1


def group(reason: str) -> str:
    text = reason.removeprefix("Skipped: ")
    found = (name for name, (pattern, _) in SKIPPED.items() if re.match(pattern, text))
    return next(found, UNEXPLAINED)


def pytest_sessionfinish(session: pytest.Session) -> None:
    record = {
        "outcomes": outcomes,
        "operations": operations,
        "skips": skips,
        "unexplained": unexplained,
        "failures": failures,
    }
    Path(os.environ[RECORD]).write_text(json.dumps(record))
