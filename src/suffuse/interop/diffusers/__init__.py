"""Models of the diffusers library as ours, and ours as pipelines of it. Needs ``pip install 'suffuse[diffusers]'``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from suffuse.interop.diffusers.exporting import export
from suffuse.interop.diffusers.loading import denoiser, load

if TYPE_CHECKING:
    from suffuse.interop.diffusers.exported import SuffusePipeline, SuffuseUNet

__all__ = ["SuffusePipeline", "SuffuseUNet", "denoiser", "export", "load"]


def __getattr__(name: str) -> Any:
    # Their base classes take seconds to import. By ModelMixin their loader knows how to read a part of this library.
    if name in ("SuffusePipeline", "SuffuseUNet", "ModelMixin"):
        return getattr(import_module("suffuse.interop.diffusers.exported"), name)
    raise AttributeError(f"module 'suffuse.interop.diffusers' has no attribute {name!r}")
