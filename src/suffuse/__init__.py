"""Suffuse: diffusion models for everything you have.

The names a user needs, imported on first use so that ``import suffuse`` and ``suffuse --help`` are quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from suffuse import codecs as codecs
    from suffuse import exact as exact
    from suffuse import grids as grids
    from suffuse import guidance as guidance
    from suffuse import interop as interop
    from suffuse import likelihood as likelihood
    from suffuse import networks as networks
    from suffuse import objectives as objectives
    from suffuse import operators as operators
    from suffuse import parameterizations as parameterizations
    from suffuse import posteriors as posteriors
    from suffuse import processes as processes
    from suffuse import recipes as recipes
    from suffuse import restoration as restoration
    from suffuse import samplers as samplers
    from suffuse import schedules as schedules
    from suffuse import tree as tree
    from suffuse.denoiser import Denoiser as Denoiser
    from suffuse.errors import UserError as UserError
    from suffuse.learn import train as train
    from suffuse.likelihood import elbo as elbo
    from suffuse.likelihood import log_likelihood as log_likelihood
    from suffuse.model import Model as Model
    from suffuse.posteriors import Categorical as Categorical
    from suffuse.posteriors import Joint as Joint
    from suffuse.posteriors import Mixture as Mixture
    from suffuse.posteriors import Normal as Normal
    from suffuse.posteriors import Rotated as Rotated
    from suffuse.processes import Bridge as Bridge
    from suffuse.processes import Discrete as Discrete
    from suffuse.processes import Gaussian as Gaussian
    from suffuse.processes import Heat as Heat
    from suffuse.processes import Product as Product
    from suffuse.rng import Streams as Streams
    from suffuse.samplers import sample as sample
    from suffuse.store import load as load
    from suffuse.tuning import tune as tune

__version__ = "0.1.0"

_WHERE = {
    "Bridge": "processes",
    "Categorical": "posteriors",
    "Denoiser": "denoiser",
    "Discrete": "processes",
    "Gaussian": "processes",
    "Heat": "processes",
    "Joint": "posteriors",
    "Mixture": "posteriors",
    "Model": "model",
    "Normal": "posteriors",
    "Product": "processes",
    "Rotated": "posteriors",
    "Streams": "rng",
    "UserError": "errors",
    "elbo": "likelihood",
    "load": "store",
    "log_likelihood": "likelihood",
    "sample": "samplers",
    "train": "learn",
    "tune": "tuning",
}
_MODULES = (
    "codecs",
    "exact",
    "grids",
    "guidance",
    "interop",
    "likelihood",
    "networks",
    "objectives",
    "operators",
    "parameterizations",
    "posteriors",
    "processes",
    "recipes",
    "restoration",
    "samplers",
    "schedules",
    "tree",
)

__all__ = [
    "Bridge",
    "Categorical",
    "Denoiser",
    "Discrete",
    "Gaussian",
    "Heat",
    "Joint",
    "Mixture",
    "Model",
    "Normal",
    "Product",
    "Rotated",
    "Streams",
    "UserError",
    "__version__",
    "codecs",
    "elbo",
    "exact",
    "grids",
    "guidance",
    "interop",
    "likelihood",
    "load",
    "log_likelihood",
    "networks",
    "objectives",
    "operators",
    "parameterizations",
    "posteriors",
    "processes",
    "recipes",
    "restoration",
    "sample",
    "samplers",
    "schedules",
    "train",
    "tree",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"suffuse.{_WHERE[name]}"), name)
    if name in _MODULES:
        return import_module(f"suffuse.{name}")
    raise AttributeError(f"module 'suffuse' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
