"""What comes next, and next, and next: items translated step by step, as an ensemble."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from suffuse.model import Model


def rollout(
    model: "Model",
    items: Sequence[Any],
    count: int,
    *,
    draws: int = 1,
    given: Callable[[int, Any], Mapping[str, Any]] | None = None,
    steps: int | None = None,
    seed: int = 0,
) -> Iterator[list[Any]]:
    """What comes after items, one step after the other; each draw goes on from its own.

    Args:
        model: that translates items to items of the same kind, such as one of the kind ``next-field``.
        items: to begin with.
        count: how many steps.
        draws: of each item: the members of its ensemble.
        given: called with (number of the step, item) before each step but the first: variables of the item that
            are not drawn but known, such as what drives it from outside; they are put into it.
        steps: evaluations of the network for each step; by default the recipe's.
        seed: of the first draw; each next one has a seed of its own.

    Yields:
        For each step the draws of the first item, then those of the second, and so on.

    Raises:
        UserError: the model translates nothing.
    """
    now = [item for item in items for _ in range(draws)]
    for number in range(count):
        if given is not None and number:
            now = [item.assign(given(number, item)) for item in now]
        now = model.translate(now, steps=steps, seed=seed + number * len(now))
        yield now
