"""The app's core in one JVM, asked by JSON lines (`jvm/Driver.kt`)."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.spec import Preprocess

WORK = Path(os.environ["ANDROID_CHECKS"])  # what check.sh has built
PIN = re.compile(r'MANIFEST_SHA256 = "(\w+)"')


@dataclass(frozen=True)
class App:
    """An app that `mnv2-export sample android` made."""

    root: Path

    @property
    def model(self) -> Path:
        """Its assets."""
        return self.root / "app/src/main/assets/model"

    @property
    def manifest(self) -> dict[str, Any]:
        """Of its model."""
        data: dict[str, Any] = json.loads((self.model / "manifest.json").read_text())
        return data

    @property
    def artifact(self) -> Path:
        """Its .pte."""
        return self.model / str(self.manifest["artifacts"][0]["path"])

    @property
    def pin(self) -> str:
        """The digest that is compiled in."""
        source = self.root / "app/src/main/java/io/github/mnv2/app/ModelContract.kt"
        found = PIN.search(source.read_text())
        assert found is not None
        return found[1]


class Driver:
    """Runs requests one after the other."""

    def __init__(self, folder: Path) -> None:
        self.errors = (folder / "stderr").open("w+")
        self.process = subprocess.Popen(
            [
                "java",
                f"-Djava.library.path={WORK / 'jni'}",
                "-cp",
                os.environ["ANDROID_CLASSPATH"],
                "checks.DriverKt",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def ask(self, command: str, **request: object) -> dict[str, Any]:
        """The answer to one request."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": command, **request}, default=str) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise AssertionError(self.errors.read())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Ends the JVM."""
        self.process.communicate()
        self.errors.close()


def contract_json(contract: Preprocess) -> dict[str, Any]:
    """As the driver reads it."""
    scale, bias = contract.affine()
    return {**contract.to_json(), "scale": scale.tolist(), "bias": bias.tolist()}
