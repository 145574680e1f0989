"""Models of small talk, and of names in another script, beside what counting letters and looking up do."""

import gettext
import io
import json
import math
import zipfile
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suffuse import learn
from suffuse.data.rows import of_frame
from suffuse.data.texts import ColumnSource
from suffuse.demos.fetch import fetch
from suffuse.errors import UserError
from suffuse.metrics.texts import bits_per_character, chrf, divergence
from suffuse.progress import Progress
from suffuse.recipes.recipe import DataSection, NetworkSection, Recipe, SamplingSection
from suffuse.training.config import TrainingConfig

if TYPE_CHECKING:
    import pandas as pd

_CHAT = ("chitchat-dataset", "0.9.0", "7bf89f36645e2d5ec87d53370c8e851b5a688479c7beb7079cb4c87fc5acea3e")
_NAMES = ("pycountry", "26.2.16", "115c4baf7cceaa30f59a4694d79483c9167dbce7a9de4d3d571c5f3ea77c305a")
_DOMAINS = ("iso3166-1", "iso3166-2", "iso3166-3", "iso639-3", "iso639-5", "iso4217", "iso15924")
_TEST, _NEW, _SHOWN = 300, 300, 16
_LONGEST, _MESSAGE = 40, 96
_GRAMS = (3, 5)


def text(out: Path, minutes: float | None = None, seed: int = 0) -> None:
    """Messages that people wrote to each other: six minutes of training on two CPU cores."""
    train, test = _split(messages(), _TEST)
    recipe = Recipe(
        data=DataSection(tokens="words", vocabulary=2048, length=40),
        network=NetworkSection(width=128, depth=4),
        training=_training(minutes or 6.0, seed, batch=16),
    )
    model = learn.train(ColumnSource(of_frame(train, "messages"), "text", "text"), recipe, out)
    with Progress("generating", _NEW) as progress:
        new: list[str] = model.generate(_NEW, progress=progress.to)
    known, unseen = train["text"].tolist(), test["text"].tolist()
    with Progress("scoring", 0) as progress:
        scores = model.score(unseen, evaluations=128, progress=progress.to)
    bits = {"suffuse, a bound": bits_per_character([score.nats for score in scores], unseen).value}
    bits |= {f"letters counted {n} at a time": _counted(known, unseen, n) for n in _GRAMS}
    apart = {"new": divergence(unseen, new, 3).value, "other real ones": divergence(unseen, known[:_NEW], 3).value}
    filled = [(gap, filling) for gap, filling in zip(_GAPS, model.infill(_GAPS, seed=seed), strict=True)]
    report = {"bits per character": _rounded(bits), "divergence of trigrams": _rounded(apart)}
    lines = [*new[:_SHOWN], "", *(f"{gap}\n    {filling}" for gap, filling in filled)]
    _tell(out, report, "\n".join(lines))


_GAPS = ["hey, [[6]] today?", "I really like to [[8]] with my friends", "[[10]], what about you?"]


def translate(out: Path, minutes: float | None = None, seed: int = 0) -> None:
    """English names of places and languages to Ukrainian ones: six minutes of training on two CPU cores."""
    if find_spec("sacrebleu") is None:
        raise UserError("this demo is judged by sacrebleu: pip install 'suffuse[demo]'")
    train, test = _split(_names(), _TEST)
    recipe = Recipe(
        data=DataSection(target="target", tokens="characters", length=_LONGEST + 8),
        network=NetworkSection(width=128, depth=4, network_dropout=0.1),
        sampling=SamplingSection(sampler="confidence", sampling_steps=48, guidance=2.5),
        training=_training(minutes or 6.0, seed, batch=32),
    )
    model = learn.train(ColumnSource(of_frame(train, "names"), "target", "text"), recipe, out)
    sources, targets = test["source"].tolist(), test["target"].tolist()
    with Progress("translating", len(sources)) as progress:
        answers: list[str] = model.translate(sources, progress=progress.to)
    (out / "sources.txt").write_text("\n".join(sources) + "\n", encoding="utf-8")
    ways = {"suffuse": answers, "the nearest known name": _nearest(train, sources)}
    report = {name: _agreement(said, targets) for name, said in ways.items()}
    width = max(map(len, sources[:_SHOWN]))
    shown = [f"{s:<{width}}  {a}" + ("" if a == t else f"  ({t})") for s, a, t in
             zip(sources[:_SHOWN], answers, targets, strict=False)]  # fmt: skip
    _tell(out, report, "\n".join(shown))


