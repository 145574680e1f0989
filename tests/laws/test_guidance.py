"""Law 7: guidance, on mixtures."""

import torch

import suffuse as sf
from tests.laws.truths import F64, schedule, three


def test_classifier_free_guidance_is_the_tilted_score():
    process, law = sf.Gaussian(schedule("vp")), three()
    denoiser, x = law.denoiser(process), torch.randn(50, 2, dtype=F64)
    condition = {"component": torch.full((50,), 1)}
    alpha, sigma = process.coordinates(0.4, x)

    def score(posterior):
        return (alpha * posterior.mean - x) / sigma**2

    whole, part = law.marginal(process, 0.4), law.component(1).marginal(process, 0.4)
    for weight in (0.0, 0.5, 1.0, 3.0):
        guided = sf.guidance.ClassifierFree(denoiser, weight)(x, 0.4, condition)
        expected = weight * part.score(x) + (1 - weight) * whole.score(x)
        assert torch.allclose(score(guided), expected, atol=1e-8)
    outside = sf.guidance.ClassifierFree(denoiser, 3.0, (0.5, 0.9))(x, 0.4, condition)
    assert torch.allclose(score(outside), part.score(x), atol=1e-8)
    each = torch.cat([torch.full((25,), 0.4), torch.full((25,), 0.6)]).double()
    mixed = sf.guidance.ClassifierFree(denoiser, 3.0, (0.5, 0.9))(x, each, condition).mean
    assert torch.allclose(mixed[:25], denoiser(x, each, condition).mean[:25])
    assert not torch.allclose(mixed[25:], denoiser(x, each, condition).mean[25:])
    auto = sf.guidance.Guided(denoiser, law.component(0).denoiser(process), 2.0)
    assert torch.allclose(
        auto(x, 0.4).mean, 2 * denoiser(x, 0.4).mean - law.component(0).denoiser(process)(x, 0.4).mean
    )
