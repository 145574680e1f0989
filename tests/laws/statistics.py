"""Is a sample drawn from a law? One function, and the planted faults that it must reject."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from suffuse.exact import GaussianMixture

N = 120_000
"""Size of a statistical sample: a variance 3% too large is then 7 standard errors off, a shift of 2% is 6.9."""
LEAST = 1e-4
"""A p-value below this rejects."""

Truth = GaussianMixture | Tensor | Mapping[str, Any]
"""A closed-form law: of (d,) vectors, of one token by its probabilities, or of independent leaves."""


def p_values(sample: Any, truth: Truth) -> Iterator[float]:
    """Of all tests of a sample against its law, the cheap ones first."""
    if isinstance(truth, Mapping):
        for name, law in truth.items():
            yield from p_values(sample[name], law)
        yield from _independent(sample)
    else:
        yield from _continuous(sample, truth) if isinstance(truth, GaussianMixture) else _tokens(sample, truth)


def accepts(sample: Any, truth: Truth) -> bool:
    """Whether no test rejects that the sample has this law."""
    return all(p > LEAST for p in p_values(sample, truth))


def assert_law(sample: Any, truth: Truth) -> None:
    """The sample has this law, and would not if it were a little wrong."""
    assert accepts(sample, truth), list(p_values(sample, truth))
    for fault, wrong in planted(sample, truth):
        assert not accepts(wrong, truth), f"not sharp enough to see: {fault}"


def planted(sample: Any, truth: Truth) -> Iterator[tuple[str, Any]]:
    """Samples that are a little wrong."""
    if isinstance(truth, Mapping):
        for name, law in truth.items():
            for fault, wrong in planted(sample[name], law):
                yield f"{name}: {fault}", {**sample, name: wrong}
    elif isinstance(truth, GaussianMixture):
        mean, std = moments(truth)
        yield "variance x 1.03", mean + (sample - mean) * 1.03**0.5
        yield "mean + 2% of the deviation", sample + 0.02 * std
    else:
        often = int(truth.argmax())
        rows = (sample == often).nonzero()[:, 0]
        wrong = sample.clone()
        wrong[rows[: round(0.03 * len(rows))]] = (often + 1) % len(truth)
        yield "3% of the most frequent value moved to the next", wrong


def moments(law: GaussianMixture) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every element."""
    weights = law.weights[:, None]
    mean = (weights * law.means).sum(0)
    return mean, (weights * (law.variances + (law.means - mean) ** 2)).sum(0).sqrt()


def cdf(law: GaussianMixture, x: Tensor) -> Tensor:
    """Distribution function of every element, for (n, d) points."""
    z = (x[:, None] - law.means) / law.variances.sqrt()
    return (law.weights[:, None] * torch.special.ndtr(z)).sum(1)


def zero_mean(values: Tensor) -> float:
    """Two-sided p-value that independent values have mean zero."""
    values = values.double()
    return float(2 * stats.norm.sf(abs(values.mean()) / (values.std() / len(values) ** 0.5)))


def _continuous(x: Tensor, law: GaussianMixture) -> Iterator[float]:
    x = x.double()
    mean, std = moments(law)
    centred = (x - mean) / std
    for i in range(x.shape[1]):
        yield zero_mean(centred[:, i])
        yield zero_mean(centred[:, i] ** 2 - 1)
        for j in range(i):  # components of a mixture differ in all elements together
            shared = (law.weights * ((law.means - mean) / std)[:, i] * ((law.means - mean) / std)[:, j]).sum()
            yield zero_mean(centred[:, i] * centred[:, j] - shared)
    for below in cdf(law, x).T:
        yield float(stats.kstest(below.numpy(), "uniform").pvalue)


def _tokens(x: Tensor, probabilities: Tensor) -> Iterator[float]:
    counts = x.flatten().bincount(minlength=len(probabilities)).double()
    possible = probabilities > 0
    if counts[~possible].sum() > 0:
        yield 0.0
    elif possible.sum() == 1:
        yield 1.0
    else:
        yield float(stats.chisquare(counts[possible], counts.sum() * probabilities[possible]).pvalue)


def _independent(sample: Mapping[str, Tensor]) -> Iterator[float]:
    """Leaves are independent: contingency of every two, reals by the sign of their difference from the median."""
    classes = [leaf[:, 0] > leaf[:, 0].median() if leaf.is_floating_point() else leaf[:, 0] for leaf in sample.values()]
    for i, a in enumerate(classes):
        for b in classes[:i]:
            table = torch.stack([b[a == value].long().bincount(minlength=int(b.max()) + 1) for value in a.unique()])
            table = table[:, table.sum(0) > 0]
            yield float(stats.chi2_contingency(table.numpy()).pvalue) if min(table.shape) > 1 else 1.0


def energy_distance(x: Tensor, y: Tensor) -> float:
    r"""Of two (n,) samples of one size, :math:`2 \int (F - G)^2`, by sorting."""
    both, order = torch.cat([x, y]).sort()
    sign = torch.ones(len(both), dtype=both.dtype)
    sign[order >= len(x)] = -1
    return float(2 * ((sign.cumsum(0)[:-1] / len(x)) ** 2 * both.diff()).sum())
