"""Denoisers made of denoisers."""

from suffuse.guidance.classifier import Classifier, Rewarded
from suffuse.guidance.composed import AllOf, AnyOf
from suffuse.guidance.given import Given
from suffuse.guidance.guided import ClassifierFree, Guided, Negative
from suffuse.guidance.rules import RULES, Projected, Rescaled, Rule, Tilted

__all__ = [
    "RULES",
    "AllOf",
    "AnyOf",
    "Classifier",
    "ClassifierFree",
    "Given",
    "Guided",
    "Negative",
    "Projected",
    "Rescaled",
    "Rewarded",
    "Rule",
    "Tilted",
]
