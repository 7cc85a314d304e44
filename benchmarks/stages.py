"""Wall time, seconds per stage and sizes of the demo build: `python benchmarks/stages.py`.

Prints medians over several runs in fresh processes, and the machine that they are from.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DEMO_LIMIT_SECONDS = 60.0
HELP_LIMIT_SECONDS = 0.3


def machine() -> str:
    """Processor, cores and system."""
    names = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, Linux"


def timed(arguments: list[str]) -> tuple[float, str]:
    """Seconds and standard output of one run of the command line."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "exporter", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.perf_counter() - started, done.stdout


def main() -> int:
    """Measure, print, and fail when a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    walls, stages, document = [], {}, {}
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            wall, out = timed(["build", "--json", "--out", f"{folder}/build"])
        walls.append(wall)
        document = json.loads(out)
        for stage, seconds in document["seconds"].items():
            for part, value in seconds.items():
                if value is not None:
                    stages.setdefault(f"{stage} {part}", []).append(value)
    helps = [timed(["--help"])[0] for _ in range(2 * runs)]
    print(f"machine: {machine()}; median of {runs} runs")
    print(f"demo build, wall: {statistics.median(walls):.1f} s")
    print(f"--help, wall: {statistics.median(helps):.2f} s, best {min(helps):.2f} s")
    for name, values in stages.items():
        print(f"  {name}: {statistics.median(values):.2f} s")
    for artifact in document["manifest"]["artifacts"]:
        print(f"  {artifact['path']}: {artifact['size_bytes']:,} bytes")
    late = statistics.median(walls) > DEMO_LIMIT_SECONDS or min(helps) > HELP_LIMIT_SECONDS
    return int(late)


if __name__ == "__main__":
    sys.exit(main())
