"""Layers that keep their weights and their batch statistics for a while, or for good."""

from __future__ import annotations

from torch import nn

from exporter.models import Network
from exporter.training.recipe import BLOCKS, Recipe


def frozen_blocks(recipe: Recipe, epoch: int) -> int:
    """How many blocks of `features` are frozen in an epoch, counted from 0."""
    return BLOCKS if epoch < recipe.head_epochs else recipe.freeze


def frozen_part(model: Network, blocks: int) -> nn.Sequential:
    """The first blocks."""
    return nn.Sequential(*list(model.features)[:blocks])


def freeze(model: Network, blocks: int) -> None:
    """No gradients for the first blocks, all for the others."""
    model.requires_grad_(True)
    frozen_part(model, blocks).requires_grad_(False)


def train_mode(model: Network, blocks: int) -> None:
    """Batch norm of frozen blocks uses what it has measured before, as it will when exported."""
    model.train()
    frozen_part(model, blocks).eval()
