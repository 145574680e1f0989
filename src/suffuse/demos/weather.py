"""A century to come under two scenarios: temperature fields by year, from a few stations, and of the next year."""

import json
import tempfile
import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from suffuse import learn
from suffuse.data.fields import NEXT, FieldSource, of_dataset
from suffuse.demos.fetch import fetch
from suffuse.demos.regression import regression
from suffuse.errors import UserError
from suffuse.fields import Fields
from suffuse.maps import maps
from suffuse.metrics.fields import rmse, spectrum_ratio, spread_over_error
from suffuse.metrics.series import covered, crps
from suffuse.model import Model
from suffuse.operators import Mask
from suffuse.pictures import save_png
from suffuse.progress import Progress
from suffuse.recipes.recipe import DataSection, NetworkSection, ObjectiveSection, Recipe, SamplingSection
from suffuse.training.config import TrainingConfig

_PACKAGE = ("iris-sample-data", "2.5.2", "39d45283bf9e7bff6067bffa635fa189b6c4dd47608840d087bfa639399f4656")
_SCENARIOS = ("E1", "A1B")
_NAME = "air_temperature"
_FIRST, _APART = 1860, 140
"""The first year, and how many years both scenarios have in common."""
_STATIONS, _NOISE = 0.02, 0.2
"""Share of the places that have one, and the deviation of their noise, in kelvin."""
_RESTORED, _DRAWS = 12, 16
_NEXT_DRAWS, _STEPS = 8, 30
_IMAGES, _NEXT_IMAGES = 6_000, 3_000


def weather(out: Path, minutes: float | None = None, seed: int = 0) -> None:
    """Yearly temperatures of North America, 1860 to 2099, by a climate model: some minutes on two CPU cores."""
    if find_spec("sklearn") is None:
        raise UserError("this demo's baselines come with scikit-learn: pip install 'suffuse[demo]'")
    years = {name: _years(name) for name in _SCENARIOS}
    known, unknown = _once(years, held_out=False), _once(years, held_out=True)
    model = learn.train(of_dataset(known, out.name), _recipe(minutes, seed, _IMAGES, alone=True), out)
    after = next_year(years, out / "next", minutes, seed)
    stations, shown = reconstructed(model, known, unknown, seed)
    report = {"scenarios": drawn(model, unknown, seed), "stations": stations, "the next year": after}
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    save_png(shown, out / "stations.png")
    told = {"year": [1885, 2045, 2085, 2085] * 2, "scenario": ["history", "E1", "E1", "A1B"] * 2}
    titles = [f"{scenario} {year}" for scenario, year in zip(told["scenario"], told["year"], strict=True)]
    save_png(maps([_anomaly(item, known) for item in model.generate(8, condition=told)], titles), out / "drawn.png")
    print(table(report))
    print(f"pictures: {out}/stations.png, {out}/drawn.png, {out}/loss.png; figures: {out}/report.json")


def _recipe(minutes: float | None, seed: int, images: int, alone: bool) -> Recipe:
    return Recipe(
        data=DataSection(kind="field" if alone else NEXT, condition=("scenario", "year")),
        network=NetworkSection(width=48, multipliers=(1, 2), blocks=1, patch=4, network_dropout=0.1),
        objective=ObjectiveSection(time_law="uniform", condition_dropout=0.2),
        sampling=SamplingSection(sampling_steps=12),
        training=TrainingConfig(
            batch=8,
            learning_rate=2e-3,
            held_out=0.04,
            evaluate_every=None if minutes else images / 2,
            sample_every=None if minutes else images,
            images=None if minutes else images,
            minutes=None if minutes is None else minutes / 2,
            seed=seed,
        ),
    )


def _years(scenario: str) -> Fields:
    """(time, latitude, longitude), a field for each year (Met Office; UK Open Government Licence)."""
    import xarray

    with zipfile.ZipFile(fetch(*_PACKAGE)) as wheel, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{scenario}.nc"
        file.write_bytes(wheel.read(f"iris_sample_data/sample_data/{scenario}_north_america.nc"))
        with xarray.open_dataset(file, decode_times=False, decode_timedelta=False) as opened:
            field = (
                opened[[_NAME]]
                .load()
                .drop_vars(["forecast_period", "forecast_reference_time", "height"], errors="ignore")
            )
    years = np.arange(_FIRST, _FIRST + field.sizes["time"])
    names = np.where(np.arange(len(years)) < _APART, "history", scenario)
    return field.assign_coords(time=years, year=("time", years), scenario=("time", names))


def _held_out(years: Any) -> np.ndarray:
    """Every fourth decade, from the third on."""
    return (years - _FIRST) // 10 % 4 == 2


def _once(years: dict[str, Fields], held_out: bool) -> Fields:
    """Each field once, along ``sample``: what both scenarios have in common, and then either."""
    import xarray

    first, second = (years[name].rename(time="sample").drop_vars("sample") for name in _SCENARIOS)
    both = xarray.concat([first, second.isel(sample=slice(_APART, None))], "sample")
    return both.isel(sample=_held_out(both["year"].values) == held_out)


