"""Models of labelled texts and proteins that draw new ones by class, and tell which class others are of."""

import io
import json
import tarfile
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suffuse import learn
from suffuse.classification import Classes
from suffuse.data.rows import of_frame
from suffuse.data.texts import ColumnSource
from suffuse.demos.fetch import fetch
from suffuse.errors import UserError
from suffuse.likelihood import calibration_error
from suffuse.metrics.texts import divergence
from suffuse.model import Model
from suffuse.progress import Progress
from suffuse.recipes.recipe import DataSection, NetworkSection, Recipe
from suffuse.training.config import TrainingConfig

if TYPE_CHECKING:
    import pandas as pd

_VADER = ("vaderSentiment", "3.3.2", "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9")
_MODLAMP = ("modlamp", "4.3.3", "6948bcbc4a9614d10b6b47a051d4576c42fe8e5487fbbeb3cfe0d8033eb27f91")
_SURE = 1.0
"""Ratings from -4 to 4 that are further from 0 than this count as praise or blame."""
_TEST, _NEW = 400, 400


@dataclass(frozen=True)
class Labelled:
    """Items with classes, and how a baseline sees them.

    Args:
        frame: columns text and label.
        kind: text or sequence.
        analyzer: of the baseline's features: word or char.
        grams: lengths of the features.
    """

    frame: "pd.DataFrame"
    kind: str
    analyzer: str
    grams: tuple[int, int]


def sentiment(out: Path, minutes: float | None = None, seed: int = 0) -> None:
    """Praise and blame of films, as twenty people rated them: eight minutes of training on two CPU cores."""
    recipe = Recipe(
        data=DataSection(condition=("label",), tokens="words", vocabulary=4096, length=48),
        network=NetworkSection(width=128, depth=3, network_dropout=0.1),
        training=_training(minutes or 8.0, seed, batch=16),
    )
    show(out, Labelled(_films(), "text", "word", (1, 2)), recipe)


def protein(out: Path, minutes: float | None = None, seed: int = 0) -> None:
    """Peptides that kill microbes, and others: five minutes of training on two CPU cores."""
    recipe = Recipe(
        data=DataSection(condition=("label",), length=64),
        network=NetworkSection(width=128, depth=3, network_dropout=0.1),
        training=_training(minutes or 5.0, seed, batch=64),
    )
    show(out, Labelled(_peptides(), "sequence", "char", (1, 3)), recipe)


def _training(minutes: float, seed: int, batch: int) -> TrainingConfig:
    return TrainingConfig(
        batch=batch, learning_rate=2e-3, weight_decay=0.1, precision="bf16", held_out=0.03, minutes=minutes, seed=seed
    )


def _films() -> "pd.DataFrame":
    """Sentences of reviews, from the supplement of "VADER: A Parsimonious Rule-based Model" (Hutto, Gilbert, 2014)."""
    import pandas as pd

    name = "additional_resources/hutto_ICWSM_2014.tar.gz"
    with tarfile.open(fetch(*_VADER)) as package:
        inner = next(member for member in package if member.name.endswith(name))
        file = package.extractfile(inner)
        assert file is not None
        with tarfile.open(fileobj=io.BytesIO(file.read())) as supplement:
            member = next(each for each in supplement if each.name.endswith("movieReviewSnippets_GroundTruth.txt"))
            content = supplement.extractfile(member)
            assert content is not None
            lines = content.read().decode("utf-8", "replace").splitlines()
    rated = [(line.split("\t")[2].strip(), float(line.split("\t")[1])) for line in lines]
    rows = [(text, "praise" if rating > 0 else "blame") for text, rating in rated if abs(rating) > _SURE]
    return pd.DataFrame(rows, columns=["text", "label"])


def _peptides() -> "pd.DataFrame":
    """Antimicrobial peptides and parts of UniProt, as modlamp carries them."""
    import pandas as pd

    with zipfile.ZipFile(fetch(*_MODLAMP)) as wheel:
        lines = wheel.read("modlamp/data/AMPvsUniProt.csv").decode().splitlines()[1:]
    rows = [
        (line.split(",")[0].strip(), "antimicrobial" if line.split(",")[1].strip() == "1" else "other")
        for line in lines
    ]
    return pd.DataFrame(rows, columns=["text", "label"]).drop_duplicates("text")


def show(out: Path, data: Labelled, recipe: Recipe) -> None:
    """Train, draw, tell apart, and write it all into the run folder."""
    if find_spec("sklearn") is None:
        raise UserError("this demo's baseline comes with scikit-learn: pip install 'suffuse[demo]'")
    from sklearn.model_selection import train_test_split

    parts: Any = train_test_split(data.frame, test_size=_TEST, random_state=0, stratify=data.frame["label"])
    train, test = parts
    model = learn.train(ColumnSource(of_frame(train, out.name), "text", data.kind), recipe, out)
    report, samples = _judged(model, data, train, test)
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (out / "samples.txt").write_text(samples + "\n", encoding="utf-8")
    print(samples)
    width = max(map(len, report))
    print("\n".join(f"{name:<{width}}  {value:.4f}" for name, value in report.items()))
    print(f"samples: {out}/samples.txt; figures: {out}/report.json")


def _judged(model: Model, data: Labelled, train: "pd.DataFrame", test: "pd.DataFrame") -> tuple[dict[str, float], str]:
    texts, labels = test["text"].tolist(), test["label"].tolist()
    with Progress("classifying", len(texts)) as progress:
        answers = model.classify(texts, progress=progress.to)
    assert isinstance(answers, Classes)
    known, places = answers.places(labels)
    import torch

    error = calibration_error(answers.probabilities[known], torch.tensor(places))
    classes = sorted(set(labels))
    told = [classes[i % len(classes)] for i in range(_NEW)]
    with Progress("generating", _NEW) as progress:
        new: list[str] = model.generate(_NEW, condition=told, progress=progress.to)
    right = sum(a == b for a, b in zip(answers.predicted, labels, strict=True))
    report = {
        "accuracy": right / len(labels),
        "accuracy of TF-IDF and logistic regression": _baseline(data, train, test),
        "calibration error": float(error),
        "divergence of trigrams, new items": divergence(train["text"].tolist(), new).value,
        "divergence of trigrams, real test items": divergence(train["text"].tolist(), texts).value,
    }
    shown = [f"{label:>14}  {text}" for label, text in zip(told[:16], new[:16], strict=True)]
    return report, "\n".join(sorted(shown))


def _baseline(data: Labelled, train: "pd.DataFrame", test: "pd.DataFrame") -> float:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    features: Any = TfidfVectorizer(analyzer=data.analyzer, ngram_range=data.grams, sublinear_tf=True, lowercase=True)
    fitted = make_pipeline(features, LogisticRegression(max_iter=1000, C=4.0)).fit(train["text"], train["label"])
    return float((fitted.predict(test["text"]) == test["label"]).mean())
