"""How like real pictures others are, in the features of a small network."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suffuse.codecs.image import ImageCodec
from suffuse.metrics.bootstrap import Interval, bootstrap, mean_interval, nearer_share
from suffuse.metrics.frechet import frechet_distance
from suffuse.metrics.judge import Judge, train_judge

_EPOCHS = 20


def states(pictures: Sequence[Any], like: Any) -> Tensor:
    """Pictures as (N, C, H, W) in [-1, 1], of the size and mode of another."""
    channels = {"L": 1, "RGBA": 4}.get(like.mode, 3)
    codec = ImageCodec((like.height, like.width), 1 if channels == 1 else 4 if channels == 4 else 3)
    return codec.unpack(codec.pack(pictures))


def judge_of(images: Tensor, labels: Sequence[Any] | None, seed: int = 0) -> Judge:
    """A network to look with: a classifier of these pictures, or one of fixed random weights, where nobody labels them.

    Args:
        images: (N, C, H, W) in [-1, 1].
        labels: of each picture.
        seed: of the weights.
    """
    if labels is not None:
        return train_judge(images, _places(labels, labels), seed, _EPOCHS)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Judge(images.shape[1], 1, images.shape[-1]).eval()


def _places(labels: Sequence[Any], known: Sequence[Any]) -> Tensor:
    """Places of labels among those known, in the order in which these first come; -1 for others."""
    places = {label: place for place, label in enumerate(dict.fromkeys(known))}
    return torch.tensor([places.get(label, -1) for label in labels])


@torch.no_grad()
def accuracy(pictures: Tensor, told: Sequence[Any], labels: Sequence[Any], judge: Judge) -> Interval:
    """Share of pictures that a judge of these labels finds to be what they were told to be."""
    right = judge(pictures).argmax(1) == _places(told, labels)
    return mean_interval(right.double().numpy())


@torch.no_grad()
def frechet(real: Tensor, other: Tensor, judge: Judge) -> Interval:
    """Frechet distance of two collections (N, C, H, W) in the features of a judge; see ``frechet_distance``."""
    ours, theirs = judge.features(real), judge.features(other)

    def between(a: np.ndarray, b: np.ndarray) -> float:
        return frechet_distance(ours[torch.from_numpy(a)], theirs[torch.from_numpy(b)])

    return bootstrap(between, [len(ours), len(theirs)], rounds=50, least=0.0)


def nearest_share(training: Tensor, held_out: Tensor, other: Tensor, seed: int = 0) -> Interval:
    """Share of pictures that are nearer to a training one than to any held-out one, pixel by pixel: half, if none is
    copied. Of the larger collection as many are taken as the other has.
    """
    size, rng = min(len(training), len(held_out)), np.random.default_rng(seed)
    chosen = [part[torch.from_numpy(rng.permutation(len(part))[:size])] for part in (training, held_out)]
    near, far = (torch.cdist(other.flatten(1), part.flatten(1)).numpy() for part in chosen)
    return nearer_share(near, far)
