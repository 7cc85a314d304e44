"""A runner that gives the golden's results and made-up times; $PHONE_STATE/runner.json spoils them.

{"code": 132} ends as if by that signal; {"flip": true} changes one value; {"old": true} tells no
samples, as a runner of an earlier version.
"""

import json
import os
import struct
import sys
from pathlib import Path

STATE = Path(os.environ["PHONE_STATE"])


def option(name: str, default: str = "") -> str:
    words = sys.argv
    return words[words.index(name) + 1] if name in words else default


def benchmark(spoiled: dict) -> dict:
    count, starts = int(option("--iterations")), STATE / "starts"
    with starts.open("a") as file:
        file.write(option("--artifact") + "\n")
    start = len(starts.read_text().splitlines())
    if trace := option("--etdump"):
        Path(trace).write_bytes(b"no trace")
    found = {"load_ms": 10.0 * start, "first_ms": 2.0 * start, "peak_rss_bytes": 1000 * start}
    samples = [start + 0.001 * index for index in range(count)]
    return found if spoiled.get("old") else {**found, "samples_ms": samples}


def self_test(spoiled: dict) -> dict:
    model = Path(option("--model"))
    manifest = json.loads((model / "manifest.json").read_text())
    (artifact,) = (a for a in manifest["artifacts"] if a["path"] == option("--artifact"))
    test = artifact["self_test"]
    expected = json.loads((model / "golden" / "expected.json").read_text())
    folder = Path(option("--dump-results"))
    folder.mkdir()
    for index, (entry, row) in enumerate(
        zip(expected["inputs"], expected["logits"][test["reference"]], strict=True)
    ):
        assert (model / "golden" / entry["file"]).read_bytes().startswith(b"P6 ")
        values = [value + (spoiled.get("flip", False) and index == 1) for value in row]
        name = f"{index:03d}-{Path(entry['file']).stem}.logits.f32"
        (folder / name).write_bytes(struct.pack(f"<{len(values)}f", *values))
    count = len(expected["inputs"])
    output = {"name": "logits", "passed": True, "exact": True, "equal_images": count}
    return {"passed": True, "outputs": [{**output, "images": count}], "images": []}


def main() -> int:
    path = STATE / "runner.json"
    spoiled = json.loads(path.read_text()) if path.exists() else {}
    if "--help" in sys.argv:
        sys.stdout.write("a runner\n")
        return spoiled.get("help", 0)
    if code := spoiled.get("code"):
        sys.stderr.write("mnv2_runner: model.pte: refused\n")
        return code
    said = benchmark(spoiled) if "--benchmark" in sys.argv else self_test(spoiled)
    sys.stdout.write(json.dumps(said) + "\n")
    return 0


raise SystemExit(main())
