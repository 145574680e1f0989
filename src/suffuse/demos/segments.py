"""What is where in a picture: label maps drawn by a masked process, beside the same network by cross-entropy."""

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from suffuse import learn
from suffuse.codecs.segments import SegmentCodec
from suffuse.data.pairs import PairSource
from suffuse.data.report import Report
from suffuse.data.sources import ArraySource
from suffuse.demos.fetch import fetch
from suffuse.demos.handwritten import mnist_pictures
from suffuse.demos.regression import regression
from suffuse.metrics.segments import calibration, mean_iou
from suffuse.model import Model
from suffuse.outputs import labelled
from suffuse.pictures import save_png
from suffuse.recipes.recipe import DataSection, NetworkSection, Recipe
from suffuse.training.config import TrainingConfig
from suffuse.translating import odds

_SKIMAGE = (
    "scikit-image",
    "0.25.2",
    "24cc986e1f4187a12aa319f777b36008764e856e5013666a4a83f8df083c2641",
    "311",
    "manylinux_2_17_x86_64",
)
_TEXTURES = ("brick", "grass", "gravel")
_SIZE, _DIGIT = 32, 20
"""Sides of a picture and of the digit on it, in pixels."""
_TRAINING, _TEST, _DRAWS = 12_000, 200, 16
_HELD_OUT = 500
"""Digits that only test pictures have; of the textures it is their right quarter."""
_IMAGES = 48_000
_INK, _CONTRAST, _GRAIN = 0.4, 90.0, 15.0
"""Of a digit's own grey: from there on it is ink. In levels of 256: how much lighter ink is, and the noise."""
_SHOWN = 5


@dataclass(frozen=True)
class Scenes:
    """A digit on two textures that meet at a line.

    Args:
        pictures: (N, H, W) uint8.
        labels: (N, H, W) int64: the number of the texture, or one more than the last for ink.
    """

    pictures: np.ndarray
    labels: np.ndarray

    @property
    def maps(self) -> np.ndarray:
        """(N, H, W, 3) uint8: a colour for each class."""
        return _COLOURS[self.labels]


_COLOURS = np.array([(120, 60, 40), (60, 130, 60), (130, 130, 140), (255, 220, 60)], np.uint8)
"""Of brick, grass and gravel, and of ink."""


def segments(out: Path, minutes: float | None = None, seed: int = 0) -> None:
    """Brick, grass, gravel and real handwriting told apart, pixel by pixel: eight minutes of a CPU core."""
    train, test = (_scenes(n, held_out) for n, held_out in ((_TRAINING, False), (_TEST, True)))
    places = [(place, place) for place in range(_TRAINING)]
    source = PairSource(
        out.name,
        ArraySource(train.pictures),
        ArraySource(train.maps),
        places,
        Report(out.name, len(places)),
        kind="segments",
    )
    recipe = Recipe(
        data=DataSection(kind="segments", size=_SIZE, channels=1),
        network=NetworkSection(width=32, multipliers=(1, 2, 2), blocks=1, patch=2),
        training=TrainingConfig(
            batch=64,
            learning_rate=2e-3,
            precision="bf16",
            held_out=0.02,
            images=None if minutes else _IMAGES,
            minutes=minutes,
            seed=seed,
        ),
    )
    model = learn.train(source, recipe, out)
    plain = regression(source, model, out / "cross-entropy")
    pictures, truth = [Image.fromarray(each) for each in test.pictures], _states(model, test)
    plain_odds, own_odds = odds(plain, pictures), odds(model, pictures)
    written, maps = model.translate(pictures), model.translate(pictures, draws=_DRAWS, seed=_TEST)
    answers, draws = (model.codec.encode(each) for each in (written, maps))
    assert isinstance(answers, Tensor)
    assert isinstance(draws, Tensor)
    draws = draws.unflatten(0, (_TEST, _DRAWS))
    assert isinstance(model.codec, SegmentCodec)
    shares = torch.nn.functional.one_hot(draws, model.codec.vocabulary).float().mean(1)
    report = {
        "cross-entropy": _figures(plain_odds.argmax(-1), plain_odds, truth),
        "diffusion": _figures(answers, own_odds, truth),
        "diffusion, a draw": _figures(draws[:, 0], None, truth),
        f"diffusion, commonest of {_DRAWS}": _figures(shares.argmax(-1), shares, truth),
        "brick everywhere": _figures(torch.ones_like(truth), None, truth),
    }
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    save_png(_shown(model, test, (plain_odds, own_odds), maps), out / "segments.png")
    print(_table(report))
    print(f"pictures: {out}/segments.png, {out}/loss.png; figures: {out}/report.json")


