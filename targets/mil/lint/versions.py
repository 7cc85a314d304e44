"""Which Core ML can run a program, asked of the operation sets that coremltools registers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from coremltools import target as ios
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.input_type import TensorInputType
from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry
from coremltools.proto import FeatureTypes_pb2, MIL_pb2

from exporter.findings import Finding
from targets.mil.lint.findings import found, listed
from targets.mil.lint.flow import COMPRESSED, CONSTANT, Flow, every_operation, type_name
from targets.mil.package import Package

# Specification version -> name of the operation set; the version is also coremltools' target.
OPSETS = {6: "CoreML5", 7: "CoreML6", 8: "CoreML7", 9: "CoreML8", 10: "CoreML9"}
STATEFUL = FUNCTIONS = 9  # specification version that brought states and several functions
HALF_FEATURES = 7  # and float16 arrays and images as inputs and outputs

# coremltools writes this one without registering it, as part of its own `coreml_update_state`.
WRITE_STATE = "write_state"
WRITE_STATE_INPUTS = {"input", "data"}
CUSTOM = "custom_layer"  # an app's own code: its inputs are nobody's business


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """Why an operation is not one of an operation set."""

    code: str
    reason: str


def release(version: int) -> str:
    """The iOS whose Core ML reads a specification version."""
    return "iOS " + str(ios(version).name).removeprefix("iOS")


def runs_from(package: Package, flows: tuple[Flow, ...]) -> int | None:
    """Oldest specification version that has all the program needs; None where none is known.

    What is declared is another matter: a device older than the declared operation set does not
    load the program, even if it knew every operation in it.
    """
    first = _features_from(package)
    for version in OPSETS:
        if version >= first and not any(misfits(flow, version) for flow in flows):
            return version
    return None


def version_findings(package: Package, flows: tuple[Flow, ...]) -> Iterator[Finding]:
    """ML101 to ML104."""
    version = package.spec.specificationVersion
    for flow in flows:
        opset = flow.function.opset
        if OPSETS.get(version) != opset:
            wanted = OPSETS.get(version, "no operation set that coremltools knows")
            yield found(
                "ML101",
                f"specification version {version} goes with {wanted}, "
                f"and the function {flow.name!r} declares {opset}",
            )
        known = [v for v, name in OPSETS.items() if name == opset]
        if known:
            yield from _misfit_findings(flow, known[0])


def _misfit_findings(flow: Flow, version: int) -> Iterator[Finding]:
    names: dict[Misfit, list[str]] = {}
    for operation, misfit in misfits(flow, version):
        result = operation.outputs[0].name if operation.outputs else operation.type
        names.setdefault(misfit, []).append(result)
    for misfit, results in names.items():
        yield found(misfit.code, f"{listed(results)}: {misfit.reason}")


def misfits(flow: Flow, version: int) -> list[tuple[Any, Misfit]]:
    """Operations of a function, those inside blocks too, that an operation set does not offer."""
    element_types = _element_types(flow)
    found_ones = []
    for operation in every_operation(flow.block.operations):
        misfit = _misfit(operation, version, element_types)
        if misfit is not None:
            found_ones.append((operation, misfit))
    return found_ones


def _misfit(operation: Any, version: int, element_types: Mapping[str, str]) -> Misfit | None:
    if operation.type in (CONSTANT, CUSTOM):
        return None
    names = set(operation.inputs)
    if operation.type.startswith(COMPRESSED):
        names |= set(operation.attributes) - {"name"}
    if operation.type == WRITE_STATE:
        return _misfit_state(names, version)
    rule = _registered(operation.type, version)
    if rule is None:
        later = [v for v in OPSETS if v > version and _registered(operation.type, v) is not None]
        since = f"exists since {release(later[0])}" if later else "is unknown to coremltools"
        return Misfit(code="ML102", reason=f"the operation {operation.type} {since}")
    expected = rule.input_spec.input_types
    if extra := names - set(expected):
        later = [v for v in OPSETS if v > version and not _extra(operation.type, names, v)]
        since = f"has since {release(later[0])}" if later else "does not have"
        reason = f"{', '.join(sorted(extra))}: an input that {operation.type} {since}"
        return Misfit(code="ML103", reason=reason)
    # Python's own arguments, such as the functions that coremltools makes blocks of, begin with _.
    required = {n for n, t in expected.items() if not t.optional and not n.startswith("_")}
    if absent := required - names:
        reason = f"{operation.type} needs the input {', '.join(sorted(absent))}"
        return Misfit(code="ML103", reason=reason)
    return _misfit_type(operation, rule, version, element_types)


def _misfit_state(names: set[str], version: int) -> Misfit | None:
    if version < STATEFUL:
        reason = f"the operation {WRITE_STATE} exists since {release(STATEFUL)}"
        return Misfit(code="ML102", reason=reason)
    if names != WRITE_STATE_INPUTS:
        wanted = " and ".join(sorted(WRITE_STATE_INPUTS))
        return Misfit(code="ML103", reason=f"{WRITE_STATE} reads {wanted}")
    return None


def _misfit_type(
    operation: Any, rule: Any, version: int, element_types: Mapping[str, str]
) -> Misfit | None:
    wrong = _wrong_type(operation, rule, element_types)
    if wrong is None:
        return None
    for later in (v for v in OPSETS if v > version):
        if _wrong_type(operation, _registered(operation.type, later), element_types) is None:
            return Misfit(code="ML104", reason=f"{wrong} before {release(later)}")
    return Misfit(code="ML104", reason=wrong)


def _wrong_type(operation: Any, rule: Any, element_types: Mapping[str, str]) -> str | None:
    """What coremltools' own type check would say of the inputs that are tensors."""
    shared: dict[str, tuple[str, str]] = {}
    for name, expected in rule.input_spec.input_types.items():
        if name not in operation.inputs or not isinstance(expected, TensorInputType):
            continue
        dtype = _dtype(operation.inputs[name].arguments[0], element_types)
        group = expected.type_domain_id
        accepted = rule.type_domains[group] if group is not None else expected.type_domain
        accepted = accepted if isinstance(accepted, tuple) else (accepted,)
        known = {types.builtin_to_string(t) for t in accepted}
        if dtype and known and dtype not in known:
            return f"{operation.type} does not read {dtype} as {name}"
        other, before = shared.setdefault(group, (name, dtype)) if group else (name, dtype)
        if dtype and before and dtype != before:
            return f"{operation.type} does not read {before} as {other} and {dtype} as {name}"
    return None


