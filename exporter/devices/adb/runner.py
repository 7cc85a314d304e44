"""The program that runs on the phone: a bundle that app_samples/cpp made, or a user's own.

A bundle is a folder, or its .tgz, with `run.sh` and `lib/`: the runner, ExecuTorch and the C
library of Linux, which phones have not. `run.sh` starts the one with the other.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.devices.adb.facts import elf_abi
from exporter.errors import DeviceError

NAME = "mnv2_runner"
START = "run.sh"  # of a bundle
LIBRARIES = "lib"
MADE = ("arm64-v8a", "x86_64")  # what bundle.sh makes bundles for


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Unpacked in a folder of this machine."""

    folder: Path
    abi: str
    start: tuple[str, ...]  # the words that start it, in its folder


def cached_bundle(version: str, abis: Sequence[str]) -> Path:
    """The user's bundle for an ExecuTorch version and the best of some ABIs.

    Raises DeviceError with the command that makes one.
    """
    folder = cache_folder()
    for abi in abis:
        path = folder / bundle_name(version, abi)
        if path.is_file():
            return path
    raise DeviceError(
        f"no runner of ExecuTorch {version} for {', '.join(abis) or 'this device'} in {folder}",
        f"{how_to_make(abis)}; or name yours: --runner PATH",
    )


def cache_folder() -> Path:
    """Where `bundle.sh` puts bundles and profiles find them."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mnv2-export" / "runners"


def bundle_name(version: str, abi: str) -> str:
    """A bundle's file name, which tells what it fits."""
    return f"{version}-{abi}.tgz"


def how_to_make(abis: Sequence[str]) -> str:
    """What to type for a bundle that one of these ABIs runs."""
    abi = next((abi for abi in abis if abi in MADE), None)
    if abi is None:
        return f"build a runner for {abis[0] if abis else 'it'} with the NDK: docs/adb.md"
    return (
        "make one: mnv2-export sample cpp --from BUILD --out my-app && "
        f"PYTHON={shlex.quote(sys.executable)} bash my-app/bundle.sh --abi {abi}"
    )


def unpack(path: Path, folder: Path) -> Runner:
    """Lay a bundle or a plain executable into `folder`; raises DeviceError for anything else."""
    try:
        _lay(path, folder)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise _unusable(path, str(error)) from None
    program = folder / LIBRARIES / NAME if (folder / START).is_file() else folder / NAME
    abi = elf_abi(_head(program)) if program.is_file() else None
    if abi is None:
        raise _unusable(path, "neither an executable for a phone nor a bundle")
    bundled = program.parent != folder
    return Runner(folder=folder, abi=abi, start=("sh", START) if bundled else (f"./{NAME}",))


def check_abi(runner: Runner, path: Path, abis: Sequence[str]) -> None:
    """Raise DeviceError where the phone cannot run it; what a phone does not tell is tried."""
    if abis and runner.abi not in abis:
        raise DeviceError(
            f"{path}: is for {runner.abi}, the device runs {', '.join(abis)}",
            how_to_make(abis),
        )


def _lay(path: Path, folder: Path) -> None:
    if path.is_dir():
        if not any((path / name).is_file() for name in (START, NAME)):
            raise FileNotFoundError(f"no {START} in it")  # before all that it holds is copied
        shutil.copytree(path, folder)
        return
    folder.mkdir()
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
    else:
        shutil.copy(path, folder / NAME)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(20)


def _unusable(path: Path, why: str) -> DeviceError:
    return DeviceError(f"{path}: cannot be used as a runner ({why})", how_to_make(MADE))
