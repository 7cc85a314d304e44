"""The moving average of the weights, whose batch statistics are measured and not averaged."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from exporter.training.distributed import World


def decay_at(decay: float, step: int) -> float:
    """The average's decay after `step` finished updates: early ones forget the start quickly."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the average's parameters a step towards the model's."""
    means: list[torch.Tensor] = list(average.parameters())
    values: list[torch.Tensor] = list(model.parameters())
    torch._foreach_lerp_(means, values, 1 - decay)


@torch.no_grad()
def measure_statistics(
    model: nn.Module, inputs: Iterable[torch.Tensor], world: World, frozen: nn.Module | None = None
) -> None:
    """Replace the running statistics by the plain mean over normalized batches of all workers.

    Batch norm inside `frozen` keeps its own. The model is left in eval mode.
    """
    kept = set() if frozen is None else set(frozen.modules())
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and m not in kept]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's spelling of a cumulative mean
        norm.train()
    for batch in inputs:
        model(batch)
    model.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    statistics = [s for n in norms for s in (n.running_mean, n.running_var) if s is not None]
    if world.size > 1 and statistics:
        shared = world.mean(torch.cat([s.flatten() for s in statistics]))
        pieces = torch.split(shared, [len(s) for s in statistics])
        for old, new in zip(statistics, pieces, strict=True):
            old.copy_(new)