def _registered(operation: str, version: int) -> Any:
    """coremltools' definition of an operation in an operation set; None where it has none."""
    versions = SSAOpRegistry.core_ops.get(operation, {})
    held = [v for v in versions if v <= version]
    return versions[max(held)] if held else None


def _extra(operation: str, names: set[str], version: int) -> bool:
    rule = _registered(operation, version)
    return rule is None or bool(names - set(rule.input_spec.input_types))


def _dtype(binding: Any, element_types: Mapping[str, str]) -> str:
    if binding.WhichOneof("binding") == "value":
        return type_name(binding.value.type)
    return element_types.get(binding.name, "")


def _element_types(flow: Flow) -> dict[str, str]:
    """Element type of every value, those of the blocks inside operations too."""
    element_types = {value.name: type_name(value.type) for value in flow.function.inputs}
    for operation in every_operation(flow.block.operations):
        inner = (value for block in operation.blocks for value in block.inputs)
        for value in (*operation.outputs, *inner):
            element_types[value.name] = type_name(value.type)
    return element_types


def _features_from(package: Package) -> int:
    """The oldest version whose interface can be as the package's is."""
    description = package.spec.description
    functions = description.functions
    if functions or description.state or len(package.spec.mlProgram.functions) > 1:
        return max(STATEFUL, FUNCTIONS)
    held = MIL_pb2.FLOAT16  # of the program's inputs; a description says the same in its own terms
    half = any(v.type.tensorType.dataType == held for v in package.function.inputs)
    arrays = FeatureTypes_pb2.ArrayFeatureType
    gray = FeatureTypes_pb2.ImageFeatureType.GRAYSCALE_FLOAT16
    for feature in (*description.input, *description.output):
        kind = feature.type
        half |= kind.multiArrayType.dataType == arrays.FLOAT16
        half |= kind.imageType.colorSpace == gray
    return HALF_FEATURES if half else min(OPSETS)
