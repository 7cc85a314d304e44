"""Two builds on the terminal: what differs, every artifact's figures, the budget's lines."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from exporter.comparison.budget_rules import Judgment, Line, Verdict
from exporter.comparison.records import Comparison
from exporter.comparison.text import Fact, remarks, shown, title

STYLES = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.UNDECIDED: "yellow",
    Verdict.NOT_JUDGED: "yellow",
}
WORST_FIRST = [Verdict.FAIL, Verdict.UNDECIDED, Verdict.NOT_JUDGED, Verdict.PASS]
LONGEST = 60  # characters of a difference that is shown


def print_comparison(console: Console, comparison: Comparison, judgment: Judgment | None) -> None:
    """The figures first; the budget's verdict is what a person reads last."""
    against = f" against {comparison.base}" if comparison.base else ""
    console.print(f"[bold]{escape(comparison.new)}[/]{escape(against)}: {escape(comparison.model)}")
    for change in comparison.changes:
        text = f"{change.what}: {_short(change.base)} -> {_short(change.new)}"
        console.print(f"[dim]differs in {escape(text)}[/]")
    console.print(_figures(comparison))
    for remark in remarks(comparison):
        console.print(f"[dim]{escape(remark)}[/]")
    if judgment is not None:
        console.print(f"\n[italic]Budget: {escape(judgment.told())}[/]")
        console.print(_lines(judgment))
        state = "[green]within budget[/]" if judgment.passed else "[bold red]over budget[/]"
        console.print(state)


def _figures(comparison: Comparison) -> Table:
    """A line for each figure; of one build alone there is nothing to change from."""
    table = Table()
    alone = not comparison.base
    table.add_column("file", no_wrap=True)
    table.add_column("")
    for column in ("",) if alone else ("base", "new", "change"):
        table.add_column(column, overflow="fold")
    for row in comparison.artifacts:
        for index, fact in enumerate(shown(row)):
            name = title(row, comparison) if index == 0 else ""
            table.add_row(escape(name), fact.name, *_values(fact, alone=alone))
        table.add_section()
    return table


def _values(fact: Fact, *, alone: bool) -> list[str]:
    if alone:
        return [escape(fact.new)]
    same = fact.base == fact.new
    return [
        escape(fact.base),
        "[dim]same[/]" if same and fact.new else escape(fact.new),
        escape(fact.change),
    ]


def _lines(judgment: Judgment) -> Table:
    table = Table()
    for column in ("", "file", "limit on"):
        table.add_column(column, overflow="fold")
    table.add_column("limit", justify="right", no_wrap=True)
    for column in ("found", "why"):
        table.add_column(column, overflow="fold")
    for line in sorted(judgment.lines, key=lambda line: WORST_FIRST.index(line.verdict)):
        table.add_row(*_line(line))
    return table


def _line(line: Line) -> list[str]:
    color = STYLES[line.verdict]
    texts = line.artifact, line.rule, line.limit, line.found, line.reason
    return [f"[{color}]{line.verdict}[/]", *map(escape, texts)]


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
