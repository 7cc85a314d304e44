"""`.venv/bin/python tests/mil_conformance [--every N] [pytest's arguments]`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a folder, not as a module

from mil_conformance.shipped import run


def main(arguments: list[str]) -> int:
    """Print what the record says; 1 if a case failed or was skipped without an explanation."""
    every = 1
    if arguments[:1] == ["--every"]:
        every, arguments = int(arguments[1]), arguments[2:]
    record = run("prediction", arguments, every)
    lines = []
    for title in ("outcomes", "skips", "unexplained", "operations"):
        lines.append(f"{title}: {sum(record[title].values())}")
        lines += [f"  {count:6} {name}" for name, count in sorted(record[title].items())]
    sys.stdout.write("\n".join([*lines, *record["failures"], ""]))
    return int(bool(record["failures"] or record["unexplained"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
