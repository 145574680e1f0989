"""The recipe of every kind of data, by the kind of its codec."""

from suffuse.recipes.audio import AudioKind
from suffuse.recipes.fields import FieldKind, NextFieldKind
from suffuse.recipes.image import ImageKind
from suffuse.recipes.kind import Kind
from suffuse.recipes.music import MusicKind
from suffuse.recipes.pairs import PairsKind
from suffuse.recipes.segments import SegmentsKind
from suffuse.recipes.series import SeriesKind
from suffuse.recipes.table import TableKind
from suffuse.recipes.tokens import SequenceKind, TextKind
from suffuse.recipes.video import VideoKind

KINDS: dict[str, Kind] = {
    "image": ImageKind(),
    "pairs": PairsKind(),
    "segments": SegmentsKind(),
    "table": TableKind(),
    "text": TextKind(),
    "sequence": SequenceKind(),
    "series": SeriesKind(),
    "video": VideoKind(),
    "field": FieldKind(),
    "next-field": NextFieldKind(),
    "music": MusicKind(),
    "audio": AudioKind(),
}
"""All that is special about a kind of data is behind this table, its codec and its source."""
