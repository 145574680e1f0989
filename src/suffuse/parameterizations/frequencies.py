"""For heat, a Gaussian form for each frequency."""

from typing import Any

from torch import Tensor

from suffuse.parameterizations.affine import Affine
from suffuse.parameterizations.base import Parameterization
from suffuse.posteriors import Rotated
from suffuse.processes import Gaussian, Heat, Process, Time
from suffuse.processes.heat import item_times


class PerFrequency(Parameterization):
    """For heat, one of the Gaussian forms for each frequency, at its own signal-to-noise ratio.

    The network sees and gives states; what it gives is read by its coefficients.

    Args:
        form: of each frequency.
    """

    process = Heat

    def __init__(self, form: Affine) -> None:
        self.form, self.sigma_data = form, form.sigma_data

    def check(self, process: Process[Any]) -> None:
        """What the form refuses is refused."""
        super().check(process)
        assert isinstance(process, Heat)
        self.form.check(Gaussian(process.schedule))

    def inputs(self, x_t: Tensor, t: Time, process: Heat) -> tuple[Tensor, Tensor]:
        """Scaled as what is not blurred: a blur takes nothing from the mean, and little from what varies slowly."""
        return self.form.inputs(x_t, t, Gaussian(process.schedule))

    def posterior(self, output: Tensor, x_t: Tensor, t: Time, process: Heat) -> Rotated:
        """See the class."""
        t, output = item_times(t, x_t), process.to(output.to(x_t.dtype))
        return process.rotated(self.form.posterior(output, process.to(x_t), t, process.along(x_t)))