def _anomaly(item: Fields, known: Fields) -> Fields:
    """Less the mean of each place."""
    return item.assign({_NAME: (item[_NAME] - known[_NAME].mean("sample")).assign_attrs(units="K")})


def _values(items: Sequence[Fields]) -> np.ndarray:
    return np.stack([item[_NAME].values.astype(float) for item in items])


def drawn(model: Model, unknown: Fields, seed: int) -> dict[str, Any]:
    """Fields drawn for the years and scenarios of the held-out ones: means over the continent, and waves."""
    told = {"year": unknown["year"].values.tolist(), "scenario": unknown["scenario"].values.tolist()}
    with Progress("drawing", unknown.sizes["sample"]) as progress:
        items = model.generate(unknown.sizes["sample"], condition=told, seed=seed, progress=progress.to)
    real, ours = unknown[_NAME].values.astype(float), _values(items)
    centre = real.mean(0)
    report: dict[str, Any] = {
        "power, worst band": round(spectrum_ratio((real - centre)[:, None], (ours - centre)[:, None]), 3)
    }
    decades = unknown["year"].values // 10 * 10
    for name, decade in sorted({*zip(told["scenario"], decades.tolist(), strict=True)}, key=lambda each: each[1]):
        rows = (unknown["scenario"].values == name) & (decades == decade)
        error = real[rows].mean((1, 2)).std() / rows.sum() ** 0.5
        report[f"{name} {decade}s"] = {
            "held out": round(float(real[rows].mean()), 2),
            "standard error": round(float(error), 2),
            "drawn": round(float(ours[rows].mean()), 2),
        }
    return report


def reconstructed(model: Model, known: Fields, unknown: Fields, seed: int) -> tuple[dict[str, Any], Any]:
    """Held-out fields from stations with noise, beside kriging, cubic interpolation and a Gaussian."""
    rng = np.random.default_rng(seed)
    some = np.sort(rng.choice(unknown.sizes["sample"], _RESTORED, replace=False))
    truth = unknown[_NAME].values[some].astype(float)
    places = rng.permutation(truth[0].size)[: round(_STATIONS * truth[0].size)]
    seen = truth.reshape(len(truth), -1)[:, places] + _NOISE * rng.normal(size=(len(truth), len(places)))
    training = known[_NAME].values.astype(float)
    draws = _restored(model, truth, seen, places)
    ways = {"suffuse": draws, "kriging": _kriged(training, seen, places), "cubic": _cubic(training, seen, places)[None]}
    ways["Gaussian of the training fields"] = _gaussian(training, seen, places, rng)
    report = {name: _judged(way, truth) for name, way in ways.items()}
    flat = np.full(truth[0].size, np.nan)
    flat[places] = (seen[0] - training.mean(0).ravel()[places])[: len(places)]
    rows = [flat.reshape(truth[0].shape), *(each - training.mean(0) for each in
            (truth[0], draws[:, 0].mean(0), draws[0, 0], draws[1, 0], ways["kriging"].mean(0)[0]))]  # fmt: skip
    like = known.isel(sample=0)
    items = [like.assign({_NAME: (like[_NAME].dims, row, {"units": "K, from the mean"})}) for row in rows]
    return report, maps(items, ["stations", "held out", "mean of draws", "a draw", "another", "kriging"])