def _scenes(n: int, held_out: bool) -> Scenes:
    """Pictures of parts of two photographs, with a digit."""
    images, _ = mnist_pictures()
    order = np.random.default_rng(0).permutation(len(images))
    some = order[:_HELD_OUT] if held_out else order[_HELD_OUT:]
    photographs = _photographs()
    rng = np.random.default_rng(2 if held_out else 1)
    pictures, maps = np.zeros((n, _SIZE, _SIZE), np.uint8), np.zeros((n, _SIZE, _SIZE), np.int64)
    for picture, found in zip(pictures, maps, strict=True):
        one, other = rng.permutation(len(photographs))[:2]
        side = _half(rng)
        light = np.where(side, *(_ground(photographs[each], held_out, rng) for each in (one, other)))
        found[:] = np.where(side, one, other)
        digit = Image.fromarray(images[some[rng.integers(len(some))]])
        grey = np.asarray(digit.resize((_DIGIT, _DIGIT), Image.Resampling.BOX)) / 255
        top, left = rng.integers(_SIZE - _DIGIT + 1, size=2)
        box = np.s_[top : top + _DIGIT, left : left + _DIGIT]
        light[box] += _CONTRAST * grey
        found[box] = np.where(grey > _INK, len(photographs), found[box])
        picture[:] = (light + rng.normal(0, _GRAIN, light.shape)).clip(0, 255)
    return Scenes(pictures, maps)


def _half(rng: np.random.Generator) -> np.ndarray:
    """(H, W): which pixels are on one side of a line near the middle."""
    angle, middle = rng.uniform(0, 2 * np.pi), _SIZE / 2 + rng.uniform(-_SIZE / 4, _SIZE / 4, 2)
    down, along = np.mgrid[:_SIZE, :_SIZE]
    return (down - middle[0]) * np.sin(angle) + (along - middle[1]) * np.cos(angle) > 0


def _photographs() -> list[np.ndarray]:
    """At half of their size."""
    with zipfile.ZipFile(fetch(*_SKIMAGE)) as wheel:
        files = [io.BytesIO(wheel.read(f"skimage/data/{name}.png")) for name in _TEXTURES]
    return [np.asarray(Image.open(file).convert("L").reduce(2), np.float64) for file in files]


def _ground(photograph: np.ndarray, held_out: bool, rng: np.random.Generator) -> np.ndarray:
    """A part of the left three quarters of a photograph, or of the right one."""
    height, width = photograph.shape
    edge = width * 3 // 4
    left = rng.integers(edge, width - _SIZE + 1) if held_out else rng.integers(edge - _SIZE + 1)
    top = rng.integers(height - _SIZE + 1)
    return photograph[top : top + _SIZE, left : left + _SIZE].copy()


def _states(model: Model, scenes: Scenes) -> Tensor:
    state = model.codec.encode([Image.fromarray(each) for each in scenes.maps])
    assert isinstance(state, Tensor)
    return state


def _figures(found: Tensor, odds: Tensor | None, truth: Tensor) -> dict[str, float | None]:
    return {
        "mean IoU": round(mean_iou(found, truth), 4),
        "accuracy": round(float((found == truth).float().mean()), 4),
        "calibration error": None if odds is None else round(calibration(odds, truth), 4),
    }


def _shown(model: Model, test: Scenes, odds_of: tuple[Tensor, Tensor], maps: list[Any]) -> Image.Image:
    """A row each: the picture, what is there, both answers, draws, and where they differ."""
    shown: dict[str, Image.Image] = {}
    answers = [model.codec.decode(each[:_SHOWN].argmax(-1)) for each in odds_of]
    for row, (plain, own) in enumerate(zip(*answers, strict=True)):
        each = maps[row * _DRAWS : (row + 1) * _DRAWS]
        summed = model.codec.summaries(each)
        images = {
            "picture": Image.fromarray(test.pictures[row]),
            "truth": Image.fromarray(test.maps[row]),
            "cross-entropy": plain,
            "diffusion": own,
            "draw 1": each[0],
            "draw 2": each[1],
            "draw 3": each[2],
            "uncertainty": summed["uncertainty"],
        }
        shown |= {f"{name}{' ' * row}": image for name, image in images.items()}
    return labelled(shown, columns=8)


def _table(report: dict[str, dict[str, float | None]]) -> str:
    lines = [f"{'':<28}{'mean IoU':>12}{'accuracy':>12}{'calibration':>14}"]
    for name, row in report.items():
        iou, accuracy, error = row.values()
        lines.append(f"{name:<28}{iou:>12.2%}{accuracy:>12.2%}{'' if error is None else f'{error:.4f}':>14}")
    lines += [
        f"{_TEST} pictures whose digits and textures were not trained on; mean IoU: over three textures and ink;",
        "calibration: mean difference of what is said of the likeliest class and how often it is so; less is better",
    ]
    return "\n".join(lines)
