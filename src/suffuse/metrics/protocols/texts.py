"""What is measured of texts, and of voices of music."""

from collections.abc import Sequence
from typing import Any

from suffuse.metrics import music, texts
from suffuse.metrics.bootstrap import mean_interval
from suffuse.metrics.histograms import divergence
from suffuse.metrics.protocols.base import Figure, Protocol, Samples


class OfTexts(Protocol):
    """Signs and words, and the bits of a character.

    Args:
        lengths: of the n-grams of signs that are compared.
        words: whether there are words.
    """

    def __init__(self, lengths: Sequence[int], words: bool) -> None:
        self.lengths, self.words = lengths, words

    def figures(self, samples: Samples) -> list[Figure]:
        """See the class."""
        real, made, known = samples.real, samples.synthetic, samples.training
        figures = [
            Figure(
                f"{n}-gram divergence",
                texts.divergence(real, made, n),
                texts.divergence(real, known, n),
                "of Jensen and Shannon, of signs, in bits; lower is better",
            )
            for n in self.lengths
        ]
        split = texts.words if self.words else texts.signs
        for name, measure, note in (
            ("entropy", texts.entropy, "of single tokens, in bits; best as the reference"),
            ("distinct pairs", texts.distinct, "share of pairs of tokens that differ; best as the reference"),
        ):
            n = 1 if measure is texts.entropy else 2
            figures.append(Figure(name, measure(made, n, split), measure(real, n, split), note))
        if samples.paired:
            note = "of each text against the right one, from 0 to 100; higher is better"
            figures.append(Figure("chrF", texts.chrf(made, real), None, note))
            figures.append(Figure("BLEU", texts.bleu(made, real), None, note))
        return figures

    def bound(self, nats: Sequence[float], real: Sequence[Any]) -> Figure:
        """Bits of a character."""
        return Figure(
            "bits per character", texts.bits_per_character(nats, real), None, "a bound, from above; lower is better"
        )


class OfMusic(Protocol):
    """What is counted of notes, and whether pieces are copies."""

    def figures(self, samples: Samples) -> list[Figure]:
        """See the class."""
        real, made, known = samples.real, samples.synthetic, samples.training
        note = "divergence of Jensen and Shannon of their counts, in bits; lower is better"
        figures = [
            Figure(name, divergence(count(real), count(made)), divergence(count(real), count(known)), note)
            for name, count in music.HISTOGRAMS.items()
        ]
        if samples.trained_on:
            found, best = (mean_interval(music.copied(part, known)) for part in (made, real))
            figures.append(Figure("copied", found, best, "share of two bars that the training has; best as reference"))
        return figures
