"""What `lint` can find: one row per kind, with an id that stays and the cure.

Ids that begin with ML1 are about loading, ML2 about speed, ML3 about quantization. One that is
retired is not given again. `docs/coreml-lint.md` explains each.
"""

from __future__ import annotations

from collections.abc import Iterable

from exporter.findings import Finding, error, warning

SHOWN = 3  # names in a message; the rest is counted


_ROWS = (
    error(
        "ML101",
        "specification version and operation set disagree",
        "convert again; one deployment target decides both",
    ),
    error(
        "ML102",
        "an operation that the declared operation set lacks",
        "raise the deployment target to the one named, or replace the operation",
    ),
    error(
        "ML103",
        "an operation's inputs are not those of the declared operation set",
        "raise the deployment target to the one named, or write the operation as it was then",
    ),
    error(
        "ML104",
        "an operation reads a type that the declared operation set does not let it read",
        "cast the input, or raise the deployment target to the one named",
    ),
    error(
        "ML105",
        "the declared interface is not the program's",
        "write the description from the program's own inputs and outputs",
    ),
    error(
        "ML106",
        "a tensor of more than 5 dimensions",
        "reshape so that no tensor has more than 5",
    ),
    error(
        "ML107",
        "coremltools' reader refuses the program",
        "convert again; a program that was edited by hand must type-check",
    ),
    warning(
        "ML201",
        "dynamic shapes",
        "fix the input's shape, or enumerate the few that are used: the Neural Engine takes "
        "fixed shapes",
    ),
    warning(
        "ML202",
        "a tensor of 5 dimensions",
        "reshape to 4: the Neural Engine takes no more, and such operations run elsewhere",
    ),
    warning(
        "ML203",
        "operations or constants that nothing reads",
        "remove them; they take space in the package and time to load",
    ),
    warning(
        "ML204",
        "a pad of zeros in front of convolutions",
        "add it to the convolution's own `pad`, with `pad_type` custom",
    ),
    warning(
        "ML205",
        "preprocessing that the first convolution could hold",
        "multiply the scale into its weights and divide an offset before it by the scale; "
        "without padding the offset goes into its bias",
    ),
    warning(
        "ML206",
        "float32 arithmetic inside a float16 program",
        "type it float16: the Neural Engine does not compute in float32, so the values travel "
        "to another unit and back",
    ),
    warning(
        "ML301",
        "a layer of a quantized program that reads unquantized values",
        "quantize and dequantize its input: only then can it run as integers",
    ),
    warning(
        "ML302",
        "quantize and dequantize between a layer and its activation",
        "quantize after the activation: between, it costs a pass, and the range of what the "
        "activation cuts off costs precision",
    ),
    warning(
        "ML303",
        "codes that are dequantized only to be quantized again",
        "give both sides the same scale and zero point and remove the pair",
    ),
    warning(
        "ML304",
        "a layer that reads codes and writes real values",
        "quantize its result, after its activation: only then can it run as integers",
    ),
    warning(
        "ML305",
        "an activation's scale below float16's normal range",
        "calibrate on images like those the model will see, or type the pair float32: hardware "
        "may take a number below 6.1e-5 for zero",
    ),
    warning(
        "ML306",
        "weight scales below float16's normal range, of weights that matter",
        "equalize or retrain those channels, or dequantize the weights in float32: hardware may "
        "take a number below 6.1e-5 for zero",
    ),
    error(
        "ML307",
        "a scale that is zero, negative or not a number",
        "calibrate again; in float16 a scale below 6e-8 is zero",
    ),
)
KINDS = {kind.id: kind for kind in _ROWS}


def found(code: str, message: str) -> Finding:
    """One finding of a kind in KINDS."""
    return KINDS[code].found(message)


def listed(names: Iterable[str]) -> str:
    """The first few names, quoted, and how many more there are."""
    every = list(dict.fromkeys(names))
    shown = ", ".join(map(repr, every[:SHOWN]))
    return shown if len(every) <= SHOWN else f"{shown} and {len(every) - SHOWN} more"
