"""`predict`, `evaluate` and `coreml-run` on the command line: what was built, run on images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exporter.arguments import (
    ArithmeticOption,
    Build,
    Files,
    FitOption,
    Json,
    LabeledImages,
    Limit,
    Package,
    Quiet,
    Save,
    Top,
    Verbose,
    Worst,
)
from exporter.known_targets import all_targets, open_core_ml
from exporter.session import described, session
from exporter.target import Arithmetic


def predict(
    artifact: Annotated[Path, typer.Argument(help="A file that `build` wrote.")],
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    top: Top = 5,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="detection: the lowest score to show, also with --json; default: 0.4. "
            "0 shows all that the model itself does not drop.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Draw what was found: a folder for PNG files, or one .png of a single image.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show what any artifact that runs on this machine sees: classes, objects or regions."""
    with session(as_json=as_json, verbose=verbose) as current:
        from exporter.ui import results
        from exporter.ui.progress import busy

        with busy(current.stream, f"loading {artifact.name}"):
            from exporter.predict import Wishes
            from exporter.predict import predict as run_predict
            from exporter.ui.predictions import print_predictions

            wishes = Wishes(top=top, threshold=threshold, out=out)
            predictions = run_predict(artifact, images, all_targets(), wishes)
        if as_json:
            current.print_json(predictions)
        else:
            print_predictions(results(), predictions)


def evaluate(
    path: Build,
    data: LabeledImages,
    limit: Limit = None,
    worst: Worst = None,
    as_json: Json = False,
    silent: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say how right every artifact that runs here is on labeled images, and compare with float."""
    with session(as_json=as_json, verbose=verbose, silent=silent) as current:
        from exporter.ui import results
        from exporter.ui.progress import busy

        with busy(current.stream, f"loading {path.name}"):
            from exporter.scoring.evaluate import evaluate as run_evaluate
            from exporter.scoring.evaluate import objection
            from exporter.ui.scoring import follow, print_scores

        events = run_evaluate(path, data, all_targets(), limit, worst or 0)
        found = follow(current.stream, events, quiet=as_json or silent)
        problem = objection(found)
        if as_json:
            current.print_json({"evaluation": found, **(described(problem) if problem else {})})
        elif not silent:
            print_scores(results(), found)
        if problem is not None:
            raise problem


def coreml_run(
    package: Package,
    inputs: Files,
    fit: FitOption = None,
    arithmetic: ArithmeticOption = Arithmetic.DECLARED,
    top: Top = 5,
    save: Save = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Run any simple Core ML package on this machine: images or arrays in, its outputs out."""
    with session(as_json=as_json, verbose=verbose) as current:
        from exporter.ui import results
        from exporter.ui.evaluation import print_evaluation
        from exporter.ui.progress import busy

        with busy(current.stream, f"running {package.name}"):
            from exporter.evaluation import evaluate as run_evaluate

            model = open_core_ml(package, arithmetic)
            found = run_evaluate(model, inputs, fit, top, save)
        if as_json:
            current.print_json(found)
        else:
            print_evaluation(results(), found)
