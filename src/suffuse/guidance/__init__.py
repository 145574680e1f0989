"""Denoisers made of denoisers."""

from suffuse.guidance.classifier import Classifier, Rewarded
from suffuse.guidance.composed import AllOf, AnyOf
from suffuse.guidance.given import Given
from suffuse.guidance.guided import ClassifierFree, Guided, Negative
from suffuse.guidance.measured import DDNM, DPS, METHODS, DiagonalMoments, Method, Moments, PiGDM, Prior
from suffuse.guidance.merged import Merged
from suffuse.guidance.observed import Observed
from suffuse.guidance.regions import Regions
from suffuse.guidance.rules import RULES, Projected, Rescaled, Rule, Tilted
from suffuse.guidance.tiled import Tiled

__all__ = [
    "DDNM",
    "DPS",
    "METHODS",
    "RULES",
    "AllOf",
    "AnyOf",
    "Classifier",
    "ClassifierFree",
    "DiagonalMoments",
    "Given",
    "Guided",
    "Merged",
    "Method",
    "Moments",
    "Negative",
    "Observed",
    "PiGDM",
    "Prior",
    "Projected",
    "Regions",
    "Rescaled",
    "Rewarded",
    "Rule",
    "Tiled",
    "Tilted",
]
