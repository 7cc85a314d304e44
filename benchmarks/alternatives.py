"""What users would pick instead, side by side: accuracy, size, latency, export time, proof.

`python benchmarks/alternatives.py --folder WORK`, half an hour and 20 GB, most of it environments.
One trained network (a Keras MobileNetV2 1.0 at 160 px with 19 classes), the same 96 photos to
calibrate with and the same held-out photos for everybody (`benchmarks/photos.py`). Every tool runs
what its documentation says for static int8 (`benchmarks/stock`), in an environment and a process of
its own; `mnv2-export build` has its defaults. docs/alternatives.md says how it is measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import alternatives_figures as figures
import alternatives_table as table
import torch
from alternatives_exports import Alternative, Exported, digest, environment, export, note, resumed
from alternatives_inputs import Inputs, prepare, untrained
from alternatives_table import Row
from stages import machine

from exporter.errors import ExportError
from exporter.files import size
from exporter.metrics import quality

PTE, ONNX, TFLITE, COREML = (
    "mnv2-export, `.pte`",
    "mnv2-export, `.onnx`",
    "mnv2-export, `.tflite`",
    "mnv2-export, `.mlpackage`",
)
ALTERNATIVES = (
    Alternative(name=PTE, recipe="", variant="android"),
    Alternative(
        name="ExecuTorch PT2E, XNNPACK", recipe="executorch_pt2e", variant="int8", rival=PTE
    ),
    Alternative(
        name="optimum-executorch (fp32)", recipe="optimum_executorch", variant="fp32", rival=PTE
    ),
    Alternative(name=ONNX, recipe="", variant="onnx"),
    Alternative(
        name="ONNX Runtime `quantize_static`, S8S8",
        recipe="onnxruntime_static",
        variant="s8s8",
        rival=ONNX,
    ),
    Alternative(
        name="ONNX Runtime `quantize_static`, U8S8",
        recipe="onnxruntime_static",
        variant="u8s8",
        rival=ONNX,
    ),
    Alternative(name=TFLITE, recipe="", variant="litert"),
    Alternative(
        name="litert-torch, ai-edge-quantizer", recipe="litert_torch", variant="int8", rival=TFLITE
    ),
    Alternative(name=COREML, recipe="", variant="ios"),
    Alternative(
        name="Core ML Tools, W8A8", recipe="coremltools_linear", variant="w8a8", rival=COREML
    ),
    Alternative(
        name="Core ML Tools, int8 weights, fp16 arithmetic",
        recipe="coremltools_linear",
        variant="w8",
        rival=COREML,
    ),
    Alternative(name="Ultralytics", recipe="ultralytics", variant="fp32", rival=ONNX),
)
RECIPES = sorted({alternative.recipe for alternative in ALTERNATIVES if alternative.recipe})


def chosen(recipes: Sequence[str] | None) -> tuple[Alternative, ...]:
    """Those of the recipes, and ours that they are compared with; all of them without any."""
    if not recipes:
        return ALTERNATIVES
    theirs = [a for a in ALTERNATIVES if a.recipe in recipes]
    rivals = {a.rival for a in theirs}
    return tuple(a for a in ALTERNATIVES if a in theirs or a.name in rivals)


def main() -> int:
    """Export, measure, print; 1 when one of our own files is missing."""
    arguments = parse()
    torch.set_num_threads(1)
    try:
        if arguments.untrained:
            arguments.folder.mkdir(parents=True, exist_ok=True)
            arguments.checkpoint = untrained(arguments.folder)
        inputs = prepare(
            arguments.folder, arguments.checkpoint, arguments.photos, arguments.pictures
        )
    except ExportError as error:
        print(f"{error.message}: {error.hint}", file=sys.stderr)
        return error.exit_code
    exported = export_all(inputs, arguments)
    rows = measured(inputs, exported, arguments.rounds)
    print(f"machine: {machine()}; {len(inputs.images)} held-out pictures, one thread")
    print(f"medians of {arguments.exports} exports and {arguments.rounds} rounds\n")
    print(table.markdown(rows), "", table.versions(rows), sep="\n")
    document = [dataclasses.asdict(row) for row in rows]
    (arguments.folder / "alternatives.json").write_text(json.dumps(document, indent=2, default=str))
    return int(any(row.not_run for row in rows if not row.alternative.recipe))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="for everything, kept")
    parser.add_argument("--environments", type=Path, help="FOLDER/environments if not given")
    parser.add_argument("--python", action="append", default=[], metavar="RECIPE=PATH")
    parser.add_argument("--checkpoint", type=Path, help="downloaded if not given")
    parser.add_argument("--untrained", action="store_true", help="torchvision's at 224 px, random")
    parser.add_argument("--recipe", action="append", choices=RECIPES, help="all if not given")
    parser.add_argument("--photos", type=Path, help="what benchmarks/photos.py wrote")
    parser.add_argument("--pictures", type=int, help="held-out pictures, all if not given")
    parser.add_argument("--resume", action="store_true", help="keep the exports of FOLDER")
    parser.add_argument("--exports", type=int, default=2, help="of each; 2 or more")
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    if arguments.exports < 2:
        parser.error("--exports: two are needed to compare their bytes")
    return arguments


def export_all(inputs: Inputs, arguments: argparse.Namespace) -> dict[str, list[Exported]]:
    """All of them in turn, then all of them again; what failed once is not tried again."""
    environments = arguments.environments or arguments.folder / "environments"
    given = {name: Path(path) for name, _, path in (p.partition("=") for p in arguments.python)}
    alternatives = chosen(arguments.recipe)
    done: dict[str, list[Exported]] = {a.name: [] for a in alternatives}
    for turn in range(arguments.exports):
        for alternative in alternatives:
            earlier = done[alternative.name]
            if earlier and earlier[-1].failure:
                continue
            out = arguments.folder / "exports" / f"{alternative.slug}-{turn}"
            record = out.with_name(f"{out.name}.json")
            found = resumed(record) if arguments.resume else None
            earlier.append(found or one(alternative, inputs, environments, given, out))
            note(earlier[-1], record)
            told = earlier[-1].failure or f"{earlier[-1].wall_s:.1f} s"
            print(f"{alternative.name}: {told}", file=sys.stderr, flush=True)
    return done


def one(
    alternative: Alternative,
    inputs: Inputs,
    environments: Path,
    given: Mapping[str, Path],
    out: Path,
) -> Exported:
    """One export, its environment made first, off the clock."""
    python, why = environment(alternative.recipe, environments, given)
    if python is None:
        return Exported(file=None, wall_s=0.0, cpu_s=0.0, stages={}, versions={}, failure=why)
    return export(alternative, python, inputs, out)


def measured(inputs: Inputs, exported: Mapping[str, list[Exported]], rounds: int) -> list[Row]:
    """Accuracy one after the other, latency of all in turn."""
    files = {name: exports[0].file for name, exports in exported.items() if exports[0].file}
    models = {
        name: figures.open_model(path)
        for name, path in files.items()
        if path.suffix != figures.PACKAGE
    }
    rivals = {a.name: a.rival for a in ALTERNATIVES if a.rival}
    timed = figures.race(models, rivals, inputs.images[:1].copy(), rounds)
    rows = []
    for alternative in (a for a in ALTERNATIVES if a.name in exported):
        exports = tuple(exported[alternative.name])
        failures = [e.failure for e in exports if e.failure]
        if failures:
            rows.append(Row(alternative=alternative, exports=exports, not_run=failures[0]))
            continue
        path = files[alternative.name]
        logits = figures.logits(path, inputs.images, inputs.pixels)
        rows.append(
            Row(
                alternative=alternative,
                exports=exports,
                reproducible=len({digest(e.file) for e in exports if e.file}) == 1,
                size_bytes=size(path),
                quality=quality({"logits": inputs.logits}, {"logits": logits}),
                timed=timed.get(alternative.name),
            )
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
