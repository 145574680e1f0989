"""Exact laws that the tests of walks, losses and guidance stand on, and a test that two samples have one law."""

import math

import torch
from scipy import stats

import suffuse as sf
from suffuse.schedules import SCHEDULES, Schedule, Tabulated

F64 = torch.float64


def schedule(name: str) -> Schedule:
    return Tabulated.linear() if name == "tabulated" else SCHEDULES[name]()


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=F64)


def three() -> sf.exact.GaussianMixture:
    return sf.exact.GaussianMixture(
        torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.0, 1.0]], dtype=F64), numbers(0.3, 0.4, 0.2), numbers(0.5, 0.3, 0.2)
    )


def same_law(a: torch.Tensor, b: torch.Tensor) -> float:
    """Least p-value of two-sample tests of mean, variance and shape, over the elements; Bonferroni-corrected."""
    values = []
    for x, y in zip(a.reshape(len(a), -1).T.numpy(), b.reshape(len(b), -1).T.numpy(), strict=True):
        values += [stats.ttest_ind(x, y).pvalue, stats.ks_2samp(x, y).pvalue]
        ratio = math.log(x.var() / y.var())
        kurtosis = stats.kurtosis(x, fisher=False)
        values.append(2 * stats.norm.sf(abs(ratio) / math.sqrt((kurtosis - 1) * (1 / len(x) + 1 / len(y)))))
    return min(values) * len(values)
