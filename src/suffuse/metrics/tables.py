"""How like real rows synthetic ones are: column by column, pair by pair, and to classifiers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, TypeAlias

import numpy as np

from suffuse.errors import UserError
from suffuse.metrics.bootstrap import Interval, Rows, bootstrap, nearer_share

Collection: TypeAlias = Sequence[Mapping[str, Any]]
"""Rows as mappings of headings to values, None where one is missing."""

_FEW = 10
"""Numbers of at most so many different values are categories."""
_BINS = 10
_CATEGORIES = 250
"""What classifiers tell apart: rarer values are one."""
_FOLDS = 5


@dataclass(frozen=True)
class Columns:
    """Rows in arrays.

    Args:
        names: headings: first of the numbers, then of the categories.
        numbers: (N, P) float64, NaN where one is missing.
        codes: (N, Q) int64: places of values among all that the collections have, the commonest first.
        values: those of each category, in that order.
    """

    names: tuple[str, ...]
    numbers: np.ndarray
    codes: np.ndarray
    values: tuple[tuple[Any, ...], ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: Any) -> "Columns":
        return Columns(self.names, self.numbers[rows], self.codes[rows], self.values)


def arrays(real: Collection, *others: Collection) -> list[Columns]:
    """Collections as arrays, every column as what its real values are: a number, a date, or else a category.

    Raises:
        UserError: there is no row, or another collection lacks one of the columns.
    """
    for rows in (real, *others):
        if not rows:
            raise UserError("rows are compared with rows, and there are none; give at least one to each side")
        lacking = [name for name in real[0] if name not in rows[0]]
        if lacking:
            raise UserError(f"rows without {lacking[0]!r} cannot be compared with those that have it")
    names = list(real[0])
    measured = [name for name in names if _is_measured([row[name] for row in real])]
    others_are = [name for name in names if name not in measured]
    codes = {name: _codes([row[name] for rows in (real, *others) for row in rows]) for name in others_are}
    found: list[Columns] = []
    for rows in (real, *others):
        numbers = np.array([[_number(row[name]) for name in measured] for row in rows], np.float64)
        places = np.array([[codes[name][row[name]] for name in others_are] for row in rows], np.int64)
        values = tuple(tuple(codes[name]) for name in others_are)
        found.append(Columns((*measured, *others_are), numbers, places, values))
    return found


def _is_measured(values: list[Any]) -> bool:
    known = {value for value in values if value is not None}
    return len(known) > _FEW and all(isinstance(v, int | float | date) and not isinstance(v, bool) for v in known)


def _number(value: Any) -> float:
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, date):
        return value.toordinal() * 86400.0
    return float(value) if isinstance(value, int | float) else np.nan


def _codes(values: list[Any]) -> dict[Any, int]:
    counts: dict[Any, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return {value: place for place, value in enumerate(sorted(counts, key=lambda value: -counts[value]))}


def column_error(real: Collection, synthetic: Collection) -> Interval:
    r"""Mean distance between the distributions of a column, over the columns, in [0, 1].

    Of categories the total variation, :math:`\tfrac12 \sum |p - q|`; of numbers that of Kolmogorov and Smirnov,
    :math:`\max |F - G|`, missing ones counting as the smallest.

    Example:
        >>> column_error([{"x": "a"}, {"x": "b"}], [{"x": "a"}, {"x": "a"}]).value
        0.5
    """
    ours, theirs = arrays(real, synthetic)
    return bootstrap(lambda a, b: float(np.mean(column_errors(ours[a], theirs[b]))), _sizes(ours, theirs), least=0.0)


def column_errors(real: Columns, synthetic: Columns) -> list[float]:
    """The distance of each column, in the order of the names."""
    pairs = zip(real.numbers.T, synthetic.numbers.T, strict=True)
    numbers = [_kolmogorov_smirnov(a, b) for a, b in pairs]
    return numbers + [_total_variation(a, b) for a, b in zip(real.codes.T, synthetic.codes.T, strict=True)]


def _kolmogorov_smirnov(a: np.ndarray, b: np.ndarray) -> float:
    a, b = (np.sort(np.nan_to_num(values, nan=-np.inf)) for values in (a, b))
    places = np.concatenate([a, b])
    return float(
        np.abs(np.searchsorted(a, places, "right") / len(a) - np.searchsorted(b, places, "right") / len(b)).max()
    )


def _total_variation(a: np.ndarray, b: np.ndarray) -> float:
    size = max(a.max(), b.max()) + 1
    return float(np.abs(np.bincount(a, minlength=size) / len(a) - np.bincount(b, minlength=size) / len(b)).sum() / 2)


def pair_error(real: Collection, synthetic: Collection) -> Interval:
    """Mean difference in the dependence of two columns, over the pairs, in [0, 2].

    Of two numbers the difference of Spearman's rank correlations; else of Cramer's V, numbers in tenths of the real
    ones. Missing numbers count as the smallest.

    Raises:
        UserError: there is only one column.
    """
    ours, theirs = arrays(real, synthetic)
    if len(ours.names) < 2:
        raise UserError("pairs need two columns, and there is only one")
    edges = np.nanquantile(ours.numbers, np.linspace(0, 1, _BINS + 1)[1:-1], axis=0)
    known, made = (_Dependence(each, edges) for each in (ours, theirs))
    return bootstrap(lambda a, b: float(np.mean(np.abs(known(a) - made(b)))), _sizes(ours, theirs), 60, least=0.0)


class _Dependence:
    """Of every two columns of some rows."""

    def __init__(self, columns: Columns, edges: np.ndarray) -> None:
        filled = np.where(np.isnan(columns.numbers), -np.inf, columns.numbers)
        self._ranks = np.array([_ranks(values) for values in filled.T])
        bins = [np.searchsorted(edge, values) for edge, values in zip(edges.T, filled.T, strict=True)]
        self._codes = [*bins, *columns.codes.T]
        self._count = columns.numbers.shape[1]

    def __call__(self, rows: Rows) -> np.ndarray:
        numbers, pairs = self._count, list[float]()
        with np.errstate(invalid="ignore", divide="ignore"):  # of a constant column there is no correlation
            correlations: Any = np.corrcoef(self._ranks[:, rows]) if numbers > 1 else np.ones((1, 1))
        for second in range(len(self._codes)):
            for first in range(second):
                if second < numbers:
                    pairs.append(float(np.nan_to_num(correlations[first][second])))
                else:
                    pairs.append(_cramers_v(self._codes[first][rows], self._codes[second][rows]))
        return np.array(pairs)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks, equal ones sharing the middle of theirs."""
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / 2


