"""Restoration that forgets its noise in every step."""

from typing import Any

from torch import Tensor

from suffuse.guidance import Observed
from suffuse.operators import Linear
from suffuse.restoration.base import Restorer, noised
from suffuse.rng import Streams
from suffuse.tree import Condition


class DAPS(Restorer):
    r"""Decoupled annealing: a clean state is drawn given x_t and y, and noised to the next level from scratch.

    .. math:: x_0 \sim N(m_y, C), \qquad x_s = \alpha_s x_0 + \sigma_s \varepsilon,

    where :math:`m_y` is the mean that the :class:`~suffuse.guidance.Observed` answers, and C what the measurement
    leaves of what x_t leaves open, the :class:`~suffuse.parameterizations.Spread` of the network's form. As no noise is
    kept, what early steps got wrong is forgotten; as steps grow and it falls with :math:`\sigma_t`,
    the draws converge to the posterior, also where it has several modes near each other. The last step gives its mean.

    In the source :math:`m_y` comes from a walk of several steps without the measurement, and the draw from Langevin's
    dynamics. Here the draw is exact for a linear operator and independent elements, and others are taken to be linear
    around the mean. One evaluation a step, and the method's passes.

    Source: "Improving Diffusion Inverse Problem Solving with Decoupled Noise Annealing" (Zhang, Chu, Berner, Meng,
    Anandkumar, Song, 2024).
    """

    exact = True

    def down(
        self, observed: Observed, x_t: Tensor, t: Tensor, s: Tensor, condition: Condition, prepared: Any, rng: Streams
    ) -> Tensor:
        """See the class."""
        at = observed.around(x_t, t, condition, observed.method.through)
        mean = observed.method(at)
        if float(s) == 0:  # what is known without noise holds, however few the steps
            exact = observed.noise == 0 and isinstance(observed.operator, Linear)
            return observed.measured(mean).nearest(at.spread.alone) if exact else mean
        deviation = at.measured.deviation(at.spread, rng.fold("state").normal(x_t), rng)
        return noised(observed, mean + deviation, s, rng.fold("noise"))
