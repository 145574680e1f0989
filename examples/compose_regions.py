"""One picture of two classes, larger than in training: `python examples/compose_regions.py RUN CLASS CLASS SIDE`."""

import sys

import torch

import suffuse as sf
from suffuse.guidance import Regions, Tiled

run, left, right, side = *sys.argv[1:4], int(sys.argv[4])
model = sf.load(run)
process, (channels, height, width) = model.denoiser.process, model.codec.shape

# The class of each side, and where it counts: all on its own side, and blending over a quarter in the middle.
share = torch.linspace(2.5, -1.5, side).clamp(0, 1)
told = [model.encode_condition({"label": [name]}) for name in (left, right)]

# Each class draws the whole picture by windows; where both count, their answers are mixed, step by step.
windows = Tiled(model.denoiser, (height, width))
both = Regions([(windows, told[0], share), (windows, told[1], 1 - share)])

x1 = process.prior(torch.empty(4, channels, side, side), rng=0)
sampler, times = sf.samplers.default(both, 30)
pictures = model.codec.decode(sf.sample(both, sampler, x1, times))
sf.pictures.sheet(pictures).save("regions.png")
print("regions.png")
