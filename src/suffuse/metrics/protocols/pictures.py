"""What is measured of pictures and of videos."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from suffuse.clips import Clip
from suffuse.metrics import clips, grids, images
from suffuse.metrics.bootstrap import mean_interval
from suffuse.metrics.protocols.base import COPIES, Figure, Protocol, Samples


class OfPictures(Protocol):
    """Distance in the features of a judge, and whether pictures are copies."""

    def figures(self, samples: Samples) -> list[Figure]:
        """See the class."""
        like = samples.synthetic[0]
        real, made, known = (images.states(part, like) for part in (samples.real, samples.synthetic, samples.training))
        judge = images.judge_of(known, samples.labels)
        eyes = "a network of random weights" if samples.labels is None else "a classifier of the real ones"
        figures = [
            Figure(
                "Frechet distance",
                images.frechet(real, made, judge),
                images.frechet(real, known, judge),
                f"of the features of {eyes}; lower is better",
            )
        ]
        if samples.labels is not None and samples.told is not None:
            right, best = (images.accuracy(part, samples.told, samples.labels, judge) for part in (made, real))
            figures.append(
                Figure("accuracy", right, best, "of the class asked for, by the classifier; higher is better")
            )
        if samples.trained_on:
            figures.append(Figure("nearer to training", images.nearest_share(known, real, made), None, COPIES))
        return figures


class OfVideos(Protocol):
    """Frames with those that follow them, waves of time and space, and frames that were left out."""

    def figures(self, samples: Samples) -> list[Figure]:
        """See the class."""
        like = samples.synthetic[0]
        real, made, known = (clips.states(part, like) for part in (samples.real, samples.synthetic, samples.training))
        judge = clips.judge_of(known, samples.labels)
        figures = [
            Figure(
                "Frechet distance",
                clips.frechet(real, made, judge),
                clips.frechet(real, known, judge),
                "of frames with the next, in the features of what tells how far frames are apart; lower is better",
            ),
            Figure(
                "spectrum error",
                grids.spectrum_error(real.numpy(), made.numpy()),
                grids.spectrum_error(real.numpy(), known.numpy()),
                "of the power of waves in time and space, in decibels; lower is better",
            ),
        ]
        if samples.trained_on:
            figures.append(Figure("nearer to training", images.nearest_share(known, real, made), None, COPIES))
        return figures

    def holes(self, real: Sequence[Any]) -> Sequence[Any]:
        """What stands in the middle and what comes last of the first so many clips; see ``clips.spans``."""
        return [_without(clip, *span) for span in clips.spans(len(real[0].frames)).values() for clip in real[:_HOLES]]

    def filled(self, real: Sequence[Any], draws: Sequence[Sequence[Any]]) -> list[Figure]:
        """See the class."""
        truth = clips.states(real[:_HOLES], draws[0][0])
        means = torch.stack([clips.states(each, draws[0][0]) for each in draws]).mean(0).split(len(truth))
        figures: list[Figure] = []
        for (name, (first, last)), mean in zip(clips.spans(truth.shape[2]).items(), means, strict=True):
            plain = clips.blended(truth, first, last)
            found, beside = (clips.psnr(state[:, :, first:last], truth[:, :, first:last]) for state in (mean, plain))
            note = f"dB, of the mean of {len(draws)} draws; the reference {_PLAIN[name]}; higher is better"
            figures.append(Figure(f"PSNR {name}", mean_interval(found.numpy()), mean_interval(beside.numpy()), note))
        return figures


_HOLES = 16
_PLAIN = {"in between": "blends what is before and behind", "next": "repeats the last frame"}


def _without(clip: Clip, first: int, last: int) -> Clip:
    """A clip in which some frames are not known."""
    places = np.arange(len(clip.frames))
    return replace(clip, known=(places < first) | (places >= last))
