"""The other workers of a run: `torchrun` starts them, this finds them; alone it is a world of one.

Values that are counted (losses, hits, a request to stop) travel as CPU tensors through gloo even
where gradients travel through nccl, so that agreeing on them does not wait for the GPU.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from exporter.errors import ExportError, TrainingError, UnsupportedError

T = TypeVar("T")
CPU = torch.device("cpu")
LOST = ("Connection closed", "Connection reset", "Broken pipe", "NCCL", "gloo")  # in messages
PATIENCE = datetime.timedelta(minutes=30)  # a lead that writes or draws keeps the others waiting


@dataclass(frozen=True, kw_only=True)
class World:
    """This worker's place among all of them."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def lead(self) -> bool:
        """The one that writes files and talks."""
        return self.rank == 0

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all workers, on the CPU."""
        summed = values.detach().to("cpu", copy=True)
        if self.size > 1:
            dist.all_reduce(summed)
        return summed

    def maximum(self, values: torch.Tensor) -> torch.Tensor:
        """The largest of all workers' values, on the CPU."""
        shared = values.detach().to("cpu", copy=True)
        if self.size > 1:
            dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return shared

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The mean over all workers, on the CPU."""
        return self.total(values) / self.size

    def largest(self, number: int) -> int:
        """The largest of all workers' numbers: a signal that reached one stops them all."""
        return int(self.maximum(torch.tensor(number)))

    def same(self, value: T) -> T:
        """The lead's value, on every worker; any picklable one."""
        box = [value]
        if self.size > 1:
            dist.broadcast_object_list(box, src=0, device=CPU)
        return box[0]

    def gathered(self, value: T) -> list[T]:
        """Every worker's value, by rank, on every worker; any picklable ones."""
        if self.size == 1:
            return [value]
        found: list[T | None] = [None] * self.size
        dist.all_gather_object(found, value)
        return [one for one in found if one is not None]

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What any worker objects to inside the block, all leave for, and the lead tells it."""
        error: ExportError | None = None
        try:
            yield
        except ExportError as found:
            if self.size == 1:
                raise
            error = found
        if self.size == 1:
            return
        told: list[tuple[type[ExportError], str, str] | None] = [None] * self.size
        mine = None if error is None else (type(error), error.message, error.hint)
        dist.all_gather_object(told, mine)
        first = next(((rank, said) for rank, said in enumerate(told) if said is not None), None)
        if error is None and first is not None:
            rank, (kind, message, hint) = first
            error = kind(f"worker {rank}: {message}", hint)
        if error is not None:
            with contextlib.suppress(RuntimeError):  # one leaves first, but all have heard by now
                self.wait()
            self.fail(error)

    def fail(self, error: ExportError) -> NoReturn:
        """Leave with an error that all workers have met; only the lead tells it."""
        if self.lead:
            raise error
        sys.exit(error.exit_code)

    def wait(self) -> None:
        """Until all are here."""
        self.largest(0)

    def copy_buffers(self, model: nn.Module) -> None:
        """Give every worker the lead's running statistics."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    def share(self, model: nn.Module) -> nn.Module:
        """The model as the workers train it together; alone the model itself."""
        if self.size == 1:
            return model
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=devices)


@contextlib.contextmanager
def join(device: torch.device) -> Iterator[World]:
    """Meet the workers that a launcher started, and part from them at the end."""
    size = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
    if size == 1:
        yield World(device=device)
        return
    if device.type == "mps":
        raise UnsupportedError("several workers cannot share an Apple GPU", "pass --device cpu")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device.type == "cuda":
        if local >= torch.cuda.device_count():
            raise UnsupportedError(
                f"worker {local} has no GPU: this machine has {torch.cuda.device_count()}",
                "start as many workers as GPUs, or pass --device cpu",
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    world = World(rank=dist.get_rank(), size=dist.get_world_size(), device=device)
    try:
        yield world
    except RuntimeError as error:
        if not any(sign in str(error) for sign in LOST):
            raise
        world.fail(
            TrainingError(
                "another worker ended",
                "its own message tells why; --resume goes on from the last save",
            )
        )
    finally:
        dist.destroy_process_group()
