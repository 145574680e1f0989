"""Denoisers made of denoisers."""

from suffuse.guidance.guided import ClassifierFree, Guided

__all__ = ["ClassifierFree", "Guided"]
