"""How far histograms are apart."""

import numpy as np

from suffuse.metrics.bootstrap import Interval, Rows, bootstrap


def bits(p: np.ndarray) -> float:
    """Entropy of a distribution in bits."""
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum())


def jensen_shannon(a: np.ndarray, b: np.ndarray) -> float:
    r"""Jensen-Shannon divergence of two histograms, in bits, in [0, 1].

    .. math:: \tfrac12 KL(p \,\|\, m) + \tfrac12 KL(q \,\|\, m), \qquad m = \tfrac12 (p + q).

    Source: "Divergence Measures Based on the Shannon Entropy" (Lin, 1991).

    Example:
        >>> jensen_shannon(np.array([1, 3]), np.array([2, 6])), jensen_shannon(np.array([1, 0]), np.array([0, 5]))
        (0.0, 1.0)
    """
    p, q = (counts / counts.sum() for counts in (a, b))
    return max(0.0, bits((p + q) / 2) - (bits(p) + bits(q)) / 2)


def divergence(real: np.ndarray, other: np.ndarray) -> Interval:
    """The same of the counts of two collections of items, (N, K) and (M, K)."""

    def apart(a: Rows, b: Rows) -> float:
        return jensen_shannon(_total(real, a), _total(other, b))

    return bootstrap(apart, [len(real), len(other)], least=0.0)


def nearer(real: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> Interval:
    """By how much counts of real items, (N, K), are further from theirs than from ours: above 0, ours are nearer.

    The real items are resampled for both at once.
    """

    def gain(a: Rows, b: Rows, c: Rows) -> float:
        known = _total(real, a)
        return jensen_shannon(known, _total(theirs, c)) - jensen_shannon(known, _total(ours, b))

    return bootstrap(gain, [len(real), len(ours), len(theirs)])


def _total(counts: np.ndarray, rows: Rows) -> np.ndarray:
    """(K,): sum of these rows, some of them several times over."""
    return np.bincount(rows, minlength=len(counts)) @ counts
