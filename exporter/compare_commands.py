"""`compare` on the command line: two builds, or one, held to each other and to a budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exporter.arguments import Json, Limit, Quiet, Verbose
from exporter.known_targets import all_targets
from exporter.session import Session, described, session

if TYPE_CHECKING:
    from exporter.comparison.request import CompareRequest

BudgetOption = Annotated[
    Path | None,
    typer.Option(
        "--budget", "-b", help="TOML file of limits; a line over them exits with 1.",
        show_default=False,
    ),
]  # fmt: skip
Markdown = Annotated[
    Path | None,
    typer.Option(
        "--markdown", "-m", help="Also write it as Markdown, as for a pull request.",
        show_default=False,
    ),
]  # fmt: skip


def compare(
    base: Annotated[
        Path, typer.Argument(help="A build directory: the base, or the only one.")
    ],
    new: Annotated[
        Path | None, typer.Argument(help="The build that is judged.", show_default=False)
    ] = None,
    budget: BudgetOption = None,
    latency: Annotated[
        bool,
        typer.Option(
            help="Run both builds' artifacts in turn on this machine, or use saved profiles only."
        ),
    ] = True,
    iterations: Annotated[
        int, typer.Option(min=1, help="Timed runs of each artifact.")
    ] = 200,
    threads: Annotated[int, typer.Option(min=1, help="Of each runtime.")] = 1,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", "-d", show_default=False,
            help="Labeled images as `evaluate` takes them; default: the builds' own figures.",
        ),
    ] = None,
    limit: Limit = None,
    markdown: Markdown = None,
    as_json: Json = False,
    silent: Quiet = False,
    verbose: Verbose = False,
) -> None:  # fmt: skip
    """Compare two builds: size, parity, accuracy, latency; or hold one to a budget."""
    with session(as_json=as_json, verbose=verbose, silent=silent) as current:
        from exporter.comparison.budget import read_budget
        from exporter.comparison.request import CompareRequest

        _compare(
            current,
            CompareRequest(
                base=None if new is None else base,
                new=new or base,
                budget=None if budget is None else read_budget(budget),
                latency=latency,
                iterations=iterations,
                threads=threads,
                data=data,
                limit=limit,
            ),
            markdown,
        )


def _compare(current: Session, request: CompareRequest, place: Path | None) -> None:
    from exporter.comparison.budget_rules import judge, objection
    from exporter.comparison.markdown import check_place, markdown, save
    from exporter.comparison.request import run
    from exporter.ui import results
    from exporter.ui.compare import print_comparison
    from exporter.ui.profile import telling

    if place is not None:
        check_place(place, [folder for folder in (request.base, request.new) if folder])
    with telling(current.stream, quiet=current.as_json or current.silent) as tell:
        comparison = run(request, all_targets(), tell)
    judgment = None if request.budget is None else judge(request.budget, comparison)
    problem = None if judgment is None else objection(judgment)
    if place is not None:
        save(markdown(comparison, judgment), place)
    if current.as_json:
        document = {"comparison": comparison, "budget": judgment}
        current.print_json({**document, **(described(problem) if problem else {})})
    elif not current.silent:
        print_comparison(results(), comparison, judgment)
    if problem is not None:
        raise problem
