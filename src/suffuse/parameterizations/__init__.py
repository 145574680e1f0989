r"""What a network's output means: the maps from outputs to posteriors.

For Gaussian processes every form in use is affine, :math:`E[x_0 | x_t] = c_{\text{skip}} x_t + c_{\text{out}} F`, so
that each is one small class, and conversions go through the posterior instead of pairwise.
"""

from suffuse.parameterizations.affine import EDM, Affine, Data, Epsilon, Flow, Velocity
from suffuse.parameterizations.base import Direct, Each, Logits, Parameterization
from suffuse.parameterizations.bridges import Bridged, Drift
from suffuse.parameterizations.frequencies import PerFrequency
from suffuse.parameterizations.wiener import Wiener

PARAMETERIZATIONS: dict[str, type[Parameterization]] = {
    "epsilon": Epsilon,
    "velocity": Velocity,
    "flow": Flow,
    "data": Data,
    "edm": EDM,
    "wiener": Wiener,
    "per frequency": PerFrequency,
    "drift": Drift,
    "bridged": Bridged,
    "logits": Logits,
    "each": Each,
}
"""Every parameterization by its name in a recipe; the law tests run over it."""

__all__ = [
    "EDM",
    "PARAMETERIZATIONS",
    "Affine",
    "Bridged",
    "Data",
    "Direct",
    "Drift",
    "Each",
    "Epsilon",
    "Flow",
    "Logits",
    "Parameterization",
    "PerFrequency",
    "Velocity",
    "Wiener",
]
