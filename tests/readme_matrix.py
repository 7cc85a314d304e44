"""The README's generated tables: `python tests/readme_matrix.py` prints them."""

from __future__ import annotations

from exporter.errors import ALL_ERRORS
from targets import TARGETS


def target_table() -> str:
    """One row per target, from the static table."""
    lines = [
        "| target | format | file | precision | runs on | parity on Linux |",
        "|---|---|---|---|---|---|",
    ]
    for info in TARGETS.values():
        files = ", ".join(f"`{s}`" for s in info.suffixes)
        precisions = ", ".join(info.precisions)
        cells = (f"`{info.name}`", info.format, files, precisions, info.runs_on, info.parity)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def exit_code_table() -> str:
    """One row per exit code, from the error classes."""
    meanings = {0: "done", 2: "usage", **{e.exit_code: e.meaning for e in ALL_ERRORS}}
    rows = [f"| {code} | {meanings[code]} |" for code in sorted(meanings)]
    return "\n".join(["| exit code | meaning |", "|---|---|", *rows])


if __name__ == "__main__":
    print(target_table())  # noqa: T201
    print(exit_code_table())  # noqa: T201
