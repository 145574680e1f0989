"""States as trees: a tensor with a leading batch axis, or a mapping of states.

Every function here treats a tensor as a tree of one leaf, so that the code above never asks which of the two it holds.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

State: TypeAlias = Tensor | Mapping[str, "State"]
Shape: TypeAlias = tuple[int, ...] | Mapping[str, "Shape"]
"""Of one item of a state, without the batch axis."""
S = TypeVar("S", bound=State)
"""The kind of state that a process or a posterior is over."""
Condition: TypeAlias = Mapping[str, Tensor] | None

PRESENT = "/present"
"""Suffix of the entry of a condition that says, as a (B,) bool, which items have it."""


def map_leaves(function: Callable[..., Any], *trees: Any) -> Any:
    """Apply a function leaf by leaf to trees of one shape.

    Example:
        >>> map_leaves(lambda a, b: a + b, {"x": torch.tensor(1)}, {"x": torch.tensor(2)})
        {'x': tensor(3)}
    """
    if isinstance(trees[0], Mapping):
        return {name: map_leaves(function, *(tree[name] for tree in trees)) for name in trees[0]}
    return function(*trees)


def leaves(state: State) -> Iterator[Tensor]:
    """Walk over the tensors of a state, in the order of its mappings."""
    if isinstance(state, Mapping):
        for child in state.values():
            yield from leaves(child)
    else:
        yield state


def batch_size(state: State) -> int:
    """Length of the leading axis, shared by all leaves."""
    return next(leaves(state)).shape[0]


def device(state: State) -> torch.device:
    """Device of the state (of its first leaf)."""
    return next(leaves(state)).device


def empty(shape: Shape, n: int, device: torch.device | None = None) -> State:
    """A state of n items of this shape, whose values do not matter.

    Example:
        >>> empty({"x": (2, 3), "kind": ()}, 5)["kind"].shape
        torch.Size([5])
    """
    if isinstance(shape, Mapping):
        return {name: empty(part, n, device) for name, part in shape.items()}
    return torch.empty(n, *shape, device=device)


def expand(t: Tensor, like: Tensor, trailing: int = 0) -> Tensor:
    """Append axes of length one to a prefix-shaped tensor until it broadcasts against ``like``.

    Args:
        t: tensor whose shape is a prefix of ``like.shape``: ``()``, ``(B,)``, ``(B, L)``.
        like: tensor to broadcast against.
        trailing: further axes to append, for instance 1 for a vocabulary behind a token.

    Example:
        >>> expand(torch.zeros(4), torch.zeros(4, 3, 8, 8)).shape
        torch.Size([4, 1, 1, 1])
    """
    if t.ndim == 0:
        return t
    return t.reshape(t.shape + (1,) * (like.ndim - t.ndim + trailing))


def latest(t: Any) -> Tensor:
    """The latest of the times of each item: of shape ``()`` or ``(B,)``, whatever the times' own.

    Example:
        >>> latest({"x": torch.tensor([[0.0, 0.5], [0.2, 0.0]]), "y": torch.tensor([0.1, 0.1])})
        tensor([0.5000, 0.2000])
    """
    if isinstance(t, Mapping):
        return torch.stack(torch.broadcast_tensors(*map(latest, t.values()))).amax(0)
    t = torch.as_tensor(t)
    return t.flatten(1).amax(1) if t.ndim > 1 else t


def clean_where(given: State, t: Tensor | float) -> State:
    """Times of every element: 0 where it is given, and t, of shape ``()`` or ``(B,)``, elsewhere."""
    t = torch.as_tensor(t, dtype=torch.float64, device=device(given)).expand(batch_size(given))

    def times(clean: Tensor) -> Tensor:
        return expand(t, clean).expand_as(clean).masked_fill(clean, 0.0)

    return map_leaves(times, given)


def at_least_float32(state: S) -> S:
    """The state, with half-precision leaves in float32: the arithmetic of a walk needs its digits."""
    return map_leaves(lambda x: x.float() if x.dtype in (torch.bfloat16, torch.float16) else x, state)


def sum_per_item(state: State) -> Tensor:
    """Sum everything but the batch axis, over all leaves: shape ``(B,)``."""
    return torch.stack([leaf.flatten(1).sum(1) if leaf.ndim > 1 else leaf for leaf in leaves(state)]).sum(0)


def mean_per_item(state: State) -> Tensor:
    """Mean over all elements of all leaves but for the batch axis: shape ``(B,)``."""
    return sum_per_item(state) / sum(leaf[0].numel() for leaf in leaves(state))


def without(condition: Condition, names: set[str] | None = None, keep: Tensor | None = None) -> Condition:
    """Take conditions away from some or all items, by their ``/present`` masks.

    Args:
        condition: mapping of names to (B, ...) tensors, or None.
        names: which conditions to take away; None means all.
        keep: (B,) bool of the items that keep theirs; None means that nobody does.

    Example:
        >>> without({"label": torch.tensor([3, 4])}, keep=torch.tensor([True, False]))["label/present"]
        tensor([ True, False])
    """
    if condition is None:
        return None
    result = dict(condition)
    for name in value_names(condition):
        if names is None or name in names:
            kept = torch.zeros(1, dtype=torch.bool) if keep is None else keep
            result[name + PRESENT] = presence(condition, name) & kept.to(condition[name].device)
    return result


def of_items(condition: Condition, items: Tensor) -> Condition:
    """The conditions of some of the items of a batch."""
    return condition and {name: value[items] for name, value in condition.items()}


def value_names(condition: Mapping[str, Tensor]) -> list[str]:
    """Names of the conditions, without their masks."""
    return [name for name in condition if not name.endswith(PRESENT)]


def presence(condition: Mapping[str, Tensor], name: str) -> Tensor:
    """(B,) bool: which items have the condition. A condition without a mask is there for all."""
    value = condition[name]
    mask = condition.get(name + PRESENT)
    return torch.ones(value.shape[0], dtype=torch.bool, device=value.device) if mask is None else mask


def concatenate(states: list[Any]) -> Any:
    """Join states (or conditions) along the batch axis."""
    return map_leaves(lambda *parts: torch.cat(parts), *states)
