"""What `lint` can find: one row per kind, with an id that stays and the cure.

Ids that begin with ML1 are about loading, ML2 about speed, ML3 about quantization. One that is
retired is not given again. `docs/coreml-lint.md` explains each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from exporter.target import Finding, Severity

SHOWN = 3  # names in a message; the rest is counted


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What findings of one id have in common."""

    id: str
    severity: Severity
    title: str
    cure: str


def _error(code: str, title: str, cure: str) -> Kind:
    return Kind(id=code, severity=Severity.ERROR, title=title, cure=cure)


def _warning(code: str, title: str, cure: str) -> Kind:
    return Kind(id=code, severity=Severity.WARNING, title=title, cure=cure)


_ROWS = (
    _error(
        "ML101",
        "specification version and operation set disagree",
        "convert again; one deployment target decides both",
    ),
    _error(
        "ML102",
        "an operation that the declared operation set lacks",
        "raise the deployment target to the one named, or replace the operation",
    ),
    _error(
        "ML103",
        "an operation's inputs are not those of the declared operation set",
        "raise the deployment target to the one named, or write the operation as it was then",
    ),
    _error(
        "ML104",
        "an operation reads a type that the declared operation set does not let it read",
        "cast the input, or raise the deployment target to the one named",
    ),
    _error(
        "ML105",
        "the declared interface is not the program's",
        "write the description from the program's own inputs and outputs",
    ),
    _error(
        "ML106",
        "a tensor of more than 5 dimensions",
        "reshape so that no tensor has more than 5",
    ),
    _error(
        "ML107",
        "coremltools' reader refuses the program",
        "convert again; a program that was edited by hand must type-check",
    ),
    _warning(
        "ML201",
        "dynamic shapes",
        "fix the input's shape, or enumerate the few that are used: the Neural Engine takes "
        "fixed shapes",
    ),
    _warning(
        "ML202",
        "a tensor of 5 dimensions",
        "reshape to 4: the Neural Engine takes no more, and such operations run elsewhere",
    ),
    _warning(
        "ML203",
        "operations or constants that nothing reads",
        "remove them; they take space in the package and time to load",
    ),
    _warning(
        "ML204",
        "a pad of zeros in front of convolutions",
        "add it to the convolution's own `pad`, with `pad_type` custom",
    ),
    _warning(
        "ML205",
        "preprocessing that the first convolution could hold",
        "multiply the scale into its weights and divide an offset before it by the scale; "
        "without padding the offset goes into its bias",
    ),
    _warning(
        "ML206",
        "float32 arithmetic inside a float16 program",
        "type it float16: the Neural Engine does not compute in float32, so the values travel "
        "to another unit and back",
    ),
    _warning(
        "ML301",
        "a layer of a quantized program that reads unquantized values",
        "quantize and dequantize its input: only then can it run as integers",
    ),
    _warning(
        "ML302",
        "quantize and dequantize between a layer and its activation",
        "quantize after the activation: between, it costs a pass, and the range of what the "
        "activation cuts off costs precision",
    ),
    _warning(
        "ML303",
        "codes that are dequantized only to be quantized again",
        "give both sides the same scale and zero point and remove the pair",
    ),
    _warning(
        "ML304",
        "a layer that reads codes and writes real values",
        "quantize its result, after its activation: only then can it run as integers",
    ),
    _warning(
        "ML305",
        "an activation's scale below float16's normal range",
        "calibrate on images like those the model will see, or type the pair float32: hardware "
        "may take a number below 6.1e-5 for zero",
    ),
    _warning(
        "ML306",
        "weight scales below float16's normal range, of weights that matter",
        "equalize or retrain those channels, or dequantize the weights in float32: hardware may "
        "take a number below 6.1e-5 for zero",
    ),
    _error(
        "ML307",
        "a scale that is zero, negative or not a number",
        "calibrate again; in float16 a scale below 6e-8 is zero",
    ),
)
KINDS = {kind.id: kind for kind in _ROWS}


def found(code: str, message: str) -> Finding:
    """One finding of a kind in KINDS."""
    kind = KINDS[code]
    return Finding(
        id=code, severity=kind.severity, title=kind.title, message=message, cure=kind.cure
    )


def listed(names: Iterable[str]) -> str:
    """The first few names, quoted, and how many more there are."""
    every = list(dict.fromkeys(names))
    shown = ", ".join(map(repr, every[:SHOWN]))
    return shown if len(every) <= SHOWN else f"{shown} and {len(every) - SHOWN} more"
