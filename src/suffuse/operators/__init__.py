"""What was measured of a state: restoration is an operator and a number."""

from suffuse.operators.base import Composed, Decomposed, Linear, Operator
from suffuse.operators.dense import Downsample, Grey, Matrix
from suffuse.operators.frequencies import BandLimit, Blur, Fourier, RandomProjection
from suffuse.operators.functions import LinearFunction
from suffuse.operators.gradients import conjugate_directions, conjugate_gradients
from suffuse.operators.jpeg import JPEG
from suffuse.operators.masks import Identity, Mask
from suffuse.operators.naming import OPERATORS, of_measurement, parse
from suffuse.operators.nonlinear import Clip, Function, Quantise
from suffuse.operators.signals import Mixture, Response
from suffuse.operators.sparse import Radon, Sensors
from suffuse.operators.spectrum import Spectrum
from suffuse.operators.stacked import Stacked

__all__ = [
    "JPEG",
    "OPERATORS",
    "BandLimit",
    "Blur",
    "Clip",
    "Composed",
    "Decomposed",
    "Downsample",
    "Fourier",
    "Function",
    "Grey",
    "Identity",
    "Linear",
    "LinearFunction",
    "Mask",
    "Matrix",
    "Mixture",
    "Operator",
    "Quantise",
    "Radon",
    "RandomProjection",
    "Response",
    "Sensors",
    "Spectrum",
    "Stacked",
    "conjugate_directions",
    "conjugate_gradients",
    "of_measurement",
    "parse",
]
