"""Models of what comes next in a solver's fields, beside persistence and a regression by the same network."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suffuse import learn
from suffuse.codecs.changes import ChangeCodec
from suffuse.codecs.pictures import SOURCE
from suffuse.data.fields import NEXT, FieldSource, of_dataset
from suffuse.demos.regression import regression
from suffuse.demos.solvers import HEAT, REACTION, Problem, solved
from suffuse.fields import Fields
from suffuse.guidance import Observed
from suffuse.maps import maps
from suffuse.metrics.fields import residual, rmse, spectrum_ratio, spread_over_error
from suffuse.model import Model
from suffuse.operators import Function
from suffuse.pictures import save_png
from suffuse.progress import Progress
from suffuse.recipes.recipe import DataSection, NetworkSection, ObjectiveSection, Recipe, SamplingSection
from suffuse.rolling import rollout
from suffuse.samplers import sample
from suffuse.training.config import TrainingConfig

_TESTED, _FRAMES = 6, 56
"""Runs to test with, and states of each run."""
_AHEAD, _DRAWS, _ONE_STEP = 50, 4, 8
"""Steps of a rollout, its draws, and draws of a single step."""
_EVERY = 9
"""States of the test runs that single steps are taken from, one of so many."""
_SEVERAL = 3
"""Of these, one of so many is drawn with the equation as well."""
_SHOWN = (0, 9, 24, 49)


def heat(out: Path, minutes: float | None = None, seed: int = 0) -> None:
    """Heat in bodies of uneven conductivity, with sources that turn: some minutes on two CPU cores."""
    show(HEAT, out, minutes, seed)


def reaction(out: Path, minutes: float | None = None, seed: int = 0) -> None:
    """Gray and Scott's substances that react and spread: a quarter of an hour on two CPU cores."""
    show(REACTION, out, minutes, seed)


