"""Samplers of a measurement: they take a ``guidance.Observed`` and ask for its parts."""

from collections.abc import Callable

from suffuse.restoration.annealed import DAPS
from suffuse.restoration.base import Restorer
from suffuse.restoration.default import default
from suffuse.restoration.particles import ParticleFilter
from suffuse.restoration.proximal import DiffPIR
from suffuse.restoration.resampling import RePaint
from suffuse.restoration.spectral import DDRM
from suffuse.restoration.variational import REDDiff

RESTORERS: dict[str, Callable[[], Restorer]] = {
    "ddrm": DDRM,
    "diffpir": DiffPIR,
    "reddiff": REDDiff,
    "daps": DAPS,
    "repaint": RePaint,
    "particles": ParticleFilter,
}
"""Every restorer by its name; the law tests and benchmarks/posteriors.py run over it."""

__all__ = ["DAPS", "DDRM", "RESTORERS", "DiffPIR", "ParticleFilter", "REDDiff", "RePaint", "Restorer", "default"]
