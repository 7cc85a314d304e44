"""What of a build is kept: its reference, each artifact with its proof, the pairs' comparison.

Only an artifact that was proved the same is kept. One that comes back is equal, byte for byte, to
what was proved then; nothing is run again, and its record says so. `verify` runs every proof.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.cache import limits, sources
from exporter.cache.store import Found, Outcome, Store
from exporter.errors import ExportError
from exporter.made import Made
from exporter.manifest import Manifest, read_manifest, write_manifest
from exporter.spec import Precision
from exporter.verdicts import Outcome as Verdict
from exporter.verdicts import Pair, Tolerance

if TYPE_CHECKING:
    from exporter.results import Results

REFERENCE, ARTIFACT, BUILD = "reference", "artifact", "build"
FILES, RESULTS, PROOF = "files", "results", "proof.json"
SAME, NONE, KEPT = "the golden's", "none", "kept"  # where an artifact's results are
NOTE_START = "from the cache: "  # of what `verify` does not hand on: it has proved it again
NOTE = NOTE_START + "proved when it was made, on {day}"


class NotCachedError(ExportError):
    """Something had to be made, where only what is in the cache was asked for."""


class Kept:
    """A store as a build uses it, or none; what goes wrong with it is a note, not an error."""

    def __init__(self, store: Store | None, scratch: Path) -> None:
        self.store, self.scratch = store, scratch
        self.notes: list[str] = []
        self.kept = False  # anything new

    def key(self, make: Callable[[], str]) -> str:
        """A key, or nothing where there is no cache or no key for what was asked.

        An input that cannot be read has none: the build will say what is wrong with it.
        """
        if self.store is None:
            return ""
        try:
            return make()
        except (ExportError, OSError, TypeError):
            return ""

    def fetch(self, kind: str, key: str) -> tuple[Path, Found] | None:
        """A folder with an entry's files, each of them checked."""
        if self.store is None or not key:
            return None
        into = self.scratch / f"{kind}-{key}"
        found = self.store.fetch(kind, key, into)
        if found.outcome is Outcome.DAMAGED:
            self.notes.append(f"the cache's {kind} {key[:12]} was damaged: made anew")
        return (into, found) if found.outcome is Outcome.FOUND else None

    def keep(self, kind: str, key: str, files: Path, what: str) -> Mapping[str, str]:
        """Hashes of the files, which are in the cache now; nothing if they cannot be."""
        if self.store is None or not key:
            return {}
        if not sources.unchanged():
            self._give_up("our own source was edited meanwhile")
            return {}
        try:
            sums = self.store.keep(kind, key, files, what)
        except OSError as error:
            self._give_up(str(error.strerror))
            return {}
        self.kept = True
        return sums

    def limit(self) -> None:
        """Make room when a build is done: what was unused longest goes, and it is told."""
        if self.store is None:
            return
        try:
            removed = self.store.prune(max_bytes=limits.stated())
        except ExportError as error:
            self.notes.append(error.message)
            return
        if removed:
            size = sum(entry.size_bytes for entry in removed) / 1e6
            self.notes.append(
                f"{self.store.root}: over {limits.VARIABLE}, so {len(removed)} entries that were "
                f"unused longest are gone, {size:.0f} MB"
            )

    def _give_up(self, why: str) -> None:
        assert self.store is not None, "there is nothing to give up"
        self.notes.append(f"{self.store.root}: nothing is kept ({why})")
        self.store = None

    def artifact(self, key: str, folder: Path) -> Made | None:
        """An artifact, moved into a build directory, and what was found when it was made."""
        fetched = self.fetch(ARTIFACT, key)
        if fetched is None:
            return None
        kept, found = fetched
        manifest = read_manifest(kept)
        proof = json.loads((kept / PROOF).read_text())
        for file in (kept / FILES).iterdir():
            shutil.move(file, folder / file.name)
        note = NOTE.format(day=found.made[:10])
        return Made(
            records=tuple(
                dataclasses.replace(record, notes=(*record.notes, note))
                for record in manifest.artifacts
            ),
            results=tuple(
                _read(kept / RESULTS / str(i), where) for i, where in enumerate(proof["results"])
            ),
            tolerances={Precision(p): Tolerance(**t) for p, t in proof["tolerances"].items()},
            check_seconds=(0.0,) * len(manifest.artifacts),
        )

    def keep_artifact(self, key: str, made: Made, base: Manifest, folder: Path, name: str) -> None:
        """Keep what lies in a build directory, if every part of it was proved the same."""
        if self.store is None or not key:
            return
        if any(r.parity.outcome is not Verdict.SAME for r in made.records):
            return
        try:
            files = self._packed(key, made, base, folder)
        except OSError as error:  # of the scratch directory: the build itself is whole
            self._give_up(str(error.strerror))
            return
        self.keep(ARTIFACT, key, files, f"{name} of {base.source.name}")

    def _packed(self, key: str, made: Made, base: Manifest, folder: Path) -> Path:
        """A folder with what `artifact` takes apart again."""
        from exporter.reference_file import write_results

        files = self.scratch / f"made-{key}"
        (files / FILES).mkdir(parents=True)
        for record in made.records:
            _duplicate(folder / record.path, files / FILES / record.path)
        where = []
        for index, results in enumerate(made.results):
            where.append(NONE if results is None else KEPT if results else SAME)
            if results:
                write_results(results, files / RESULTS / str(index))
        tolerances = {str(p): dataclasses.asdict(t) for p, t in made.tolerances.items()}
        (files / PROOF).write_text(_text({"results": where, "tolerances": tolerances}))
        write_manifest(dataclasses.replace(base, artifacts=made.records), files)
        return files

    def pairs(self, key: str) -> tuple[Pair, ...] | None:
        """What was found when these artifacts were compared with each other."""
        fetched = self.fetch(BUILD, key)
        return None if fetched is None else read_manifest(fetched[0]).pairs

    def keep_pairs(self, key: str, manifest: Manifest) -> None:
        """Keep the comparison; where a pair drifted the artifacts are compared again."""
        if not key or manifest.drifted:
            return
        files = self.scratch / f"pairs-{key}"
        files.mkdir()
        write_manifest(manifest, files)
        names = ", ".join(artifact.path for artifact in manifest.artifacts)
        self.keep(BUILD, key, files, f"{names} of {manifest.source.name}")


def _read(folder: Path, where: str) -> Results | None:
    if where == NONE:
        return None
    if where == SAME:
        return {}
    from exporter.reference_file import read_results

    return read_results(folder)


def _duplicate(path: Path, copy: Path) -> None:
    if path.is_dir():
        shutil.copytree(path, copy)
    else:
        shutil.copyfile(path, copy)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