def _training(minutes: float, seed: int, batch: int) -> TrainingConfig:
    return TrainingConfig(
        batch=batch, learning_rate=2e-3, weight_decay=0.1, precision="bf16", held_out=0.01, minutes=minutes, seed=seed
    )


def messages() -> "pd.DataFrame":
    """Of "ChitChat" (Will Myers, Tyler Etchart, Nancy Fulda, 2020): single messages of at most so many letters."""
    import pandas as pd

    with zipfile.ZipFile(fetch(*_CHAT)) as wheel:
        chats: dict[str, Any] = json.loads(wheel.read("chitchat_dataset/dataset.json"))
    said = (message["text"].strip() for chat in chats.values() for turn in chat["messages"] for message in turn)
    kept = [each for each in said if 0 < len(each) <= _MESSAGE and "\n" not in each]
    return pd.DataFrame({"text": list(dict.fromkeys(kept))})


def _names() -> "pd.DataFrame":
    """Of Debian's iso-codes, as pycountry carries them."""
    import pandas as pd

    pairs: dict[str, str] = {}
    with zipfile.ZipFile(fetch(*_NAMES)) as wheel:
        for domain in _DOMAINS:
            catalog = wheel.read(f"pycountry/locales/uk/LC_MESSAGES/{domain}.mo")
            found: dict[Any, str] = vars(gettext.GNUTranslations(io.BytesIO(catalog)))["_catalog"]
            pairs |= {source: target for source, target in found.items() if isinstance(source, str) and source}
    kept = [(s, t) for s, t in pairs.items() if s != t and t and max(len(s), len(t)) <= _LONGEST]
    return pd.DataFrame(kept, columns=["source", "target"])


def _split(frame: "pd.DataFrame", test: int) -> "tuple[pd.DataFrame, pd.DataFrame]":
    frame = frame.sample(frac=1, random_state=0, ignore_index=True)
    return frame.iloc[test:].reset_index(drop=True), frame.iloc[:test]


def _counted(known: Sequence[str], unseen: Sequence[str], n: int) -> float:
    r"""Bits per letter by counts of n letters, mixed with those of fewer: lambda = N / (N + T) (Witten, Bell, 1991)."""
    counts, contexts, kinds = Counter[str](), Counter[str](), Counter[str]()
    for each in known:
        padded = "\n" * (n - 1) + each + "\n"
        for end in range(n, len(padded) + 1):
            for order in range(n):
                gram = padded[end - 1 - order : end]
                counts[gram] += 1
                contexts[gram[:-1]] += 1
                kinds[gram[:-1]] += counts[gram] == 1

    def share(gram: str) -> float:
        shorter = share(gram[1:]) if len(gram) > 1 else 1 / 256
        total = contexts[gram[:-1]] + kinds[gram[:-1]]
        return (counts[gram] + kinds[gram[:-1]] * shorter) / total if total else shorter

    bits = letters = 0.0
    for each in unseen:
        padded = "\n" * (n - 1) + each + "\n"
        bits -= sum(math.log2(share(padded[end - n : end])) for end in range(n, len(padded) + 1))
        letters += len(each)
    return bits / letters


def _nearest(train: "pd.DataFrame", sources: Sequence[str]) -> list[str]:
    """What the known name with the most letters in common became."""
    known = dict(zip(train["source"], train["target"], strict=True))
    names = list(known)
    return [known[next(iter(get_close_matches(source, names, n=1, cutoff=0.0)))] for source in sources]


def _agreement(answers: Sequence[str], targets: Sequence[str]) -> dict[str, float]:
    exact = sum(a == t for a, t in zip(answers, targets, strict=True)) / len(targets)
    return {"chrF": round(chrf(answers, targets).value, 2), "exact": round(exact, 4)}


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in figures.items()}


def _tell(out: Path, report: dict[str, dict[str, float]], samples: str) -> None:
    (out / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / "samples.txt").write_text(samples + "\n", encoding="utf-8")
    print(samples)
    for name, figures in report.items():
        print(f"{name}: " + ", ".join(f"{key} {value:g}" for key, value in figures.items()))
    print(f"samples: {out}/samples.txt; figures: {out}/report.json")
