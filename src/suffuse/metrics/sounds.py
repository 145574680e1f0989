"""How near a sound is to what it should be."""

import numpy as np

from suffuse.sounds import spectrogram

_QUIETEST = 60.0
"""Decibels below the loudest of the truth where differences no longer count."""


def si_sdr(sound: np.ndarray, truth: np.ndarray) -> float:
    r"""Signal over distortion in decibels, whatever the loudness: :math:`10 \log_{10} \|a s\|^2 / \|x - a s\|^2`.

    Means are taken off first, and a is what makes the distortion least.

    Source: "SDR - half-baked or well done?" (Le Roux, Wisdom, Erdogan, Hershey, 2019).

    Args:
        sound: x, (T,).
        truth: s, (T,).

    Example:
        >>> truth = np.array([1.0, -1.0, 1.0, -1.0])
        >>> round(si_sdr(3 * truth + np.array([0.3, 0.3, -0.3, -0.3]), truth), 4)
        20.0
    """
    sound, truth = sound - sound.mean(dtype=np.float64), truth - truth.mean(dtype=np.float64)
    target = (sound @ truth) / (truth @ truth) * truth
    return decibels(target, sound - target)


def decibels(signal: np.ndarray, rest: np.ndarray) -> float:
    """Energy of one over that of another, in decibels.

    Example:
        >>> round(decibels(np.array([10.0]), np.array([1.0])), 4)
        20.0
    """
    energies = [max(float(np.square(each, dtype=np.float64).sum()), 1e-20) for each in (signal, rest)]
    return 10 * float(np.log10(energies[0] / energies[1]))


def log_spectral_distance(sound: np.ndarray, truth: np.ndarray, rate: int) -> float:
    r"""Mean over moments of the root mean square over frequencies of the difference of powers in decibels.

    Powers below the loudest of the truth by more than 60 decibels are taken to be that low.

    Source: "Distance Measures for Speech Processing" (Gray, Markel, 1976).

    Args:
        sound: (T,).
        truth: (T,).
        rate: samples a second.

    Example:
        >>> noise = np.random.default_rng(0).standard_normal(4000).astype(np.float32)
        >>> round(log_spectral_distance(noise / 10, noise, 8000), 1)
        20.0
    """
    wanted = spectrogram(truth[None], rate)
    least = float(wanted.max()) - _QUIETEST
    difference = np.maximum(spectrogram(sound[None], rate), least) - np.maximum(wanted, least)
    return float(np.sqrt(np.square(difference).mean(0)).mean())