def show(problem: Problem, out: Path, minutes: float | None, seed: int) -> None:
    """Solve, train, draw what comes next, measure, and write it all into the run folder."""
    with Progress("solving", 2) as progress:
        train = solved(problem, problem.bodies, _FRAMES, 0)
        progress.to(1, 2)
        test = Runs(problem, solved(problem, _TESTED, _FRAMES, 1))
    source = of_dataset(train, out.name, NEXT)
    recipe = Recipe(
        data=DataSection(
            kind=NEXT, periodic=("y", "x"), target=",".join(problem.variables), condition=_numbers(source)
        ),
        network=NetworkSection(width=24, multipliers=(1, 2), blocks=1, attention=(), patch=1),
        objective=ObjectiveSection(condition_dropout=0.0, regression=problem.regression),
        sampling=SamplingSection(sampler=problem.sampler, sampling_steps=problem.steps),
        training=TrainingConfig(
            batch=8,
            learning_rate=2e-3,
            held_out=0.02,
            evaluate_every=None if minutes else problem.images / 3,
            sample_every=None if minutes else problem.images,
            images=None if minutes else problem.images,
            minutes=minutes,
            seed=seed,
        ),
    )
    model = learn.train(source, recipe, out)
    regressed = regression(source, model, out / "regression")
    report, shown = measured(model, regressed, test)
    out.joinpath("report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    save_png(shown, out / "rollout.png")
    print(table(report))
    print(f"pictures: {out}/rollout.png, {out}/loss.png; figures: {out}/report.json")


def _numbers(source: FieldSource) -> tuple[str, ...]:
    return tuple(name for name in source.fields if name not in ("time", "run"))


@dataclass(frozen=True)
class Runs:
    """Runs of a solver that were not trained on."""

    problem: Problem
    dataset: Fields

    def items(self, times: Sequence[int]) -> list[Fields]:
        """The states of all runs at these times, run by run."""
        return [self.dataset.isel(run=run, time=time) for run in range(_TESTED) for time in times]

    def given(self, number: int, item: Fields) -> dict[str, Any]:
        """What is told of a state that was drawn."""
        del number
        names = [n for n in self.dataset.data_vars if n not in self.problem.variables]
        moments = [n for n in names if "time" in self.dataset[n].dims]
        place = {
            "run": int(item["run"]),
            "time": int(np.abs(self.dataset["time"].values - float(item["time"])).argmin()),
        }
        return {name: self.dataset[name].isel(place).drop_vars(["time", "run"]) for name in moments}

    def values(self, items: Sequence[Fields]) -> np.ndarray:
        """(N, C, H, W)."""
        return np.stack([[item[name].values.astype(float) for name in self.problem.variables] for item in items])

    def told(self, items: Sequence[Fields]) -> dict[str, Tensor]:
        """What is given of these states, (N, 1, 1) or (N, H, W) by name."""
        names = [str(name) for name in self.dataset.data_vars if name not in self.problem.variables]
        values = {name: np.stack([item[name].values.astype(float) for item in items]) for name in names}
        given = {name: torch.from_numpy(array) for name, array in values.items()}
        return {name: each.reshape(-1, 1, 1) if each.ndim == 1 else each for name, each in given.items()}

    def residuals(self, before: Sequence[Fields], after: Sequence[Fields]) -> list[float]:
        """Root mean squares of the residual of each variable over a step."""
        given = self.told(before)
        first, second = (torch.from_numpy(self.values(items)) for items in (before, after))
        left = residual(first, second, lambda u: self.problem.rate(u, given), self.problem.step) * self.problem.step
        return [round(x, 6) for x in left.square().mean((0, 2, 3)).sqrt().tolist()]

    def lawful(self, model: Model, before: Sequence[Fields], noise: float, seed: int) -> list[Fields]:
        """Draws of what comes next that are told that the equation holds, but for noise in deviations of the change."""
        codec = model.codec
        assert isinstance(codec, ChangeCodec)
        present = torch.from_numpy(codec.fields.elements(before)).float()
        scale = torch.tensor([[[codec.scales[name]]] for name in codec.fields.names])
        given, start = {name: each.float() for name, each in self.told(before).items()}, _values(codec, present)
        unit = (_values(codec, present + scale) - start).square().mean((0, 2, 3), keepdim=True).sqrt()

        def left(x: Tensor) -> Tensor:
            after, step = _values(codec, present + scale * x), self.problem.step
            return residual(start, after, lambda u: self.problem.rate(u, given), step) * step / unit

        x1, told, rng = model.start(model.told_of(before, {SOURCE: before}), range(seed, seed + len(before)))
        assert isinstance(x1, Tensor)
        observed = Observed(model.denoiser, Function(left), torch.zeros_like(x1), noise, self.problem.method)
        sampler, times = model.solver(model.sampling.sampling_steps or 1, 1.0, model.sampling.sampler)
        state = sample(observed, sampler, x1, times, told, rng)
        return [codec.in_place_of(item, change) for item, change in zip(before, codec.decode(state), strict=True)]


def _values(codec: ChangeCodec, elements: Tensor) -> Tensor:
    """Fields (B, C, H, W) of their elements, as the codec decodes them, for derivatives."""
    pairs = zip(codec.fields.variables, elements.unbind(1), strict=True)
    moved = [(each, part * each.deviation + torch.tensor(each.mean).float()) for each, part in pairs]
    return torch.stack([part.exp() if each.logarithm else part for each, part in moved], 1)


def measured(model: Model, regressed: Model, test: Runs) -> tuple[dict[str, Any], Any]:
    """Figures, and pictures of one run."""
    now = range(0, _FRAMES - 1, _EVERY)
    before, after = test.items(now), test.items([time + 1 for time in now])
    truth, persistent = test.values(after), test.values(before)
    scale = persistent.std((0, 2, 3)).reshape(1, -1, 1, 1)
    with Progress("drawing", 2) as progress:
        drawn = model.translate(before, draws=_ONE_STEP, seed=1000, progress=progress.to)
    draws = test.values(drawn).reshape(len(before), _ONE_STEP, *truth.shape[1:]).swapaxes(0, 1)
    guessed = regressed.translate(before, steps=1, sampler="ddim")
    ways = {
        "persistence": persistent,
        "regression": test.values(guessed),
        "a draw": draws[0],
        f"mean of {_ONE_STEP} draws": draws.mean(0),
    }
    one_step = {name: rmse(found / scale, truth / scale) for name, found in ways.items()}
    report: dict[str, Any] = {
        "one step, error in deviations": {n: [round(x, 5) for x in vars(e).values()] for n, e in one_step.items()},
        "one step, spread over error": [round(x, 3) for x in vars(spread_over_error(draws, truth)).values()],
        "one step, residual over what changes": {
            "solver": test.residuals(before, after),
            "a draw": test.residuals(before, drawn[::_ONE_STEP]),
            "regression": test.residuals(before, guessed),
        },
    }
    report["one step, a draw that is told the equation"] = _told(model, test, before[::_SEVERAL], after[::_SEVERAL])
    ahead, shown = _ahead(model, regressed, test, scale)
    return report | {f"{_AHEAD} steps": ahead}, shown


def _told(model: Model, test: Runs, before: Sequence[Fields], after: Sequence[Fields]) -> dict[str, Any]:
    """Draws with and without the equation, which holds as far as it does for the solver's own states."""
    truth, start = test.values(after), test.values(before)
    scale = start.std((0, 2, 3)).reshape(1, -1, 1, 1)
    own = np.array(test.residuals(before, after)) / (truth - start).std((0, 2, 3))
    ways = {
        "a draw": model.translate(before, seed=1000),
        "told": test.lawful(model, before, float(own.mean()), 1000),
        "solver": after,
    }
    return {
        name: {"error": rmse(test.values(w) / scale, truth / scale).value, "residual": test.residuals(before, w)}
        for name, w in ways.items()
    }


def _ahead(model: Model, regressed: Model, test: Runs, scale: np.ndarray) -> tuple[dict[str, Any], Any]:
    """Rollouts of every test run, by draws and by the regression."""
    begin = test.items([0])
    ours, theirs = list[list[Fields]](), list[list[Fields]]()
    with Progress("rolling out", _AHEAD) as progress:
        for number, states in enumerate(rollout(model, begin, _AHEAD, draws=_DRAWS, given=test.given), 1):
            ours.append(states)
            progress.to(number, _AHEAD)
    now = begin
    for number in range(_AHEAD):
        now = [item.assign(test.given(number, item)) for item in now] if number else now
        now = regressed.translate(now, steps=1, sampler="ddim")
        theirs.append(now)
    figures: dict[str, Any] = {"finite": all(np.isfinite(test.values(states)).all() for states in ours)}
    for step in (10, 25, _AHEAD):
        truth = test.values(test.items([step]))
        states = test.values(ours[step - 1])
        draws = states.reshape(_TESTED, _DRAWS, *truth.shape[1:]).swapaxes(0, 1)
        figures[f"after {step}"] = {
            "error of the mean": round(rmse(draws.mean(0) / scale, truth / scale).value, 4),
            "error of the regression": round(rmse(test.values(theirs[step - 1]) / scale, truth / scale).value, 4),
            "error of the beginning": round(rmse(test.values(begin) / scale, truth / scale).value, 4),
            "spread over error": round(spread_over_error(draws, truth).value, 3),
            "power, worst band": round(spectrum_ratio(truth, states), 3),
            "power of the regression": round(spectrum_ratio(truth, test.values(theirs[step - 1])), 3),
        }
    last = [item.assign(test.given(_AHEAD - 1, item)) for item in ours[-2]]
    figures["residual over what changes, at the end"] = {
        "solver": test.residuals(test.items([_AHEAD - 1]), test.items([_AHEAD])),
        "draws": test.residuals(last, ours[-1]),
        "regression": test.residuals(
            [item.assign(test.given(_AHEAD - 1, item)) for item in theirs[-2]], theirs[-1]
        ),
    }  # fmt: skip
    seen = [test.dataset.isel(run=0, time=number + 1) for number in _SHOWN]
    rows = [*seen, *(ours[number][0] for number in _SHOWN), *(ours[number][1] for number in _SHOWN)]
    titles = [f"{name}, {number + 1}" for name in ("solver", "draw", "another") for number in _SHOWN]
    kept = [item[list(test.problem.variables)] for item in rows]
    return figures, maps(kept, titles)


def table(report: dict[str, Any]) -> str:
    """The figures as lines."""
    lines = [f"{'error of one step, in deviations of the fields':<52}{'':>10}"]
    lines += [f"  {name:<50}{each[0]:>10.5f}" for name, each in report["one step, error in deviations"].items()]
    lines += [f"{'spread over error of one step':<52}{report['one step, spread over error'][0]:>10.3f}"]
    for name, each in report["one step, residual over what changes"].items():
        lines += [f"  {'residual of one step: ' + name:<50}" + "".join(f"{x:>10.5f}" for x in each)]
    for name, each in report["one step, a draw that is told the equation"].items():
        lines += [f"  {'the equation told, some states: ' + name:<50}{each['error']:>10.5f}"
                  + "".join(f"{x:>10.5f}" for x in each["residual"])]  # fmt: skip
    ahead = report[f"{_AHEAD} steps"]
    for name, each in ahead.items():
        if isinstance(each, dict):
            lines += [f"{name}: " + ", ".join(f"{key} {value}" for key, value in each.items())]
    return "\n".join(lines)
