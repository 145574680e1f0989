"""Demonstrations on real data that packages ship, each measured beside a baseline."""

from collections.abc import Callable
from pathlib import Path

from suffuse.demos.equations import heat, reaction
from suffuse.demos.handwritten import digits, mnist
from suffuse.demos.labelled import protein, sentiment
from suffuse.demos.music import music
from suffuse.demos.pairs import sharpen
from suffuse.demos.segments import segments
from suffuse.demos.series import series
from suffuse.demos.speech import speech
from suffuse.demos.tables import table
from suffuse.demos.texts import text, translate
from suffuse.demos.video import video
from suffuse.demos.weather import weather

DEMOS: dict[str, Callable[[Path, float | None, int], None]] = {
    "digits": digits,
    "mnist": mnist,
    "table": table,
    "series": series,
    "text": text,
    "translate": translate,
    "sharpen": sharpen,
    "segments": segments,
    "sentiment": sentiment,
    "protein": protein,
    "video": video,
    "heat": heat,
    "reaction": reaction,
    "weather": weather,
    "music": music,
    "speech": speech,
}
"""Every demonstration by its name: called with the run folder, minutes or None, and a seed."""
