"""A comparison as Markdown: for a pull request's comment or a job's summary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from exporter.comparison.budget_rules import Judgment, Line, Verdict
from exporter.comparison.records import Compared, Comparison
from exporter.comparison.text import LATENCY, Fact, facts, remarks, title
from exporter.errors import ArtifactError
from exporter.files import write_atomic

MARKS = {
    Verdict.PASS: "✅ pass",
    Verdict.FAIL: "❌ **fail**",
    Verdict.UNDECIDED: "⚠️ undecided",
    Verdict.NOT_JUDGED: "➖ not judged",
}
LINE_COLUMNS = ("verdict", "artifact", "limit on", "limit", "found", "why")


def markdown(comparison: Comparison, judgment: Judgment | None) -> str:
    """The verdict first, then what breaks it, then every artifact's figures."""
    blocks = [_title(judgment), _what(comparison)]
    if judgment is not None:
        blocks.append(_budget(judgment))
    blocks.append(_figures(comparison))
    told = [f"- {_escaped(remark)}" for remark in remarks(comparison)]
    if told:
        blocks.append("\n".join(told))
    if comparison.changes:
        changed = [_safe((c.what, c.base, c.new)) for c in comparison.changes]
        blocks.append(
            _folded("What differs between the models", _table(("", "base", "new"), changed))
        )
    return "\n\n".join(blocks) + "\n"


def check_place(path: Path, builds: Sequence[Path]) -> None:
    """Raise ArtifactError where writing would replace a directory or a file of a build."""
    if path.is_dir():
        raise ArtifactError(f"{path}: is a directory", "name a file, such as compare.md")
    inside = {build.resolve() for build in builds}
    if path.exists() and inside.intersection(path.resolve().parents):
        raise ArtifactError(f"{path}: is a file of a build", "write the Markdown somewhere else")


def save(text: str, path: Path) -> None:
    """Write the whole file or nothing; raises ArtifactError."""
    try:
        write_atomic(path, text.encode())
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be written ({error.strerror})", "choose another --markdown"
        ) from None


def _title(judgment: Judgment | None) -> str:
    if judgment is None:
        return "### Model comparison"
    return "### ✅ Model within budget" if judgment.passed else "### ❌ Model over budget"


def _what(comparison: Comparison) -> str:
    against = f", against `{comparison.base}`" if comparison.base else ""
    return f"{_escaped(comparison.model)}: `{comparison.new}`{against}"


def _budget(judgment: Judgment) -> str:
    """Lines that did not pass are in view, the others folded away."""
    passed = [line for line in judgment.lines if line.verdict is Verdict.PASS]
    others = [line for line in judgment.lines if line.verdict is not Verdict.PASS]
    strict = " (strict: what is undecided or not judged fails)" if judgment.strict else ""
    blocks = [f"Budget: {judgment.told()}{strict}"]
    if others:
        blocks.append(_table(LINE_COLUMNS, map(_line, others)))
    if passed:
        text = f"{len(passed)} line{'' if len(passed) == 1 else 's'} within the budget"
        blocks.append(_folded(text, _table(LINE_COLUMNS, map(_line, passed))))
    return "\n\n".join(blocks)


def _figures(comparison: Comparison) -> str:
    """A row for each artifact, a column for each figure that any of them has."""
    known = [(row, list(facts(row))) for row in comparison.artifacts]
    columns = list(dict.fromkeys(fact.name for _, found in known for fact in found))
    rows = (_artifact(row, found, columns, comparison) for row, found in known)
    return _table(("artifact", *map(_escaped, columns)), rows)


def _artifact(
    row: Compared, found: Sequence[Fact], columns: Sequence[str], comparison: Comparison
) -> Sequence[str]:
    texts = {fact.name: fact.in_a_line for fact in found} if row.new is not None else {}
    if row.unmeasured:
        texts.setdefault(LATENCY, "not compared")
    return _safe((title(row, comparison), *(texts.get(name, "") for name in columns)))


def _line(line: Line) -> Sequence[str]:
    texts = line.artifact, line.rule, line.limit, line.found, line.reason
    return MARKS[line.verdict], *_safe(texts)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _folded(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def _safe(texts: Sequence[str]) -> list[str]:
    return [_escaped(text) for text in texts]


def _escaped(text: str) -> str:
    """A file's name or a label must not become markup, a mention or another column."""
    for sign in "\\`*_[]<>|#~":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.replace("@", "@\u200b").split())
