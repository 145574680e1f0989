"""Ways to walk from noise to data."""

from collections.abc import Callable

from suffuse.samplers.adaptive import Adaptive
from suffuse.samplers.ancestral import Ancestral
from suffuse.samplers.base import Counted, Sampler, sample
from suffuse.samplers.composed import BridgeMean, Leafwise
from suffuse.samplers.default import default
from suffuse.samplers.discrete import Blocks, Cached, Confidence, Entropy, Remasking, TauLeaping
from suffuse.samplers.multistep import DEIS, IPNDM, Adams, Multistep, MultistepSDE, SASolver, UniPC
from suffuse.samplers.parallel import Parallel
from suffuse.samplers.singlestep import DPMSolver, Euler, Heun
from suffuse.samplers.stochastic import Churn, Langevin, Restart
from suffuse.samplers.tuned import Tuned

SAMPLERS: dict[str, Callable[[], Sampler]] = {
    "ddim": lambda: Ancestral(0.0),
    "ddpm": lambda: Ancestral(1.0),
    "euler": Euler,
    "heun": Heun,
    "dpm2": lambda: DPMSolver(2),
    "dpm3": lambda: DPMSolver(3),
    "adams2": lambda: Adams(2),
    "adams3": lambda: Adams(3),
    "multistep1": lambda: Multistep(1),
    "multistep2": lambda: Multistep(2),
    "multistep3": lambda: Multistep(3),
    "sde2": lambda: MultistepSDE(2, eta=0.8),  # the share whose digits looked best to judges, of 0, 0.5, 0.7, 0.8 and 1
    "sde3": lambda: MultistepSDE(3),
    "unipc2": lambda: UniPC(2),
    "unipc3": lambda: UniPC(3),
    "deis3": lambda: DEIS(3),
    "ipndm4": lambda: IPNDM(4),
    "sa2": lambda: SASolver(2),
    "churn": Churn,
    "langevin": Langevin,
    "restart": Restart,
    "adaptive": Adaptive,
    "parallel": Parallel,
    "cached": Cached,
    "jumps": TauLeaping,
    "confidence": Confidence,
    "entropy": Entropy,
    "remasking": Remasking,
    "blocks": lambda: Blocks(16),
    "bridge-mean": BridgeMean,
}
"""Every sampler by its name on the command line; the law tests run over it."""

__all__ = [
    "DEIS",
    "IPNDM",
    "SAMPLERS",
    "Adams",
    "Adaptive",
    "Ancestral",
    "Blocks",
    "BridgeMean",
    "Cached",
    "Churn",
    "Confidence",
    "Counted",
    "DPMSolver",
    "Entropy",
    "Euler",
    "Heun",
    "Langevin",
    "Leafwise",
    "Multistep",
    "MultistepSDE",
    "Parallel",
    "Remasking",
    "Restart",
    "SASolver",
    "Sampler",
    "TauLeaping",
    "Tuned",
    "UniPC",
    "default",
    "sample",
]
