"""Weights from and to other libraries."""

from suffuse.interop import diffusers

__all__ = ["diffusers"]
