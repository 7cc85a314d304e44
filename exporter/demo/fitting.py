"""How the demo's networks are trained: a plain loop on one thread.

AdamW, one cosine cycle, and an average of the weights whose batch statistics are measured afresh at
the end. What comes out is rounded to float16, as it is stored.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

REPORT_EVERY = 100  # steps

Network = TypeVar("Network", bound=nn.Module)
Batches = Iterator[tuple[torch.Tensor, Any]]  # images (b, 3, s, s), and what is on them
Loss = Callable[[Network, torch.Tensor, Any], torch.Tensor]  # of a network on such a batch


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that the result depends on besides the seed."""

    steps: int = 4200
    batch: int = 32
    peak_lr: float = 3e-3
    warmup: float = 0.08  # share of the steps
    weight_decay: float = 1e-2  # of convolutions and fully connected layers only
    average: float = 0.998  # decay of the weights' moving average per step
    backgrounds: int = 800
    statistics_batches: int = 120

    def lr(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to zero."""
        rising = max(1.0, self.warmup * self.steps)
        if step < rising:
            return self.peak_lr * (step + 1) / (rising + 1)
        done = (step - rising) / max(1.0, self.steps - rising)
        return self.peak_lr * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The mean training loss since the last report."""

    step: int
    steps: int
    loss: float
    seconds: float

    def __str__(self) -> str:
        """One line for a person."""
        return f"step {self.step:5d}/{self.steps}  loss {self.loss:.3f}  {self.seconds:5.0f} s"


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Decay matrices and kernels; leave batch norm and biases alone."""
    kernels = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    return [
        {"params": kernels, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def fit(
    model: Network,
    data: Batches,
    loss_of: Loss[Network],
    recipe: Recipe,
    report: Callable[[Progress], None],
) -> Network:
    """The averaged network in eval mode, its weights rounded to float16."""
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.train()
    average: Network = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(parameter_groups(model, recipe.weight_decay), betas=(0.9, 0.99))
    start, losses = time.monotonic(), []
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr(step)
        images, wanted = next(data)
        loss = loss_of(model, images, wanted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        follow(average, model, min(recipe.average, (step + 1) / (step + 10)))
        losses.append(loss.item())
        if (step + 1) % REPORT_EVERY == 0 or step + 1 == recipe.steps:
            mean, seconds = sum(losses) / len(losses), time.monotonic() - start
            report(Progress(step=step + 1, steps=recipe.steps, loss=mean, seconds=seconds))
            losses.clear()
    measure_statistics(average, data, recipe.statistics_batches)
    average.load_state_dict(rounded(average.state_dict()))
    average.eval()
    return average


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the average's parameters a step towards the model's."""
    for mean, value in zip(average.parameters(), model.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)


@torch.no_grad()
def measure_statistics(model: nn.Module, data: Batches, count: int) -> None:
    """Replace the running statistics by the plain mean over `count` training batches."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's spelling of a cumulative mean
    model.train()
    for _ in range(count):
        model(next(data)[0])
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def rounded(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors after a trip through float16."""
    return {k: v.half().to(v.dtype) if v.is_floating_point() else v for k, v in state.items()}


def stored(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict without the counters of batches, which inference never reads."""
    return {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}


def arguments(description: str, recipe: Recipe) -> argparse.Namespace:
    """The options of a training command: `out`, `seed` and `steps`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=recipe.steps)
    parsed = parser.parse_args()
    torch.set_num_threads(1)  # more threads are slower on small maps and shared cores
    return parsed


def say(line: object) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
