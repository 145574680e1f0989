"""Data of every kind, each in a file or a few, and a hardly trained model of each."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from PIL import Image

from suffuse.clips import Clip, write_mp4
from suffuse.learn import train
from suffuse.music import Piece
from suffuse.outputs import output_of
from suffuse.recipes.recipe import DataSection, NetworkSection, Recipe, SamplingSection
from suffuse.sounds import Sound, write_sound
from suffuse.training.config import TrainingConfig

_DATA: Mapping[str, tuple[str, dict[str, Any]]] = {
    "pictures": ("pictures", {"kind": "image", "size": 8, "channels": 3}),
    "clips": ("film.mp4", {"kind": "video", "length": 4, "size": 16}),
    "fields": ("waves.nc", {"kind": "field"}),
    "rows": ("rows.csv", {"kind": "table"}),
    "walks": ("walks.csv", {"kind": "series", "length": 16}),
    "words": ("words.txt", {"kind": "text", "length": 16}),
    "genes": ("genes.fasta", {"kind": "sequence", "length": 16}),
    "tones": ("tone.wav", {"kind": "audio", "length": 1024}),
    "tunes": ("tunes", {"kind": "music", "length": 16}),
}


def write_data(folder: Path) -> None:
    """A file, or a folder, for each kind."""
    rng = np.random.default_rng(0)
    folder.joinpath("pictures").mkdir()
    for number in range(8):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"pictures/{number}.png")
    rows = pd.DataFrame({"size": rng.normal(size=40).round(3), "colour": rng.choice(["red", "blue"], 40)})
    rows.to_csv(folder / "rows.csv", index=False)
    days = pd.date_range("2020-01-01", periods=120)
    pd.DataFrame({"day": days, "x": rng.normal(size=120).cumsum().round(3)}).to_csv(folder / "walks.csv", index=False)
    folder.joinpath("words.txt").write_text("the sun is up\nthe moon is low\n" * 20, encoding="utf-8")
    genes = (f">g{number}\n{''.join(rng.choice(list('ACGT'), 16))}\n" for number in range(20))
    folder.joinpath("genes.fasta").write_text("".join(genes), encoding="utf-8")
    write_mp4(Clip(rng.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8), Fraction(10)), folder / "film.mp4")
    tone = np.sin(np.arange(8000) / 5)[None].astype(np.float32)
    write_sound(Sound(tone, 8000), folder / "tone.wav", ".wav")
    waves = xr.Dataset(
        {"u": (("time", "y", "x"), rng.normal(size=(12, 8, 8)).astype(np.float32))},
        {"time": np.arange(12), "y": np.arange(8.0), "x": np.arange(8.0)},
    )
    waves.to_netcdf(folder / "waves.nc")
    tunes = [Piece(f"tune {n}", rng.integers(60, 72, (2, 32)).astype(np.uint8), ("high", "low")) for n in range(4)]
    for path, data in output_of("music").files(tunes, "tunes").items():
        if path.endswith(".mid"):
            folder.joinpath(path).parent.mkdir(exist_ok=True)
            folder.joinpath(path).write_bytes(data)


def train_each(data: Path, out: Path) -> Mapping[str, Path]:
    """A run folder for each kind, by name."""
    for name, (file, section) in _DATA.items():
        recipe = Recipe(
            data=DataSection(**section),
            network=NetworkSection(width=8, multipliers=(1, 1), blocks=1, depth=1),
            sampling=SamplingSection(sampling_steps=2),
            training=TrainingConfig(steps=2, batch=4, held_out=0.0),
        )
        train(data / file, recipe, out / name)
    return {name: out / name for name in _DATA}
