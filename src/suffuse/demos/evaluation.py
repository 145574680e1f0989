"""How well a class-conditional model of small pictures did, judged by classifiers of the real ones."""

from dataclasses import dataclass

import torch
from torch import Tensor

from suffuse.metrics.frechet import frechet_distance, nearest_distance
from suffuse.metrics.judge import Judge, train_judge
from suffuse.model import Model

SETS, JUDGES = 5, 2


@dataclass(frozen=True)
class Digits:
    """Real pictures of ten classes: (N, 1, S, S) in [-1, 1] with labels, to train on and to test with."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class Figures:
    """Means over the judges of one set of pictures."""

    accuracy: float
    frechet: float
    nearest: float


def judges(data: Digits, epochs: int) -> list[Judge]:
    """Classifiers of several seeds, trained on the real training pictures."""
    return [train_judge(data.train, data.train_labels, seed, epochs) for seed in range(JUDGES)]


@torch.no_grad()
def measure(images: Tensor, labels: Tensor, data: Digits, panel: list[Judge]) -> Figures:
    """Accuracy, distance in features to the training pictures, and mean distance to the nearest of them."""
    accuracy = [float((judge(images).argmax(1) == labels).float().mean()) for judge in panel]
    frechet = [frechet_distance(judge.features(images), judge.features(data.train)) for judge in panel]
    return Figures(sum(accuracy) / len(panel), sum(frechet) / len(panel), nearest_distance(images, data.train))


def gaussian_baseline(data: Digits) -> tuple[Tensor, Tensor]:
    """One Gaussian per class, as many samples as test pictures: what needs no learning."""
    generator = torch.Generator().manual_seed(0)
    images = torch.empty_like(data.test)
    for label in data.test_labels.unique():
        rows, mine = data.test_labels == label, data.train[data.train_labels == label].flatten(1).double()
        root = torch.linalg.cholesky(torch.cov(mine.T) + 1e-4 * torch.eye(mine.shape[1], dtype=torch.float64))
        noise = torch.randn(int(rows.sum()), mine.shape[1], generator=generator, dtype=torch.float64)
        images[rows] = (mine.mean(0) + noise @ root.T).float().clamp(-1, 1).reshape(-1, *data.test.shape[1:])
    return images, data.test_labels


def generated(model: Model, n: int = 500, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw n samples of all classes in turn, as states."""
    labels = [str(i % 10) for i in range(n)]
    images = model.generate(n, condition=labels, seed=seed)
    state = model.codec.encode(images)
    assert isinstance(state, Tensor)
    return state, torch.tensor([int(label) for label in labels])


def mean_figures(figures: list[Figures]) -> Figures:
    """Mean of each figure."""
    columns = zip(*(vars(each).values() for each in figures), strict=True)
    return Figures(*(sum(column) / len(figures) for column in columns))
