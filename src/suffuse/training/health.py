"""Numbers that are not finite: where they first appeared."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from suffuse.training.batches import Batch
from suffuse.training.learner import Loss
from suffuse.tree import latest


def diagnose(loss: Loss, parts: list[Batch]) -> tuple[bool, str]:
    """Repeat a step that went wrong, and find its worst item and the first layer that is to blame.

    Args:
        loss: denoiser and objective, as they were before the step.
        parts: what the step was made with.

    Returns:
        Whether a layer was found, and a phrase with the noise level and the layer.
    """
    found: list[str] = []
    times: list[Tensor] = []
    hooks = [loss.denoiser.register_forward_pre_hook(lambda _, given: times.append(latest(given[1])))]
    hooks += [layer.register_forward_hook(_watch(name, found)) for name, layer in _innermost(loss)]
    losses: list[Tensor] = []
    try:
        with torch.compiler.set_stance("force_eager"):  # compiled layers call no hooks
            for part in parts:
                losses.append(loss(part.index, part.x0, part.condition, part.source))
                losses[-1].mean().backward()
    finally:
        for hook in hooks:
            hook.remove()
        loss.zero_grad(set_to_none=True)
    values = torch.cat(losses).detach()
    t = torch.cat(times)[torch.where(torch.isfinite(values), values, math.inf).argmax()]
    level = loss.denoiser.process.level(t)
    said = f", level {float(level):.3g}" if isinstance(level, Tensor) else ""
    where = f"first in {found[0]}" if found else "in no layer when the step was repeated"
    return bool(found), f"at t = {float(t):.3g}{said}, {where}"


def _innermost(loss: Loss) -> Iterator[tuple[str, nn.Module]]:
    for name, layer in loss.named_modules():
        if not list(layer.children()):
            yield name.removeprefix("denoiser."), layer


def _watch(name: str, found: list[str]) -> Callable[[nn.Module, Any, Any], None]:
    """A hook that notes the layer when its output, or the gradient with respect to it, is not finite."""

    def check(tensor: Tensor, what: str) -> None:
        if not bool(torch.isfinite(tensor).all()):
            found.append(f"the {what} of layer {name}")

    def forward(_: nn.Module, given: Any, output: Any) -> None:
        for tensor in _tensors(output):
            check(tensor, "output")
            if tensor.requires_grad:
                tensor.register_hook(lambda gradient: check(gradient, "gradient"))

    return forward


def _tensors(output: Any) -> Iterator[Tensor]:
    """The tensors in what a layer gives."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict | list | tuple):
        for part in output.values() if isinstance(output, dict) else output:
            yield from _tensors(part)
