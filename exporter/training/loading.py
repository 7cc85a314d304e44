"""Batches of uint8 images, the same for any number of worker processes.

Which images a batch holds is a function of seed, epoch and the processes that train together, and
what happens to an image one of seed, epoch and its index: a run that is cut off and goes on sees
what it would have seen.
"""

from __future__ import annotations

import functools
import multiprocessing
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from exporter.errors import DataError
from exporter.spec import ChannelOrder, Preprocess
from exporter.threads import cores
from exporter.training.augment import generator
from exporter.training.targets import Target, Targets, collate
from exporter.training.views import View

MAX_WORKERS = 8  # per training process; more rarely pay
_STREAM = 1  # keeps the order's random numbers apart from the augmentations'


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Images as the network's planes, not yet normalized."""

    images: torch.Tensor  # uint8 (b, 3, r, r), channels in the contract's order
    labels: Targets
    indices: torch.Tensor  # int64 (b,), of the source


@dataclass(frozen=True)
class _Failure:
    """An image that could not be read, carried out of a worker as a value.

    An exception would reach the user as the worker's traceback.
    """

    message: str
    hint: str


_Sample = tuple[torch.Tensor, Target, int]


@dataclass(frozen=True, eq=False)
class _Views(Dataset[_Sample | _Failure]):
    view: View
    random: tuple[int, int] | None = None  # seed and epoch; None: the contract's pixels, exactly

    def __getitem__(self, index: int) -> _Sample | _Failure:
        index = int(index)
        numbers = None if self.random is None else generator(*self.random, index)
        try:
            pixels, target = self.view(index, numbers)
        except DataError as error:
            return _Failure(error.message, error.hint)
        return _planes(pixels, self.view.contract), target, index


def _planes(pixels: np.ndarray, contract: Preprocess) -> torch.Tensor:
    if contract.channel_order is ChannelOrder.BGR:
        pixels = pixels[..., ::-1]
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def train_batches(
    view: View,
    batch: int,
    *,
    epoch: int,
    seed: int,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    skip: int = 0,
) -> Iterator[Batch]:
    """One epoch of a rank, without the images that fill no batch on every rank.

    `skip` leaves out batches that were seen before, without reading them. Raises DataError for
    fewer images than one batch of all ranks, and for an image that cannot be read.
    """
    together = batch * world
    count = len(view) // together
    if count == 0:
        across = f" on each of {world} processes" if world > 1 else ""
        raise DataError(
            f"{len(view)} images are fewer than one batch of {batch}{across}",
            "make the batch smaller",
        )
    order = np.random.Generator(np.random.PCG64([seed, epoch, _STREAM])).permutation(len(view))
    mine = order[: count * together].reshape(count, world, batch)[skip:, rank]
    return _load(_Views(view, (seed, epoch)), list(mine), workers)


def val_batches(
    view: View,
    batch: int,
    *,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
) -> Iterator[Batch]:
    """Every image once over all ranks, with the very pixels of `to_pixels`.

    Ranks may differ by one image, so by one batch, and a rank beyond the last image has none.
    """
    mine = np.arange(rank, len(view), world)
    batches = [mine[start : start + batch] for start in range(0, len(mine), batch)]
    return _load(_Views(view), batches, workers)


def _load(views: _Views, batches: list[np.ndarray], workers: int) -> Iterator[Batch]:
    """Torch gives each worker one thread."""
    loader: DataLoader[Batch | _Failure] = DataLoader(
        views,  # type: ignore[arg-type]  # it is the collated type that comes out
        batch_sampler=batches,  # type: ignore[arg-type]  # arrays instead of lists
        num_workers=workers,
        collate_fn=_collate,
        multiprocessing_context=_server() if workers else None,
        # The loader draws a seed that nothing here uses; not from the training's own numbers.
        generator=torch.Generator(),
    )
    for loaded in loader:
        if isinstance(loaded, _Failure):
            raise DataError(loaded.message, loaded.hint)
        yield loaded


def _server() -> multiprocessing.context.BaseContext:
    """Where workers come from: a process that has loaded torch and has no threads and no GPU.

    A fork of the training process could hang; a fresh process would load torch for every epoch,
    which is what Windows has to do.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _collate(samples: list[_Sample | _Failure]) -> Batch | _Failure:
    good = [sample for sample in samples if not isinstance(sample, _Failure)]
    if len(good) < len(samples):
        return next(sample for sample in samples if isinstance(sample, _Failure))
    images, labels, indices = zip(*good, strict=True)
    return Batch(
        images=torch.stack(images),
        labels=collate(labels),
        indices=torch.tensor(indices, dtype=torch.int64),
    )


def to_input(images: torch.Tensor, contract: Preprocess) -> torch.Tensor:
    """Float32 of a batch's uint8 images, on their device; on a CPU `normalize`'s very bits."""
    scale, bias = _affine(contract, images.device)
    return images.to(torch.float32) * scale + bias


@functools.cache
def _affine(contract: Preprocess, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    scale, bias = (torch.from_numpy(a).view(1, 3, 1, 1) for a in contract.affine())
    return scale.to(device), bias.to(device)


def default_workers(processes: int = 1) -> int:
    """Worker processes for each of the `processes` that train on this machine.

    One core stays with each training process, the others decode: none of 1 core, 1 of 2, and at
    most MAX_WORKERS.
    """
    return max(0, min(MAX_WORKERS, cores() // max(1, processes) - 1))


@dataclass
class Throughput:
    """Images per second, and how much of the time went into waiting for them."""

    images: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches, counted as they are taken."""
        iterator = iter(batches)
        while True:
            asked = time.perf_counter()
            loaded = next(iterator, None)
            got = time.perf_counter()
            if loaded is None:
                return
            self.waited += got - asked
            yield loaded
            self.images += len(loaded.labels)
            self.seconds += time.perf_counter() - asked

    @property
    def images_per_second(self) -> float:
        """Of the batches that are done; 0 before the first."""
        return self.images / self.seconds if self.seconds > 0.0 else 0.0

    @property
    def waiting(self) -> float:
        """The share of the time in which training stood still for want of images."""
        return self.waited / self.seconds if self.seconds > 0.0 else 0.0
