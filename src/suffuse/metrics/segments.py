"""How good label maps are: what overlaps, and whether probabilities are so often right as they say."""

import torch
from torch import Tensor


def mean_iou(found: Tensor, truth: Tensor) -> float:
    r"""Mean over the classes that occur of :math:`\frac{|A \cap B|}{|A \cup B|}`, over all pixels of all pictures.

    Source: "The Pascal Visual Object Classes Challenge: A Retrospective" (Everingham, Eslami, Van Gool, Williams, Winn,
    Zisserman, 2015).

    Args:
        found: classes, int64.
        truth: what they should be, of the same shape.

    Example:
        >>> mean_iou(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 0, 1]))
        0.5833333333333333
    """
    shares: list[float] = []
    for each in truth.unique():
        ours, theirs = found == each, truth == each
        shares.append(float((ours & theirs).sum() / (ours | theirs).sum().double()))
    return sum(shares) / len(shares)


def calibration(odds: Tensor, truth: Tensor, bins: int = 10) -> float:
    r"""Expected calibration error of the likeliest class: :math:`\sum_b \tfrac{n_b}{n} |\text{accuracy}_b -
    \text{confidence}_b|`, over bins of equal width of the confidence.

    Source: "On Calibration of Modern Neural Networks" (Guo, Pleiss, Sun, Weinberger, 2017).

    Args:
        odds: (..., K) probabilities.
        truth: (...) classes.
        bins: how many.

    Example:
        >>> round(calibration(torch.tensor([[0.8, 0.2]] * 10), torch.tensor([0] * 7 + [1] * 3)), 4)
        0.1
    """
    confidence, found = odds.flatten(0, -2).double().max(-1)
    right = (found == truth.flatten()).double()
    place = (confidence * bins).long().clamp(max=bins - 1)
    gap = torch.zeros(bins, dtype=torch.float64).index_add(0, place, right - confidence)
    return float(gap.abs().sum() / len(right))
