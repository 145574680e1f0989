"""Speech: recorded prompts, freed from noise, mended and widened, beside what needs no learning."""

import io
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from suffuse import learn
from suffuse.data.sounds import SoundSource, SoundTrack
from suffuse.demos.enhancement import by_wiener, cubic, interpolated, tuned
from suffuse.demos.fetch import fetch_debian, members
from suffuse.errors import UserError
from suffuse.metrics.bootstrap import mean_interval
from suffuse.metrics.sounds import decibels, log_spectral_distance, si_sdr
from suffuse.model import Model
from suffuse.outputs import labelled
from suffuse.pictures import save_png
from suffuse.progress import Progress
from suffuse.recipes.recipe import DataSection, NetworkSection, ObjectiveSection, Recipe
from suffuse.sounds import Sound, portraits, soundfile, write_sound
from suffuse.training.config import TrainingConfig

_SOUNDS = (
    "asterisk-core-sounds-en-wav", "1.6.1-1", "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d",
)  # fmt: skip
_TEXTS = ("asterisk-core-sounds-en", "1.6.1-1", "973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50")
_EIGHTH = 8
"""One prompt in so many is held out."""
_SHORTEST, _LONGEST = 0.8, 4.0
"""Seconds of prompts that something is measured on."""
_TEST, _TUNED = 32, 16
"""Prompts that are measured on, and those of the others that baselines are tuned on."""
_RATIO = 5.0
"""Decibels of speech over noise."""
_GAP = 0.05
"""Seconds that are missing."""
_BAND = 0.475
"""Of the frequencies up to half the rate, those that half the rate keeps, less what its filter takes."""
_IMAGES, _STEPS, _DRAWS, _WIDENED = 32_000, 20, 32, 8