def _cramers_v(a: np.ndarray, b: np.ndarray) -> float:
    width = b.max() + 1
    table = np.bincount(a * width + b, minlength=(a.max() + 1) * width).reshape(-1, width).astype(np.float64)
    table = table[table.any(1)][:, table.any(0)]
    if min(table.shape) < 2:
        return 0.0
    expected = table.sum(1, keepdims=True) * table.sum(0) / len(a)
    square = float(((table - expected) ** 2 / expected).sum())
    return float(np.sqrt(square / (len(a) * (min(table.shape) - 1))))


def two_sample_auc(real: Collection, synthetic: Collection, seed: int = 0) -> Interval:
    """How well a classifier tells real rows from synthetic ones: the area under its curve, 0.5 where it cannot.

    Gradient-boosted trees, judged on folds that they were not trained on.

    Source: "Revisiting Classifier Two-Sample Tests" (Lopez-Paz, Oquab, 2017).
    """
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    ours, theirs = arrays(real, synthetic)
    truth = np.repeat([0, 1], _sizes(ours, theirs))
    folds = StratifiedKFold(min(_FOLDS, *_sizes(ours, theirs)), shuffle=True, random_state=seed)
    x = np.concatenate([_features(ours), _features(theirs)])
    chances = np.asarray(cross_val_predict(_trees(ours, True, seed), x, truth, cv=folds, method="predict_proba"))[:, 1]

    def area(a: Rows, b: Rows) -> float:
        rows = np.concatenate([a, b + len(ours)])
        return float(roc_auc_score(truth[rows], chances[rows]))

    return bootstrap(area, _sizes(ours, theirs))


@dataclass(frozen=True)
class Usefulness:
    """How well a target is predicted on real rows: area under the curve of categories, R2 of a number.

    Args:
        measure: which of the two.
        real: by a classifier of real rows.
        synthetic: by one of synthetic rows.
        gap: the first less the second.
    """

    measure: str
    real: Interval
    synthetic: Interval
    gap: Interval


