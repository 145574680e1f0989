r"""Averages of the weights with power-function profiles, several widths at once, and any other width afterwards.

After :math:`n` images, the average with exponent :math:`\gamma` is

.. math:: \hat\theta_\gamma(n) = \frac{\gamma + 1}{n^{\gamma + 1}} \int_0^n \tau^\gamma \theta(\tau) \, d\tau, \qquad
    \sigma_\text{rel} = \frac{1}{\gamma + 2} \sqrt{\frac{\gamma + 1}{\gamma + 3}},

where the relative width :math:`\sigma_\text{rel}` is the deviation of the profile as a share of the training.

Source: "Analyzing and Improving the Training Dynamics of Diffusion Models" (Karras, Aittala, Lehtinen, Hellsten, Aila,
Laine, 2024), section 3.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from suffuse.errors import UserError
from suffuse.files import sync

SNAPSHOTS = "snapshots"
"""Folder of a run with the averages at several times."""


def exponent(width: float) -> float:
    r"""The exponent :math:`\gamma` of a relative width in (0, 0.288).

    Example:
        >>> round(exponent(0.05), 2), round(exponent(0.10), 2)
        (16.97, 6.94)
    """
    return float(np.roots([1, 7, 16 - width**-2, 12 - width**-2]).real.max())


class Averages:
    r"""Averages of a module's parameters, one for each relative width.

    A step to n images from n - b multiplies an average by :math:`\beta = (1 - b / n)^{\gamma + 1}`, which makes it the
    integral above exactly, for weights that are constant within a step.

    Args:
        module: whose parameters to average.
        widths: relative widths.
    """

    def __init__(self, module: nn.Module, widths: Sequence[float]) -> None:
        self.parameters = dict(module.named_parameters())
        self.tensors = {
            width: {name: value.detach().clone() for name, value in self.parameters.items()} for width in widths
        }
        self._exponents = {width: exponent(width) for width in widths}
        self._lists = [(width, list(tensors.values())) for width, tensors in self.tensors.items()]

    @torch.no_grad()
    def update(self, images: int, batch: int) -> None:
        """Take in the weights after a step of ``batch`` items, the last of ``images``."""
        now: list[Tensor] = list(self.parameters.values())
        for width, tensors in self._lists:
            torch._foreach_lerp_(tensors, now, 1 - (1 - batch / images) ** (self._exponents[width] + 1))  # pyright: ignore

    @contextmanager
    def applied(self, width: float) -> Generator[None]:
        """The module with an average in the place of its own weights; nothing is copied."""
        self._swap(width)
        try:
            yield
        finally:
            self._swap(width)

    def _swap(self, width: float) -> None:
        for name, average in self.tensors[width].items():
            parameter = self.parameters[name]
            parameter.data, average.data = average.data, parameter.data


def coefficients(times: Sequence[float], widths: Sequence[float], target: float, width: float) -> tuple[Tensor, Tensor]:
    r"""How to mix averages into one of another width, by least squares between the profiles.

    Args:
        times: images at which each average was taken.
        widths: relative width of each.
        target: images at which the wanted average would have been taken.
        width: its relative width.

    Returns:
        The factors, one per average, and what is left of the wanted profile, as a share of its norm.
    """
    gammas = torch.tensor([exponent(w) for w in widths], dtype=torch.float64)
    ends = torch.tensor(times, dtype=torch.float64) / target
    gamma, end = torch.tensor([exponent(width)], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    gram = _inner(ends, gammas, ends, gammas)
    scale = gram.diagonal().rsqrt()
    wanted = _inner(ends, gammas, end, gamma)
    norm = _inner(end, gamma, end, gamma)
    # Profiles of unit norm: the cutoff on singular values then has one meaning, and rounding is not amplified.
    mixed = torch.linalg.lstsq(gram * scale[:, None] * scale, wanted * scale[:, None], rcond=1e-8, driver="gelsd")
    factors = mixed.solution * scale[:, None]
    rest = norm - 2 * factors.T @ wanted + factors.T @ gram @ factors
    return factors.squeeze(1), (rest / norm).clamp(min=0).sqrt().squeeze()


def _inner(ends_a: Tensor, gammas_a: Tensor, ends_b: Tensor, gammas_b: Tensor) -> Tensor:
    r""":math:`\int p_a p_b`: (a+1)(b+1) / (a+b+1) (t / T)^c / T; t is the earlier end, T the later, c its exponent."""
    a, b = gammas_a[:, None], gammas_b[None]
    early, late = torch.minimum(ends_a[:, None], ends_b), torch.maximum(ends_a[:, None], ends_b)
    later = torch.where(ends_a[:, None] > ends_b, a.expand(-1, b.shape[1]), b.expand(a.shape[0], -1))
    return (a + 1) * (b + 1) / (a + b + 1) * (early / late) ** later / late


def save_snapshot(run: Path, images: int, averages: Averages) -> None:
    """Keep the averages of now, in half precision, for :func:`reconstruct`."""
    folder = run / SNAPSHOTS
    folder.mkdir(exist_ok=True)
    path, aside = folder / f"{images:010d}.safetensors", folder / ".tmp"
    tensors = {
        f"{width}/{name}": value.half().cpu().contiguous()
        for width, values in averages.tensors.items()
        for name, value in values.items()
    }
    save_file(tensors, aside)
    sync(aside)
    aside.replace(path)
    sync(folder)


def drop_snapshots(run: Path, after: int) -> None:
    """Delete what was kept after so many images: training goes on from there, maybe on another path."""
    for path in (run / SNAPSHOTS).glob("*.safetensors"):
        if int(path.stem) > after:
            path.unlink()


def reconstruct(run: str | Path, width: float) -> Mapping[str, Tensor]:
    """The average of another relative width at the end of a training, from what was kept during it.

    Args:
        run: the run folder.
        width: relative width in (0, 0.288); narrower than the narrowest that was tracked is guessed badly.

    Returns:
        The denoiser's parameters by name, in float32.

    Raises:
        UserError: the run has kept nothing.
    """
    paths = sorted((Path(run) / SNAPSHOTS).glob("*.safetensors"))
    if not paths:
        raise UserError(f"{run} has kept no averages of its weights; train it first")
    places: list[tuple[Path, str]] = []
    for path in paths:
        with safe_open(path, "pt") as file:
            places += [(path, tracked) for tracked in sorted({name.split("/", 1)[0] for name in file.keys()})]
    times = [int(path.stem) for path, _ in places]
    factors, _ = coefficients(times, [float(tracked) for _, tracked in places], times[-1], width)
    result: dict[str, Tensor] = {}
    for (path, tracked), factor in zip(places, factors.tolist(), strict=True):
        with safe_open(path, "pt") as file:
            for name in file.keys():
                kind, parameter = name.split("/", 1)
                if kind == tracked:
                    result[parameter] = result.get(parameter, 0.0) + factor * file.get_tensor(name).float()
    return result
