"""RMSProp as TensorFlow computes it, and which tensors are decayed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from exporter.training.recipe import OptimizerName, Recipe


class RMSpropTF(torch.optim.Optimizer):
    """TensorFlow's update: eps inside the root, the mean square starts at 1, lr in the momentum.

    s = a s + (1 - a) g^2;  m = b m + lr g / sqrt(s + eps);  w = w - m. In torch's own eps is added
    to the root and s starts at 0: its first steps are 3.2 lr, however small the gradient is.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float,
        square_decay: float = 0.9,
        momentum: float = 0.9,
        eps: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "square_decay": square_decay,
            "momentum": momentum,
            "eps": eps,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        assert closure is None, "losses are not evaluated again"
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._update(params, group)

    def _update(self, params: list[torch.Tensor], group: dict[str, Any]) -> None:
        grads = [p.grad for p in params if p.grad is not None]
        if group["weight_decay"]:
            grads = list(torch._foreach_add(grads, params, alpha=group["weight_decay"]))
        for param in params:
            state = self.state[param]
            if not state:
                state["square"] = torch.ones_like(param)
                state["momentum"] = torch.zeros_like(param)
        squares = [self.state[p]["square"] for p in params]
        momenta = [self.state[p]["momentum"] for p in params]
        torch._foreach_mul_(squares, group["square_decay"])
        torch._foreach_addcmul_(squares, grads, grads, value=1 - group["square_decay"])
        roots = list(torch._foreach_add(squares, group["eps"]))
        torch._foreach_sqrt_(roots)
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_addcdiv_(momenta, grads, roots, value=group["lr"])
        torch._foreach_sub_(params, momenta)


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Kernels and matrices decay, batch norm and biases do not, depthwise as the recipe says."""
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for module in model.modules():
        depthwise = isinstance(module, nn.Conv2d) and module.groups > 1
        for param in module.parameters(recurse=False):
            kept = param.ndim < 2 or (depthwise and not recipe.decay_depthwise)
            (others if kept else decayed).append(param)
    return [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over all parameters; those that are frozen get no gradients."""
    groups = parameter_groups(model, recipe)
    if recipe.optimizer is OptimizerName.RMSPROP:
        return RMSpropTF(
            groups,
            lr=recipe.lr,
            square_decay=recipe.square_decay,
            momentum=recipe.momentum,
            eps=recipe.eps,
        )
    if recipe.optimizer in (OptimizerName.SGD, OptimizerName.MOMENTUM):
        nesterov = recipe.optimizer is OptimizerName.SGD
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov)
    betas = recipe.momentum, recipe.square_decay
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=betas, eps=recipe.eps)
