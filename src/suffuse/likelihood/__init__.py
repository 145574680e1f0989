"""How likely is an item? A bound for every process, the flow of Gaussian ones, and bits per dimension.

Every estimate comes with its standard error: :func:`estimate_elbo` and :func:`estimate_log_likelihood` give both,
:func:`elbo` and :func:`log_likelihood` the value alone.
"""

from suffuse.likelihood.bound import EARLIEST, elbo, estimate_elbo
from suffuse.likelihood.calibration import calibration_error, cross_entropy, fit_temperature, tempered
from suffuse.likelihood.classes import Race, log_prob_of_parts, race
from suffuse.likelihood.estimate import Estimate, bits_per_dimension, dequantise
from suffuse.likelihood.flow import EXACT_UP_TO, PROBES, estimate_log_likelihood, log_likelihood
from suffuse.likelihood.scores import METHODS, Score, joined, score

__all__ = [
    "EARLIEST",
    "EXACT_UP_TO",
    "METHODS",
    "PROBES",
    "Estimate",
    "Race",
    "Score",
    "bits_per_dimension",
    "calibration_error",
    "cross_entropy",
    "dequantise",
    "elbo",
    "estimate_elbo",
    "estimate_log_likelihood",
    "fit_temperature",
    "joined",
    "log_likelihood",
    "log_prob_of_parts",
    "race",
    "score",
    "tempered",
]
