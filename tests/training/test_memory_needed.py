"""What a training is said to need of memory is what it takes."""

import subprocess
import sys

import pytest

STEP = """
import sys
from pathlib import Path
import torch
import suffuse as sf
from suffuse.networks import Transformer, UNet
from suffuse.parameterizations import EDM
from suffuse.training.config import TrainingConfig
from suffuse.training.memory import needed

BATCH = 12

def resident(entry):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(entry)) * 1024

torch.manual_seed(0)
if sys.argv[1] == "unet":
    network = UNet(3, dimensions=3, frames=True, width=32, multipliers=(1, 2), blocks=1)
else:
    network = Transformer(3, dimensions=3, frames=True, patch=4, width=96, depth=4, heads=3)
denoiser = sf.Denoiser(network, sf.Gaussian(sf.schedules.EDM()), EDM(0.5))
x0 = torch.randn(BATCH, 3, 8, 32, 32)
denoiser(x0[:1], torch.full((1,), 0.5), None).mean.square().mean().backward()
_, stated = needed(denoiser, x0[:1], None, TrainingConfig(batch=BATCH))
before = resident("VmRSS")
denoiser(x0, torch.full((BATCH,), 0.5), None).mean.square().mean().backward()
print(stated / (resident("VmHWM") - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is counted otherwise there")
@pytest.mark.parametrize("network", ["unet", "transformer"])
def test_what_a_step_keeps_is_stated_before(network: str):
    done = subprocess.run([sys.executable, "-c", STEP, network], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 0.6 < float(done.stdout) < 1.4
