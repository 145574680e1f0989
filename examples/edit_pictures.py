"""Every way to change a picture, on handwritten digits: `suffuse demo digits --out runs/digits`, then this script."""

from pathlib import Path

from PIL import Image

import suffuse as sf
from suffuse.pictures import rows_of

OUT = Path("runs/edited")
model = sf.load("runs/digits")
three, four = model.generate(1, condition=3, seed=1)[0], model.generate(1, condition=4, seed=1)[0]

# A little noise keeps the shape, much of it leaves little but the place; the seed decides the rest.
strengths = [model.edit([three], strength, condition=3, seed=4)[0] for strength in (0.2, 0.4, 0.6, 0.8, 1.0)]

# White may change: the upper half becomes that of another digit, and the lower half stays to the bit.
mask = Image.new("L", three.size)
mask.paste(255, (0, 0, 8, 4))
masked = model.edit([three], 0.9, mask, condition=9, draws=5)

# On the way from one noise to the other everything is a digit, as on no line between two pictures.
way = model.interpolate(three, four, 5)

# A handwriting is what the noise keeps: the same hand, another digit.
others = [model.translate([three], from_condition=3, condition=digit)[0] for digit in (0, 2, 5, 8, 9)]

# Windows of the size of training, joined where they overlap.
wide = model.generate(1, size=(8, 48), seed=3)[0]

OUT.mkdir(parents=True, exist_ok=True)
rows_of([[three, *strengths], [three, *masked], way, [three, *others], [wide]]).save(OUT / "edited.png")
print(OUT / "edited.png")
