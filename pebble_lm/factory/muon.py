"""Muon for many matrices at once.

The update is that of `torch.optim.Muon` (Jordan et al. 2024: momentum, then five Newton-Schulz steps that make a
matrix's singular values alike). A model of many small matrices spends most of its time starting small kernels, so
matrices of one shape are stacked and go through the iteration together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

COEFFICIENTS, STEPS, EPS = (3.4445, -4.7750, 2.0315), 5, 1e-7


def orthogonalised(stack: torch.Tensor) -> torch.Tensor:
    """Each matrix of the stack (n, rows, columns) with singular values near one, in bfloat16."""
    a, b, c = COEFFICIENTS
    x = stack.bfloat16()
    tall = x.size(1) > x.size(2)
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=EPS)
    for _ in range(STEPS):
        gram = x @ x.mT  # (n, rows, rows)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """`torch.optim.Muon` with its default settings (Nesterov momentum), matrices of one shape in one batch."""

    def __init__(
        self,
        params: Iterable[torch.Tensor],
        lr: float = 0.02,
        weight_decay: float = 0.05,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        if any(p.ndim != 2 for group in self.param_groups for p in group["params"]):
            raise ValueError("Muon is for matrices; give vectors and embeddings to AdamW.")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            shapes: dict[torch.Size, list[torch.Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault(p.shape, []).append(p)
            for shape, params in shapes.items():
                self._step(params, shape, group["lr"], group["weight_decay"], group["momentum"])

    def _step(
        self, params: list[torch.Tensor], shape: torch.Size, lr: float, decay: float, momentum: float
    ) -> None:
        grads = [p.grad for p in params]
        for p in params:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum_buffer"] for p in params]
        torch._foreach_lerp_(buffers, grads, 1 - momentum)
        updates = orthogonalised(torch.stack(torch._foreach_lerp(grads, buffers, momentum)))
        torch._foreach_mul_(params, 1 - lr * decay)
        scaled = lr * math.sqrt(max(1.0, shape[0] / shape[1]))
        torch._foreach_add_(params, list(updates.to(params[0].dtype).unbind()), alpha=-scaled)
