"""Training pictures out of few large ones, each a class: `python examples/cut_pictures.py OUT brick.png grass.png`."""

import sys
from pathlib import Path

from PIL import Image

SIDE, STEP, SCALE = 32, 5, 192
"""Pixels of a crop's side, between one crop and the next, and of the picture's side before it is cut."""

out, *pictures = map(Path, sys.argv[1:])
for path in pictures:
    picture = Image.open(path).resize((SCALE, SCALE), Image.Resampling.LANCZOS)
    (out / path.stem).mkdir(parents=True, exist_ok=True)
    starts = range(0, SCALE - SIDE + 1, STEP)
    for number, (x, y) in enumerate((x, y) for y in starts for x in starts):
        picture.crop((x, y, x + SIDE, y + SIDE)).save(out / path.stem / f"{number:04d}.png")
