"""Which part of an item that is longer than a state is filled next."""

import numpy as np

_PAST = 4
"""Of a window with a gap that is longer than the rest of it, one place in so many is told."""


def window_of_gap(known: np.ndarray, length: int) -> slice:
    """The window around the first gap: what is before it and, where it fits, as much behind it.

    Args:
        known: (T,) bool, T at least the length.
        length: of a window.

    Example:
        >>> window_of_gap(np.array([True] * 6 + [False] * 2 + [True] * 6), 6)
        slice(4, 10, None)
    """
    first = int((~known).argmax())
    behind = np.flatnonzero(known[first:])
    gap = int(behind[0]) if len(behind) else len(known) - first
    past = length - gap
    if len(behind):
        past = (past + 1) // 2
    past = max(past, length // _PAST, 1)
    begin = min(max(first - past, 0), len(known) - length)
    return slice(begin, begin + length)
