"""Backwards that compiled loops do: they have no derivative of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch


def once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse where a derivative of this backward is wanted. torch's own `once_differentiable` lets
    it pass as zero where the incoming gradient is constant."""

    @wraps(backward)
    def guarded(ctx: Any, *slopes: Any) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError("once differentiable only: see Backbone.differentiable_twice")
        return backward(ctx, *slopes)

    return guarded
