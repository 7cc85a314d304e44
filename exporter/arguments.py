"""The options of the command line: their types, names and help texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exporter.outputs import NmsMode, Outputs
from exporter.spec import Fit, Precision
from exporter.target import Arithmetic, DeploymentTarget, IosFormat, IoType, Lowering
from exporter.tasks import Task

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no tables.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show what libraries print, and tracebacks.")
]
CheckpointPath = Annotated[
    Path | None,
    typer.Argument(help="Checkpoint file; without one the embedded demo.", show_default=False),
]
DemoTask = Annotated[
    Task | None,
    typer.Option("--demo", help="Without a checkpoint: which embedded demo.", show_default=False),
]
OutputsOption = Annotated[
    Outputs | None,
    typer.Option(
        "--outputs",
        help="detection: raw or decoded (default); segmentation: logits (default), "
        "lowres_logits or labels.",
        show_default=False,
    ),
]
NmsOption = Annotated[
    NmsMode,
    typer.Option(
        "--nms", help="detection: who removes overlapping boxes; native: onnx and ios only."
    ),
]
Precisions = Annotated[
    list[Precision] | None,
    typer.Option(
        "--precision", "-p", help="Repeat for several; default: int8.", show_default=False
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Output directory.")]
Photos = Annotated[
    list[Path] | None,
    typer.Option(
        "--calibration",
        "-c",
        help="Photos or folders of photos, without labels; int8 needs some.",
        show_default=False,
    ),
]
Qat = Annotated[
    bool,
    typer.Option(
        "--qat",
        help="int8: also train, block by block, on the calibration photos; kept if it helps.",
    ),
]
LabelsFile = Annotated[
    Path | None, typer.Option("--labels", help="Text file, a label per line.", show_default=False)
]
Resolution = Annotated[
    int | None,
    typer.Option(help="Input side in pixels, where the file does not say.", show_default=False),
]
Contract = Annotated[
    str | None,
    typer.Option(
        "--preprocess",
        help="'torchvision', 'keras' or a JSON file; default: the checkpoint's source's.",
        show_default=False,
    ),
]
LoweringOption = Annotated[Lowering, typer.Option(help="android: how the .pte is made.")]
Io = Annotated[IoType, typer.Option(help="litert int8: type of input and output elements.")]
Softmax = Annotated[bool, typer.Option("--softmax", help="litert: end in probabilities.")]
Format = Annotated[
    IosFormat, typer.Option("--format", help="ios: a Core ML package, or ExecuTorch with one.")
]
Deployment = Annotated[DeploymentTarget, typer.Option(help="ios: oldest system to run on.")]
Batch = Annotated[str, typer.Option(help="onnx: batch size, or 'dynamic'.")]
Build = Annotated[Path, typer.Argument(help="What `build` wrote: the directory, or one artifact.")]
LabeledImages = Annotated[
    Path,
    typer.Option(
        "--data",
        "-d",
        help="A folder per class, a list file (.txt .csv .tsv) or .tar shards; "
        "detection: COCO or Pascal VOC; segmentation: those, or images/ and masks/.",
        show_default=False,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(min=1, help="At most so many images, evenly chosen.", show_default=False),
]
Worst = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Show so many classes too: the lowest top-1, AP50 or IoU of the float model.",
        show_default=False,
    ),
]
Package = Annotated[Path, typer.Argument(help="A .mlpackage, or a .pte that holds one.")]
Files = Annotated[
    list[str],
    typer.Argument(
        help="Images or .npy arrays, each a run; a model of several inputs takes NAME=FILE of each."
    ),
]
FitOption = Annotated[
    Fit | None,
    typer.Option(
        "--fit",
        help="How a photo gets the model's size; default: as the package says, else center-crop.",
        show_default=False,
    ),
]
ArithmeticOption = Annotated[Arithmetic, typer.Option(help="How real numbers are computed.")]
Top = Annotated[int, typer.Option(min=1, help="How many classes to show.")]
Save = Annotated[
    Path | None,
    typer.Option("--save", help="Directory for the outputs, as .npy files.", show_default=False),
]
