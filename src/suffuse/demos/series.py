"""A model of the weather, hour by hour: days that are to come, with their odds, beside baselines."""

import io
import json
import warnings
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from suffuse import learn
from suffuse.data.rows import of_frame
from suffuse.data.series import series_of
from suffuse.demos.fetch import fetch
from suffuse.errors import UserError
from suffuse.metrics.series import absolute_scaled_error, covered, crps, mean_of_windows
from suffuse.model import Model
from suffuse.plots import new_figure
from suffuse.progress import Progress
from suffuse.recipes.recipe import DataSection, Recipe
from suffuse.training.config import TrainingConfig

_PACKAGE = ("pvlib", "0.16.1", "4e61b5228a13f782413d7cf8cc48eb6e62e7bf55d155958fa9fd72420b63603d")
_COLUMNS = {"Dry-bulb (C)": "temperature", "Dew-point (C)": "dew point", "Pressure (mbar)": "pressure",
            "Wspd (m/s)": "wind"}  # fmt: skip
CHANNELS = list(_COLUMNS.values())
_LENGTH, DAY, _TRAINED, _DRAWS = 96, 24, 22, 50
_PAST = 21 * DAY
"""Hours that the baseline looks back."""


@dataclass(frozen=True)
class Forecasts:
    """What was forecast of each day.

    Args:
        draws: (N, B, H, C).
        name: of the way.
    """

    name: str
    draws: np.ndarray


def series(out: Path, minutes: float | None = None, seed: int = 0) -> None:
    """A year of temperature, dew point, pressure and wind of Greensboro: four minutes of training on two CPU cores."""
    if find_spec("statsmodels") is None:
        raise UserError("this demo's baseline comes with statsmodels: pip install 'suffuse[demo]'")
    weather = year()
    rows = of_frame(weather[weather["time"].dt.day <= _TRAINED], "weather")
    source = series_of(rows, asked=True)
    assert source is not None
    recipe = Recipe(
        data=DataSection(length=_LENGTH),
        training=TrainingConfig(batch=64, learning_rate=1e-3, minutes=minutes or 4.0, seed=seed),
    )
    model = learn.train(source, recipe, out)
    months = [month.reset_index(drop=True) for _, month in weather.groupby("month", sort=False)]
    days = [(month, hour) for month in months for hour in range((_TRAINED + 1) * DAY, len(month) - DAY + 1, DAY)]
    truth = np.stack([month[CHANNELS].to_numpy()[hour : hour + DAY] for month, hour in days])
    ways = [ours(model, days, seed), last_days(months, days), sarimax(months, days, seed)]
    report = {way.name: judged(way, truth, days) for way in ways}
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    draw(days, ways[0], out / "forecasts.png")
    print(said(report))
    print(f"pictures: {out}/forecasts.png, {out}/samples.png; figures: {out}/report.json")


def year() -> Any:
    """Hours of a typical year, each month of it as it was in one of 1976 to 2005 (TMY3, NREL)."""
    import pandas as pd

    with zipfile.ZipFile(fetch(*_PACKAGE)) as wheel:
        table = pd.read_csv(io.BytesIO(wheel.read("pvlib/data/723170TYA.CSV")), skiprows=1)
    day: Any = pd.to_datetime(table["Date (MM/DD/YYYY)"], format="%m/%d/%Y")
    time = day + pd.to_timedelta(table["Time (HH:MM)"].str[:2].astype(int), unit="h") - pd.Timedelta("1h")
    weather = pd.DataFrame({"time": time, "month": time.dt.strftime("%B")})
    return weather.assign(**{name: table[column].astype(float) for column, name in _COLUMNS.items()})


def ours(model: Model, days: list[tuple[Any, int]], seed: int) -> Forecasts:
    """Draws of the next day, given the three days before."""
    windows: list[Any] = []
    for month, hour in days:
        window = month.iloc[hour + DAY - _LENGTH : hour + DAY].drop(columns="month").reset_index(drop=True)
        window.loc[_LENGTH - DAY :, CHANNELS] = np.nan
        windows += [window] * _DRAWS
    with Progress("forecasting", len(windows)) as progress:
        filled = model.infill(windows, seed=seed, progress=progress.to)
    values = np.stack([each[CHANNELS].to_numpy()[-DAY:] for each in filled])
    return Forecasts("suffuse", values.reshape(len(days), _DRAWS, DAY, -1).swapaxes(0, 1))


def last_days(months: list[Any], days: list[tuple[Any, int]]) -> Forecasts:
    """The day before, with how all days differed from the days before them in training."""
    steps: list[np.ndarray] = []
    for month in months:
        whole = month[CHANNELS].to_numpy()[: _TRAINED * DAY].reshape(_TRAINED, DAY, -1)
        steps.append(np.diff(whole, axis=0))
    before = np.stack([month[CHANNELS].to_numpy()[hour - DAY : hour] for month, hour in days])
    return Forecasts("the day before (seasonal naive)", before + np.concatenate(steps)[:, None])


