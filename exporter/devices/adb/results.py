"""What the phone computed for the golden images, held against the golden and this machine."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exporter.errors import DeviceError
from exporter.metrics import sqnr_db
from exporter.results import Results
from exporter.self_test import SelfTest
from exporter.vectors import Stored, Vectors, agrees
from exporter.verdicts import EXACT

LOUD_LOGGERS = ("torchao", "torch.utils._pytree", "executorch")  # of the runtime's imports
SUFFIXES = {"float32": ".f32", "uint8": ".u8"}


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Whether a phone's results are right, and by how much they are off."""

    same: bool
    words: str


def read_results(folder: Path, asked: SelfTest, vectors: Vectors) -> Results:
    """The runner's raw files, NNN-image.output.f32; raises DeviceError where one is missing."""
    found = {}
    for output in asked.outputs:
        kind = np.dtype(output.dtype)
        rows = []
        for index in range(len(vectors.names)):
            name = f"{index:03d}-*.{output.name}{SUFFIXES[output.dtype]}"
            files = sorted(folder.glob(name))
            values = np.fromfile(files[0], kind.newbyteorder("<")) if files else np.empty(0, kind)
            if values.size != np.prod(output.shape):
                raise DeviceError(f"the runner wrote no whole {output.name} of image {index}")
            rows.append(values.reshape(output.shape))
        found[output.name] = np.stack(rows)
    return found


def host_results(path: Path, asked: SelfTest, images: np.ndarray) -> Results:
    """The same program in ExecuTorch on this machine, for (n, 3, r, r) inputs."""
    import torch

    for name in LOUD_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the runtime's own imports
        from executorch.runtime import Runtime

        method: Any = Runtime.get().load_program(path).load_method("forward")
    rows = [
        # The runtime reuses its output buffers.
        [value.clone().numpy() for value in method.execute([torch.from_numpy(image[None].copy())])]
        for image in images
    ]
    columns = zip(*rows, strict=True)
    names = [output.name for output in asked.outputs]
    return {name: np.concatenate(column) for name, column in zip(names, columns, strict=True)}


def agreement(
    asked: SelfTest, phone: Results, host: Results, stored: Stored, verdict: Mapping[str, Any]
) -> Agreement:
    """Of one artifact, given what its runner's self-test said.

    Exact outputs are compared byte for byte with the golden and with this machine's here as well;
    on what is computed in floats the runner's verdict stands, which is the manifest's.
    """
    words, same = [], bool(verdict["passed"]) and _is_golden(stored, asked, phone)
    judged = {output["name"]: output for output in verdict["outputs"]}
    for output in asked.outputs:
        here, there = host[output.name], phone[output.name]
        equal = [a.tobytes() == b.tobytes() for a, b in zip(here, there, strict=True)]
        same &= all(equal) or not output.exact
        golden = _against_golden(judged[output.name], verdict["images"])
        words.append(f"{output.name}: {golden}; {_against_host(here, there, equal)}")
    return Agreement(same=same, words="; ".join(words))


def _is_golden(stored: Stored, asked: SelfTest, phone: Results) -> bool:
    """Whether integers are the golden's, by the pulled bytes and not by the runner's word."""
    exact = any(output.exact for output in asked.outputs)
    return not exact or agrees(stored[asked.reference], phone, EXACT)


def _against_golden(judged: Mapping[str, Any], images: Sequence[Mapping[str, Any]]) -> str:
    if judged["exact"] and judged["passed"]:
        return f"0 LSB on {judged['images']} images"
    if judged["exact"]:
        first = next(i for i in images if i["output"] == judged["name"] and not i["equal"])
        where = ""
        if at := first["difference"]:
            where = f" at {at['index']}: {at['expected']:.6g} expected, {at['actual']:.6g} found"
        other = judged["images"] - judged["equal_images"]
        return f"DIFFERENT on {other} of {judged['images']} images, {first['image']}{where}"
    for key, unit in (("sqnr_db", "dB"), ("agreement", "agreement")):
        if judged[key] is not None:
            return f"{judged[key]:.4g} {unit} to the golden, {judged[f'min_{key}']:.4g} asked"
    return "every bit of the golden's" if judged["passed"] else "DIFFERENT from the golden"


def _against_host(here: np.ndarray, there: np.ndarray, equal: list[bool]) -> str:
    if all(equal):
        return "every bit of this machine's"
    first = equal.index(False)
    if here.dtype == np.uint8:
        return f"{(here == there).mean():.4%} as on this machine, first other at image {first}"
    return f"{sqnr_db(here, there):.1f} dB to this machine's, first other at image {first}"
