"""Runs coremltools' own operation tests in a process of their own, under one of the plugins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
SHIPPED = "coremltools.converters.mil.mil.ops.tests"
RECORD = "MIL_CONFORMANCE_RECORD"  # environment: where a plugin writes what it saw
EVERY = "MIL_CONFORMANCE_EVERY"  # environment: take each n-th case only
# coremltools' own switches: ML programs only, and in float32 too.
SWITCHES = {"PYMIL_TEST_TARGETS": "mlprogram", "INCLUDE_MIL_FP32_UNIT_TESTS": "1"}


def run(plugin: str, arguments: Sequence[str], every: int = 1) -> Mapping[str, Any]:
    """The plugin's record of the shipped tests that the arguments select.

    Their outcome is in the record. Raises RuntimeError if pytest could not run at all.
    """
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.json"
        own = {RECORD: str(record), EVERY: str(every), "PYTHONPATH": str(TESTS), "TMPDIR": folder}
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider"]
        command += ["-p", f"mil_conformance.{plugin}", "-W", "ignore", "--tb=short"]
        command += ["--pyargs", SHIPPED, *arguments]
        done = subprocess.run(
            command,
            env=os.environ | SWITCHES | own,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if not record.exists():
            raise RuntimeError(f"pytest did not run: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        read: Mapping[str, Any] = json.loads(record.read_text())
        return read | {"output": done.stdout}