def sarimax(months: list[Any], days: list[tuple[Any, int]], seed: int) -> Forecasts:
    """ARMA(2, 1) with two harmonics of the day, fitted to each month and channel, by statsmodels."""
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    def harmonics(first: int, count: int) -> np.ndarray:
        angle = 2 * np.pi / DAY * np.arange(first, first + count)[:, None] * np.array([1, 2])
        return np.concatenate([np.sin(angle), np.cos(angle)], 1)

    noise = np.random.default_rng(seed).standard_normal((_DRAWS, len(days), DAY, len(CHANNELS)))
    draws = np.empty_like(noise)
    fits: dict[tuple[int, str], Any] = {}
    with warnings.catch_warnings(), Progress("fitting the baseline", len(days)) as progress:
        warnings.simplefilter("ignore")
        for number, (month, hour) in enumerate(days):
            for place, name in enumerate(CHANNELS):
                values = month[name].to_numpy()
                key = id(month), name
                if key not in fits:
                    model = SARIMAX(
                        values[: _TRAINED * DAY], exog=harmonics(0, _TRAINED * DAY), order=(2, 0, 1), trend="c"
                    )
                    fits[key] = model.fit(disp=False, maxiter=100)
                fitted: Any = fits[key].apply(values[hour - _PAST : hour], exog=harmonics(hour - _PAST, _PAST))
                ahead: Any = fitted.get_forecast(DAY, exog=harmonics(hour, DAY))
                deviation = np.sqrt(ahead.var_pred_mean)
                draws[:, number, :, place] = ahead.predicted_mean + deviation * noise[:, number, :, place]
            progress.to(number + 1, len(days))
    return Forecasts("ARMA and harmonics (statsmodels)", draws)


def judged(way: Forecasts, truth: np.ndarray, days: list[tuple[Any, int]]) -> dict[str, Any]:
    """Means over days, with the ends of their intervals of confidence; CRPS in deviations of each channel."""
    scale = np.concatenate([month[CHANNELS].to_numpy() for month in {id(m): m for m, _ in days}.values()]).std(0)
    past = np.stack([month[CHANNELS].to_numpy()[hour - 3 * DAY : hour] for month, hour in days])
    middle = np.median(way.draws, 0)
    scaled = [
        absolute_scaled_error(middle[..., place], truth[..., place], past[..., place], DAY)
        for place in range(len(CHANNELS))
    ]
    scores, inside = crps(way.draws, truth) / scale, covered(way.draws, truth).astype(float)
    figures = {
        "CRPS": mean_of_windows(scores),
        "coverage of 90%": mean_of_windows(inside),
        "MASE": mean_of_windows(np.stack(scaled, 1)),
    }
    channels = dict(zip(CHANNELS, scores.mean((0, 1)).round(4).tolist(), strict=True))
    return {name: [round(x, 4) for x in (f.value, f.low, f.high)] for name, f in figures.items()} | {
        "CRPS of": channels
    }


def draw(days: list[tuple[Any, int]], way: Forecasts, file: Path) -> None:
    """Fans of the temperature of eight days, and of the pressure, over what came."""
    figure = new_figure(15, 7)
    panels = figure.subplots(4, 4)
    chosen = [len(days) * place // 8 for place in range(8)]
    for row, name in ((0, "temperature"), (2, "pressure")):
        place = CHANNELS.index(name)
        for panel, number in zip(panels[row : row + 2].flatten(), chosen, strict=True):
            month, hour = days[number]
            seen = month[name].to_numpy()[hour - 3 * DAY : hour + DAY]
            ahead = np.arange(DAY)
            for share, shade in ((0.9, 0.2), (0.5, 0.35)):
                low, high = np.quantile(way.draws[:, number, :, place], [(1 - share) / 2, (1 + share) / 2], 0)
                panel.fill_between(ahead, low, high, color="C0", alpha=shade, linewidth=0)
            panel.plot(ahead, np.median(way.draws[:, number, :, place], 0), color="C0", linewidth=1)
            panel.plot(np.arange(-3 * DAY, DAY), seen, color="black", linewidth=0.9)
            panel.set_title(f"{name}, {month['time'].iloc[hour]:%d %B}", fontsize=9)
    figure.savefig(file, dpi=80)


def said(report: dict[str, Any]) -> str:
    """A table of the ways."""
    lines = [f"{'a day ahead, hour by hour, by':<36}{'CRPS':>8}{'MASE':>8}{'90% intervals cover':>21}"]
    lines += [
        f"{name:<36}{each['CRPS'][0]:>8.4f}{each['MASE'][0]:>8.3f}{each['coverage of 90%'][0]:>21.1%}"
        for name, each in report.items()
    ]
    return "\n".join(lines)