def speech(out: Path, minutes: float | None = None, seed: int = 0) -> None:
    """Prompts that one speaker recorded, at 8 kHz; every eighth is held out."""
    if find_spec("scipy") is None:
        raise UserError("this demo's baselines need SciPy: pip install 'suffuse[demo]'")
    spoken = prompts()
    known = [each for place, each in enumerate(spoken) if place % _EIGHTH]
    held_out = [sound for _, _, sound in spoken[::_EIGHTH] if _SHORTEST <= sound.seconds <= _LONGEST][:_TEST]
    model = learn.train(source_of(known), recipe_of(minutes, seed), out)
    tuning = [sound for _, _, sound in known if _SHORTEST <= sound.seconds <= _LONGEST][:: len(known) // _TUNED]
    report: dict[str, Any] = {}
    shown: list[dict[str, Sound]] = []
    with Progress("mending", 3 * len(held_out)) as progress:
        for task in (denoised, mended, widened):
            name, figures, examples = task(model, held_out, tuning, seed, progress)
            report[name] = figures
            shown.append(examples)
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    show(shown, out)
    print(said(report))
    print(f"to hear: {out}/heard/; to look at: {out}/mended.png; figures: {out}/report.json")


def prompts() -> list[tuple[str, str, Sound]]:
    """Name, transcript and sound of what one speaker was recorded to say; without what is no speech."""
    lines = next(content for name, content in members(fetch_debian(*_TEXTS)) if name.endswith("core-sounds-en.txt.gz"))
    texts = dict(line.split(": ", 1) for line in zlib.decompress(lines, 31).decode().splitlines() if ": " in line)
    found: list[tuple[str, str, Sound]] = []
    for path, content in sorted(members(fetch_debian(*_SOUNDS))):
        name = path.partition("en_US_f_Allison/")[2].removesuffix(".wav")
        if path.endswith(".wav") and not texts.get(name, "[").startswith(("[", "(")):
            samples, rate = soundfile().read(io.BytesIO(content), dtype="float32", always_2d=True)
            found.append((name, texts[name], Sound(np.ascontiguousarray(samples.T), rate)))
    return found


def source_of(spoken: Sequence[tuple[str, str, Sound]]) -> SoundSource:
    """The prompts as a source, with their transcripts."""
    tracks = [SoundTrack(sound, name) for name, _, sound in spoken]
    return SoundSource("prompts", tracks, {"text": [text for _, text, _ in spoken]})


def recipe_of(minutes: float | None, seed: int) -> Recipe:
    """A small network over time."""
    budget: dict[str, Any] = {"images": _IMAGES} if minutes is None else {"minutes": minutes}
    return Recipe(
        data=DataSection(kind="audio"),
        network=NetworkSection(width=128, multipliers=(1, 1, 1), blocks=1),
        objective=ObjectiveSection(given=0.3),
        training=TrainingConfig(batch=16, learning_rate=3e-3, seed=seed, save_every=3, **budget),
    )


Task = tuple[str, dict[str, dict[str, list[float]]], dict[str, Sound]]
"""Name of a task; of each way, figures with the ends of their intervals of confidence; and one prompt, by each way."""


def denoised(model: Model, sounds: list[Sound], tuning: list[Sound], seed: int, progress: Progress) -> Task:
    """White noise taken away, beside Wiener's filter."""

    def gain(size: int, memory: float, least: float) -> float:
        pairs = [(sound, *noisy(sound, seed + place)) for place, sound in enumerate(tuning)]
        return float(np.mean([
            si_sdr(by_wiener(y, deviation, size, memory, least), sound.samples[0]) for sound, y, deviation in pairs
        ]))  # fmt: skip

    choices = [
        (size, memory, least) for size in (128, 256, 512) for memory in (0.9, 0.94, 0.98) for least in (0.0, 0.05)
    ]
    filtered = partial(_called, by_wiener, tuned(gain, choices))
    ways: dict[str, list[list[float]]] = {"suffuse": [], "Wiener's filter": []}
    examples: dict[str, Sound] = {}
    for place, sound in enumerate(sounds):
        truth, (y, deviation) = sound.samples[0], noisy(sound, seed + 1000 + place)
        measured = replace(sound, samples=y[None])
        ours = model.restore(measured, "denoise", deviation, 1, steps=2, seed=seed).mean
        theirs = filtered(y, deviation).astype(np.float32)
        before = si_sdr(y, truth)
        for way, made in (("suffuse", ours.samples[0]), ("Wiener's filter", theirs)):
            ways[way].append([si_sdr(made, truth) - before, log_spectral_distance(made, truth, sound.rate)])
        examples = examples or {"noisy": measured, "Wiener": replace(sound, samples=theirs[None]), "suffuse": ours,
                                "truth": sound}  # fmt: skip
        progress.to(place + 1, 3 * len(sounds))
    return "white noise at 5 dB", _figures(ways, ("SI-SDR gain", "LSD")), examples


def noisy(sound: Sound, seed: int) -> tuple[np.ndarray, float]:
    """The samples (T,) under white noise, and its deviation."""
    samples = sound.samples[0]
    deviation = float(np.sqrt(np.square(samples).mean() / 10 ** (_RATIO / 10)))
    noise = np.random.default_rng(seed).standard_normal(len(samples)).astype(np.float32)
    return samples + deviation * noise, deviation


def _called(function: Callable[..., np.ndarray], choice: Sequence[Any], *given: Any) -> np.ndarray:
    return function(*given, *choice)


def mended(model: Model, sounds: list[Sound], tuning: list[Sound], seed: int, progress: Progress) -> Task:
    """A gap in each prompt filled, beside linear prediction; measured in the gap."""
    rng = np.random.default_rng(seed)

    def near(order: int) -> float:
        rng = np.random.default_rng(seed)
        spans = [(sound, *gap(sound, rng)) for sound in tuning]
        return float(np.mean([
            decibels(*_apart(interpolated(sound.samples[0], first, last, order), sound.samples[0], first, last))
            for sound, first, last in spans
        ]))  # fmt: skip

    (order,) = tuned(near, [(order,) for order in (16, 32, 64, 128)])
    ways: dict[str, list[list[float]]] = {"suffuse, one draw": [], "suffuse, mean": [], "linear prediction": []}
    examples: dict[str, Sound] = {}
    for place, sound in enumerate(sounds):
        truth, (first, last) = sound.samples[0], gap(sound, rng)
        hollow = model.codec.hollowed(sound, first / sound.rate, last / sound.rate)
        draws = model.infill([hollow] * _DRAWS, steps=_STEPS, seed=seed)
        theirs = interpolated(truth, first, last, order)
        made = {"suffuse, one draw": draws[0].samples[0], "suffuse, mean": model.codec.together(draws).samples[0]}
        for way, samples in {**made, "linear prediction": theirs}.items():
            around = slice(first - 64, last + 64)
            distance = log_spectral_distance(samples[around], truth[around], sound.rate)
            ways[way].append([decibels(*_apart(samples, truth, first, last)), distance])
        silent = np.where(hollow.known, truth, 0.0).astype(np.float32)
        examples = examples or {"with a gap": replace(sound, samples=silent[None]), "linear prediction":
                                replace(sound, samples=theirs[None]), "suffuse": draws[0], "truth": sound}  # fmt: skip
        progress.to(len(sounds) + place + 1, 3 * len(sounds))
    return "a gap of 50 ms", _figures(ways, ("SNR", "LSD")), examples


def gap(sound: Sound, rng: np.random.Generator) -> tuple[int, int]:
    """Where a gap begins and ends: anywhere it is not silent, a tenth of a second from both ends."""
    size, edge = round(_GAP * sound.rate), round(0.1 * sound.rate)
    power = np.convolve(np.square(sound.samples[0]), np.ones(size), "valid")
    places = np.flatnonzero(power > power.max() / 10)
    places = places[(places >= edge) & (places + size <= sound.length - edge)]
    first = int(rng.choice(places))
    return first, first + size


def _apart(made: np.ndarray, truth: np.ndarray, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    return truth[first:last], made[first:last] - truth[first:last]


def widened(model: Model, sounds: list[Sound], tuning: list[Sound], seed: int, progress: Progress) -> Task:
    """Prompts at half their rate brought back to it, beside a cubic spline."""
    del tuning
    names = ("suffuse, one draw", "suffuse, mean", "cubic spline")
    ways: dict[str, list[list[float]]] = {name: [] for name in names}
    examples: dict[str, Sound] = {}
    for place, sound in enumerate(sounds):
        truth, low = sound.samples[0], sound.at(sound.rate // 2)
        restored = model.restore(low, f"band-limit:{_BAND}", 0.0, _WIDENED, steps=2 * _STEPS, method="ddnm", seed=seed)
        ours = restored.draws[0]
        theirs = cubic(low.samples[0], 2, len(truth)).astype(np.float32)
        made = {"suffuse, one draw": ours.samples[0], "suffuse, mean": restored.mean.samples[0]}
        for way, samples in {**made, "cubic spline": theirs}.items():
            ways[way].append([log_spectral_distance(samples[: len(truth)], truth, sound.rate)])
        examples = examples or {"at 4 kHz": low, "cubic spline": replace(sound, samples=theirs[None]),
                                "suffuse": ours, "truth": sound}  # fmt: skip
        progress.to(2 * len(sounds) + place + 1, 3 * len(sounds))
    return "from 4 to 8 kHz", _figures(ways, ("LSD",)), examples


def _figures(ways: dict[str, list[list[float]]], names: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """Means over the prompts."""
    said: dict[str, dict[str, list[float]]] = {}
    for way, rows in ways.items():
        means = [mean_interval(column) for column in np.array(rows).T]
        said[way] = {
            name: [round(x, 2) for x in (mean.value, mean.low, mean.high)]
            for name, mean in zip(names, means, strict=True)
        }
    return said


def show(examples: Sequence[dict[str, Sound]], out: Path) -> None:
    """One prompt of each task as sound, and all of them as pictures."""
    (out / "heard").mkdir(exist_ok=True)
    pictures: dict[str, Image.Image] = {}
    for number, ways in enumerate(examples, 1):
        for way, sound in ways.items():
            write_sound(sound, out / "heard" / f"{number} {way}.wav", ".wav")
            pictures[f"{number} {way}"] = portraits([sound])
    save_png(labelled(pictures, columns=4, widest=320), out / "mended.png")


def said(report: dict[str, Any]) -> str:
    """A table of tasks and ways."""
    lines: list[str] = []
    for task, ways in report.items():
        names = list(next(iter(ways.values())))
        lines.append(f"{task:<36}" + "".join(f"{name + ', dB':>28}" for name in names))
        for way, figures in ways.items():
            each = [f"{value:.2f} ({low:.2f} to {high:.2f})" for value, low, high in figures.values()]
            lines.append(f"  {way:<34}" + "".join(f"{figure:>28}" for figure in each))
    return "\n".join(lines)
