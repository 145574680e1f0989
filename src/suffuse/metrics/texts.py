"""How like real texts or sequences others are: by what runs of signs and words they are made of."""

import re
from collections.abc import Callable, Sequence

import numpy as np

from suffuse.errors import UserError
from suffuse.metrics.bootstrap import Interval, Rows, bootstrap
from suffuse.metrics.histograms import bits, jensen_shannon

Split = Callable[[str], Sequence[str]]
_CJK = "\u3040-\u30ff\u4e00-\u9fff"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+|[^\w\s]")


def words(text: str) -> list[str]:
    """Words, Chinese and Japanese signs, and marks, in lower case.

    Example:
        >>> words("It's 好天气!")
        ['it', "'", 's', '好', '天', '气', '!']
    """
    return _WORD.findall(text.lower())


def signs(text: str) -> str:
    """The text itself: its signs are its parts."""
    return text


class _Grams:
    """The n-grams of some texts, numbered, so that those of resampled texts are counted at once."""

    def __init__(self, collections: Sequence[Sequence[str]], n: int, split: Split) -> None:
        numbers: dict[tuple[str, ...], int] = {}
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []
        for texts in collections:
            found: list[int] = []
            owners: list[int] = []
            for owner, text in enumerate(texts):
                parts = split(text)
                grams = [tuple(parts[place : place + n]) for place in range(len(parts) - n + 1)]
                found += [numbers.setdefault(gram, len(numbers)) for gram in grams]
                owners += [owner] * len(grams)
            if not found:
                raise UserError(f"no text is {n} tokens long, so that there is nothing to count")
            self._parts.append((np.array(found), np.array(owners)))
        self._size = len(numbers)

    def counts(self, place: int, rows: Rows) -> np.ndarray:
        """How often each n-gram occurs in these texts of one collection."""
        found, owners = self._parts[place]
        weights = np.bincount(rows, minlength=int(owners.max()) + 1)
        return np.bincount(found, weights=weights[owners], minlength=self._size)


def divergence(real: Sequence[str], other: Sequence[str], n: int = 3, split: Split = signs) -> Interval:
    r"""Jensen-Shannon divergence of the n-grams of two collections, in bits, in [0, 1]; of sequences, their k-mers.

    .. math:: \tfrac12 KL(p \,\|\, m) + \tfrac12 KL(q \,\|\, m), \qquad m = \tfrac12 (p + q).

    Source: "Divergence Measures Based on the Shannon Entropy" (Lin, 1991).

    Args:
        real: texts.
        other: texts.
        n: how many tokens in a row.
        split: what a token is: signs, or words.

    Raises:
        UserError: no text of one of them is so long.

    Example:
        >>> divergence(["ab"], ["ab"], 2).value, divergence(["ab"], ["cd"], 2).value
        (0.0, 1.0)
    """
    grams = _Grams((real, other), n, split)

    def between(a: Rows, b: Rows) -> float:
        return jensen_shannon(grams.counts(0, a), grams.counts(1, b))

    return bootstrap(between, [len(real), len(other)], least=0.0)


def entropy(texts: Sequence[str], n: int = 1, split: Split = words) -> Interval:
    """Entropy of the n-grams of a collection, in bits: how various it is.

    Example:
        >>> entropy(["a b", "a c"]).value
        1.5
    """
    grams = _Grams((texts,), n, split)

    def of(rows: Rows) -> float:
        counts = grams.counts(0, rows)
        return bits(counts / counts.sum())

    return bootstrap(of, [len(texts)], least=0.0)


def distinct(texts: Sequence[str], n: int = 2, split: Split = words) -> Interval:
    """Share of the n-grams of a collection that are different from each other, in (0, 1]; it falls with its size.

    Source: "A Diversity-Promoting Objective Function for Neural Conversation Models" (Li, Galley, Brockett, Gao, Dolan,
    2016).

    Example:
        >>> distinct(["a b a b"], 2).value
        0.6666666666666666
    """
    grams = _Grams((texts,), n, split)

    def of(rows: Rows) -> float:
        counts = grams.counts(0, rows)
        return float((counts > 0).sum() / counts.sum())

    return bootstrap(of, [len(texts)], least=0.0)


def bits_per_character(nats: Sequence[float], texts: Sequence[str]) -> Interval:
    """Bits that the characters of some texts take, by log-probabilities of the texts in nats.

    Example:
        >>> bits_per_character([-8 * np.log(2), -4 * np.log(2)], ["four", "ab"]).value
        2.0
    """
    cost, lengths = -np.asarray(nats) / np.log(2), np.array([len(text) for text in texts])
    return bootstrap(lambda rows: float(cost[rows].sum() / max(1, lengths[rows].sum())), [len(texts)])


def chrf(written: Sequence[str], right: Sequence[str]) -> Interval:
    """Mean chrF of texts against the right ones, one each, from 0 to 100; by sacrebleu.

    Source: "chrF: character n-gram F-score for automatic MT evaluation" (Popovic, 2015).
    """
    from sacrebleu.metrics.chrf import CHRF

    judge = CHRF()
    scores = np.array([judge.sentence_score(a, [b]).score for a, b in zip(written, right, strict=True)])
    return bootstrap(lambda rows: float(scores[rows].mean()), [len(scores)], least=0.0)


def bleu(written: Sequence[str], right: Sequence[str], rounds: int = 50) -> Interval:
    """BLEU of texts against the right ones, from 0 to 100; by sacrebleu.

    Source: "BLEU: a Method for Automatic Evaluation of Machine Translation" (Papineni, Roukos, Ward, Zhu, 2002).
    """
    from sacrebleu.metrics.bleu import BLEU

    judge = BLEU(effective_order=True)

    def of(rows: Rows) -> float:
        places: list[int] = rows.tolist()
        return judge.corpus_score([written[row] for row in places], [[right[row] for row in places]]).score

    return bootstrap(of, [len(written)], rounds, least=0.0)