def usefulness(training: Collection, synthetic: Collection, test: Collection, target: str, seed: int = 0) -> Usefulness:
    """Train on synthetic rows, test on real ones; beside training on real ones. By gradient-boosted trees.

    Source: "Real-valued (Medical) Time Series Generation with Recurrent Conditional GANs" (Esteban, Hyland, Raetsch,
    2017), for the test.

    Args:
        training: real rows.
        synthetic: rows to train on instead.
        test: other real rows.
        target: the column to predict; rows without it are left out.
        seed: of the trees.

    Raises:
        UserError: there is no such column, or not two values of it.
    """
    if target not in training[0]:
        raise UserError(f"these rows have no column {target!r} to predict")
    collections = [[row for row in rows if row[target] is not None] for rows in (training, synthetic, test)]
    known, made, judged = arrays(*collections)
    place, count = known.names.index(target), known.numbers.shape[1]
    classes = place >= count
    outcomes = [each.codes[:, place - count] if classes else each.numbers[:, place] for each in (known, made, judged)]
    if any(len(np.unique(outcome)) < 2 for outcome in outcomes):
        raise UserError(f"{target} has a single value in one of the collections; there is nothing to predict")
    x = [np.delete(_features(each), place, 1) for each in (known, made, judged)]
    given = [
        _answers(known, place, part, outcome, x[2], seed) for part, outcome in zip(x[:2], outcomes[:2], strict=True)
    ]
    measure = _area if classes else _explained

    def of(answers: Any) -> Any:
        return lambda rows: measure(outcomes[2][rows], answers, rows)

    by_real, by_synthetic = (bootstrap(of(answers), [len(judged)]) for answers in given)
    gap = bootstrap(lambda rows: of(given[0])(rows) - of(given[1])(rows), [len(judged)])
    return Usefulness("AUC" if classes else "R2", by_real, by_synthetic, gap)


def _answers(columns: Columns, place: int, x: np.ndarray, y: np.ndarray, test: np.ndarray, seed: int) -> Any:
    """Predictions of a number (N,), or a mapping of each class that was seen to its chances (N,)."""
    classes = place >= columns.numbers.shape[1]
    model = _trees(columns, classes, seed, without=place).fit(x, y)
    if not classes:
        return model.predict(test)
    return dict(zip(model.classes_.tolist(), model.predict_proba(test).T, strict=True))


def _area(truth: np.ndarray, chances: Mapping[int, np.ndarray], rows: Rows) -> float:
    """Mean over the classes of the area of each against all others; one that was never seen has a half."""
    from sklearn.metrics import roc_auc_score

    present = np.unique(truth)
    if len(present) < 2:
        return 0.5
    present = present[:1] if len(present) == 2 else present  # the other is its mirror image
    areas = [roc_auc_score(truth == c, chances[c][rows]) if c in chances else 0.5 for c in present.tolist()]
    return float(np.mean(areas))


def _explained(truth: np.ndarray, answers: np.ndarray, rows: Rows) -> float:
    return float(1 - ((truth - answers[rows]) ** 2).mean() / max(truth.var(), 1e-300))


def _features(columns: Columns) -> np.ndarray:
    return np.concatenate([columns.numbers, columns.codes.clip(max=_CATEGORIES - 1)], 1)


def _trees(columns: Columns, classes: bool, seed: int, without: int = -1) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    count = columns.numbers.shape[1]
    kinds = [place >= count for place in range(len(columns.names)) if place != without]
    make: Any = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    return make(categorical_features=kinds, random_state=seed)


def closest_records(training: Collection, held_out: Collection, synthetic: Collection, seed: int = 0) -> Interval:
    """Share of the synthetic rows that are nearer to a training row than to any held-out one: half, if none is copied.

    Numbers are compared by their place among the training rows, categories by whether they are the same. Of the larger
    collection as many rows are taken as the other has.

    Source: "Holdout-Based Empirical Assessment of Mixed-Type Synthetic Data" (Platzer, Reutterer, 2021).
    """
    known, other, made = arrays(training, held_out, synthetic)
    size, rng = min(len(known), len(other)), np.random.default_rng(seed)
    places = [_places(each, known) for each in (known, other, made)]
    chosen = [part[rng.permutation(len(part))[:size]] for part in places[:2]]
    count = known.numbers.shape[1]
    near, far = (np.array([_distances(row, rows, count) for row in places[2]]) for rows in chosen)
    return nearer_share(near, far)


def _places(columns: Columns, reference: Columns) -> np.ndarray:
    """Numbers as their places among the reference's in [0, 1], -1 where missing; then the codes."""
    pairs = zip(reference.numbers.T, columns.numbers.T, strict=True)
    ranks = [np.where(np.isnan(x), -1, np.searchsorted(np.sort(r), x) / len(r)) for r, x in pairs]
    return np.column_stack([*ranks, *columns.codes.T]).astype(np.float64)


def _distances(row: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    numbers = np.abs(rows[:, :count] - row[:count]).sum(1)
    return (numbers + (rows[:, count:] != row[count:]).sum(1)).astype(np.float32)


def _sizes(*columns: Columns) -> list[int]:
    return [len(each) for each in columns]
