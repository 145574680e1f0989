"""What a protocol is: what is compared, a figure of it, and which figures a kind of data has."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from suffuse.metrics.bootstrap import Interval

COPIES = "share of what was drawn that is nearer to a training item than to any held out; above 0.5 are copies"


@dataclass(frozen=True)
class Samples:
    """What is compared.

    Args:
        real: raw items that the model was not trained on.
        synthetic: raw items that it drew.
        training: other real items; those that it was trained on, where these are known.
        target: name of the part of an item that is to be predicted, or None.
        labels: class of each training item, or None.
        told: class of each real item, which the synthetic one in its place was told, or None.
        trained_on: whether the training items are what the model was trained on.
        paired: whether every synthetic item was drawn in answer to what the real one in its place answers.
    """

    real: Sequence[Any]
    synthetic: Sequence[Any]
    training: Sequence[Any]
    target: str | None = None
    labels: Sequence[Any] | None = None
    told: Sequence[Any] | None = None
    trained_on: bool = False
    paired: bool = False


@dataclass(frozen=True)
class Figure:
    """One line of a report.

    Args:
        name: of what was measured.
        found: of synthetic items against real ones.
        reference: the same of other real items, the best that can be expected; None where there is no such thing.
        note: what it says, and which way is better.
    """

    name: str
    found: Interval
    reference: Interval | None
    note: str


class Protocol(ABC):
    """What is measured of one kind of data."""

    @abstractmethod
    def figures(self, samples: Samples) -> list[Figure]:
        """Compare."""

    def holes(self, real: Sequence[Any]) -> Sequence[Any]:
        """Real items with something taken away, which the model is to fill; none, where that says nothing."""
        del real
        return ()

    def filled(self, real: Sequence[Any], draws: Sequence[Sequence[Any]]) -> list[Figure]:
        """Compare real items with what the holes in them were filled by, each time."""
        del real, draws
        return []

    def pictures(self, samples: Samples) -> Mapping[str, Image.Image]:
        """Pictures of the comparison, by the names of their files without the suffix."""
        del samples
        return {}

    def bound(self, nats: Sequence[float], real: Sequence[Any]) -> Figure | None:
        """The bound on the log-probability of each real item, in the unit of the field; None where it has none."""
        del nats, real
        return None