def _restored(model: Model, truth: np.ndarray, seen: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(N, B, H, W): draws."""
    mask = torch.zeros(1, *truth[0].shape, dtype=torch.bool)
    mask.view(-1)[torch.from_numpy(places)] = True
    codec: Any = model.codec
    (variable,) = codec.variables
    draws: list[np.ndarray] = []
    with Progress("restoring", len(truth)) as progress:
        for number, values in enumerate(seen, 1):
            field = np.array(np.broadcast_to(variable.mean, truth[0].shape))
            field.ravel()[places] = values
            y = torch.from_numpy(variable.encode(field)).float()[None, None]
            noise = _NOISE / variable.deviation
            restored = model.restore(y, Mask(mask), noise, _DRAWS, steps=_STEPS, seed=1000 * number)
            draws.append(_values(restored.draws))
            progress.to(number, len(truth))
    return np.stack(draws, 1)


def _points(shape: Sequence[int]) -> np.ndarray:
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, len(shape)).astype(float)


def _kriged(training: np.ndarray, seen: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Mean and draws by a Gaussian process on what differs from the mean, its lengths fitted to training fields."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    mean, points = training.mean(0), _points(training[0].shape)
    rng = np.random.default_rng(0)
    some, fields = rng.choice(len(points), 150, replace=False), rng.choice(len(training), 16, replace=False)
    anomalies = (training - mean).reshape(len(training), -1)
    kernel = ConstantKernel(1.0) + ConstantKernel(1.0) * Matern(10.0, nu=1.5) + WhiteKernel(_NOISE**2)
    fitted = GaussianProcessRegressor(kernel).fit(points[some], anomalies[fields][:, some].T)
    unfitted: Any = None
    process = GaussianProcessRegressor(fitted.kernel_, optimizer=unfitted)
    process.fit(points[places], (seen - mean.ravel()[places]).T)
    middle, deviation = process.predict(points, return_std=True)
    deviation = np.asarray(deviation).reshape(len(points), -1)[:, :1]
    noise = np.random.default_rng(1).normal(size=(200, *np.asarray(middle).shape))
    return (middle + deviation * noise).transpose(0, 2, 1).reshape(200, len(seen), *mean.shape) + mean


def _cubic(training: np.ndarray, seen: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Of what differs from the mean; beyond the outermost stations as at the nearest."""
    from scipy.interpolate import griddata

    mean, points = training.mean(0), _points(training[0].shape)
    values = (seen - mean.ravel()[places]).T
    cubic, nearest = (griddata(points[places], values, points, method) for method in ("cubic", "nearest"))
    return np.where(np.isnan(cubic), nearest, cubic).T.reshape(len(seen), *mean.shape) + mean


def _gaussian(training: np.ndarray, seen: np.ndarray, places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws of the posterior under the mean and the covariance of the training fields."""
    flat = training.reshape(len(training), -1)
    mean, count = flat.mean(0), 200
    root = (flat - mean).T / len(flat) ** 0.5  # the covariance is this times its transposed
    own = root[places]
    gain = root @ own.T @ np.linalg.inv(own @ own.T + _NOISE**2 * np.eye(len(places)))
    prior = rng.normal(size=(count, root.shape[1])) @ root.T
    told = prior[:, places] + _NOISE * rng.normal(size=(count, len(places)))
    middle = mean + (seen - mean[places]) @ gain.T
    return (middle + (prior - told @ gain.T)[:, None]).reshape(count, len(seen), *training[0].shape)


def _judged(draws: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Error of the mean; of several draws, how far they know it."""
    figures: dict[str, Any] = {"error of the mean, K": [round(x, 3) for x in vars(rmse(draws.mean(0), truth)).values()]}
    if len(draws) > 1:
        figures["90% intervals cover"] = round(float(covered(draws, truth).mean()), 3)
        figures["spread over error"] = round(spread_over_error(draws, truth).value, 3)
        figures["CRPS, K"] = round(float(crps(draws, truth).mean()), 3)
    return figures


def next_year(years: dict[str, Fields], out: Path, minutes: float | None, seed: int) -> dict[str, Any]:
    """What the next year is like, given this one: beside this one, and a regression by the same network."""
    parts, pairs = [], list[tuple[Fields, Fields]]()
    for name, each in years.items():
        kept = ~_held_out(each["year"].values)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], kept, [0]])))
        for begin, end in edges.reshape(-1, 2):
            parts += [of_dataset(each.isel(time=slice(begin, end)), f"{name}-{_FIRST + begin}").parts[0]]
        pairs += [
            (each.isel(time=place), each.isel(time=place + 1))
            for place in np.flatnonzero(~kept[1:]).tolist()
            if name == _SCENARIOS[0] or place + 1 >= _APART
        ]
    source = FieldSource("years", parts, kind=NEXT)
    model = learn.train(source, _recipe(minutes, seed, _NEXT_IMAGES, alone=False), out)
    guess = regression(source, model, out / "regression")
    before, after = [a for a, _ in pairs], _values([b for _, b in pairs])
    with Progress("drawing", 2) as progress:
        drawn = model.translate(before, draws=_NEXT_DRAWS, seed=seed, progress=progress.to)
    draws = _values(drawn).reshape(len(pairs), _NEXT_DRAWS, *after[0].shape).swapaxes(0, 1)
    report: dict[str, Any] = {"suffuse": _judged(draws, after)}
    report["regression"] = _judged(_values(guess.translate(before, steps=1, sampler="ddim"))[None], after)
    report["this year again"] = _judged(_values(before)[None], after)
    return report


def table(report: dict[str, Any]) -> str:
    """The figures as lines."""
    lines = [f"{'from stations at 2% of the places':<36}{'error, K':>10}{'90% cover':>11}{'CRPS, K':>9}"]
    for part in ("stations", "the next year"):
        lines += ["the next year"] if part != "stations" else []
        for name, each in report[part].items():
            share, score = each.get("90% intervals cover"), each.get("CRPS, K")
            lines.append(f"  {name:<34}{each['error of the mean, K'][0]:>10.3f}"
                         + (f"{share:>11.1%}{score:>9.3f}" if share is not None else ""))  # fmt: skip
    lines.append(f"{'mean of a decade, K':<36}{'held out':>10}{'drawn':>11}")
    for name, each in report["scenarios"].items():
        if isinstance(each, dict):
            lines.append(f"  {name:<34}{each['held out']:>10.2f}{each['drawn']:>11.2f}")
    ratio = report["stations"]["suffuse"]["spread over error"], report["the next year"]["suffuse"]["spread over error"]
    return "\n".join([*lines, f"spread over error: {ratio[0]} from stations, {ratio[1]} of the next year"])
