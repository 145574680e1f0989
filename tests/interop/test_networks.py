"""Every call that their pipelines make of their network is our call, and every picture that they draw is ours."""

import inspect

import pytest
import torch
from PIL import Image

import suffuse as sf
from suffuse.codecs.image import ImageCodec
from suffuse.guidance import ClassifierFree
from suffuse.interop.diffusers import load
from tests.interop.pipelines import PIPELINES, TABLE, ddim, unet, vae

STEPS, WEIGHT = 4, 3.0
OPTIONS = {
    "ddpm": {"batch_size": 2},
    "dit": {"class_labels": [3, 3], "guidance_scale": WEIGHT},
    "flux": {"prompt": ["a cat"] * 2, "true_cfg_scale": WEIGHT, "negative_prompt": [""] * 2, "height": 16, "width": 16},
}
TOLD = {"ddpm": None, "dit": "3"}


class Listener:
    """The calls of a network, by the names of its arguments."""

    def __init__(self, network):
        self.calls = []
        self.signature = inspect.signature(type(network).forward)
        self.handle = network.register_forward_hook(self, with_kwargs=True)

    def __call__(self, network, args, kwargs, output):
        heard = self.signature.bind(network, *args, **kwargs).arguments
        x = heard["sample"] if "sample" in heard else heard["hidden_states"]
        self.calls.append((x, heard["timestep"], output[0]))


@pytest.mark.parametrize("name", PIPELINES)
def test_calls_and_pictures_are_theirs(name, folders, pipelines):
    """They stack what is told and what is not in one batch, or call twice; either way each item is compared."""
    pipeline, model = pipelines[name], load(folders[name], size=16 if name == "flux" else None)
    listener = Listener(pipeline.components["unet" if "unet" in pipeline.components else "transformer"])
    options = OPTIONS.get(name, {"prompt": ["a cat"] * 2, "guidance_scale": WEIGHT})
    generator = torch.Generator().manual_seed(1)
    pictures = pipeline(num_inference_steps=STEPS, generator=generator, **options).images
    listener.handle.remove()

    told = TOLD.get(name, "a cat")
    condition, nothing = (model.encode_condition(model.columns(what, 2)) for what in (told, None))
    asked = model.denoiser.network
    for number, (x, t, theirs) in enumerate(listener.calls):
        if name == "flux":  # laid out in tokens, its clock in [0, 1], told first and then not
            x, theirs, t = *(pipeline._unpack_latents(y, 16, 16, 2) for y in (x, theirs)), t * 1000
            order = [nothing if number % 2 else condition]
        else:
            order = [condition] if name == "ddpm" else [condition, nothing] if name == "dit" else [nothing, condition]
        assert len(x) == 2 * len(order)
        with torch.no_grad():
            parts = zip(x.chunk(len(order)), t.expand(len(x)).chunk(len(order)), order, strict=True)
            ours = torch.cat([asked(part, at, what) for part, at, what in parts])
        assert (ours - theirs[:, : x.shape[1]]).abs().max() < 1e-5

    z = listener.calls[0][0][:2]
    z = pipeline._unpack_latents(z, 16, 16, 2) if name == "flux" else z
    scheduler = pipeline.scheduler
    table = torch.cat([(scheduler.timesteps + 1) / 1000, torch.zeros(1)])
    times = scheduler.sigmas if type(scheduler).__name__.startswith("Flow") else table
    denoiser = model.denoiser if told is None else ClassifierFree(model.denoiser, WEIGHT)
    ours = model.codec.decode(sf.sample(denoiser, sf.samplers.Ancestral(0.0), z, times.double(), condition))
    for a, b in zip(ours, pictures, strict=True):
        assert max(abs(p - q) for p, q in zip(a.tobytes(), b.tobytes(), strict=True)) <= 1  # a pixel's last bit


@pytest.mark.parametrize("shift", [None, 0.3])
def test_latents_are_scaled_as_the_autoencoder_says(shift):
    """What goes in comes out as by the autoencoder alone, and is scaled and shifted in between."""
    from suffuse.interop.diffusers.latents import Latents

    torch.manual_seed(6)
    theirs = vae(scaling_factor=0.7, shift_factor=shift)
    pictures = ImageCodec(16)
    codec = Latents(pictures, theirs, (8, 8))
    raw = [Image.effect_noise((16, 16), 60).convert("RGB") for _ in range(3)]
    pixels, latents = pictures.encode(raw), codec.encode(raw)
    with torch.no_grad():
        plain = theirs.encode(pixels).latent_dist.mean
        back = pictures.decode(theirs.decode(plain).sample)
    assert latents.shape[1:] == codec.shape
    assert torch.allclose(latents, (plain - (shift or 0)) * 0.7, atol=1e-5)
    for a, b in zip(codec.decode(latents), back, strict=True):
        assert max(abs(p - q) for p, q in zip(a.tobytes(), b.tobytes(), strict=True)) <= 1


@pytest.mark.parametrize("prediction", ["sample", "v_prediction"])
def test_a_table_that_ends_in_nothing_but_noise(prediction):
    """Betas rescaled to zero signal at the end, where their DDIM starts as ours does."""
    torch.manual_seed(7)
    network = unet().eval()
    scheduler = ddim(prediction_type=prediction, rescale_betas_zero_snr=True)
    model = load([network, scheduler])
    assert float(model.denoiser.process.schedule.alpha(torch.tensor(1.0))) == 0
    scheduler.set_timesteps(10)
    x = z = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(8))
    ours = []
    times = torch.cat([(scheduler.timesteps + 1) / 1000, torch.zeros(1)]).double()
    sf.sample(model.denoiser, sf.samplers.Ancestral(0.0), z, times, callback=lambda k, t, x: ours.append(x))
    for t, mine in zip(scheduler.timesteps, ours, strict=True):
        with torch.no_grad():
            x = scheduler.step(network(x, t).sample, t, x).prev_sample
        assert torch.allclose(mine, x, rtol=0, atol=2e-5 * float(x.abs().max()))


def test_other_schedulers_of_a_table_and_of_a_flow_are_read():
    """The same table and prediction make the same denoiser, whoever walks it; a flow has no table."""
    import diffusers

    torch.manual_seed(9)
    network = unet().eval()
    x = torch.randn(2, 3, 8, 8)
    asked = [
        load([network, getattr(diffusers, kind)(beta_start=TABLE["beta_start"], beta_end=TABLE["beta_end"])])
        for kind in ("DDIMScheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler", "PNDMScheduler")
    ]
    means = [model.denoiser(x, 0.4).mean for model in asked]
    assert all(torch.equal(mean, means[0]) for mean in means)
    flow = load([network, diffusers.UniPCMultistepScheduler(use_flow_sigmas=True, flow_shift=3.0)]).denoiser
    with torch.no_grad():
        velocity = network(x, torch.tensor(400.0)).sample
    assert torch.allclose(flow(x, 0.4).mean, x - 0.4 * velocity, atol=1e-5)
    with pytest.raises(sf.UserError, match="predicts epsilon is not known"):
        load([network, diffusers.EulerDiscreteScheduler(timestep_type="continuous")])


def test_a_network_alone_is_told_embeddings_and_gives_latents(pipelines):
    """Without text encoders and autoencoder: the denoiser for `sample`, and tensors from `generate`."""
    pipeline = pipelines["stable"]
    whole, bare = load(pipeline), load([pipeline.unet, pipeline.scheduler])
    told = whole.encode_condition(whole.columns("a cat", 2))
    assert bare.conditions == {}
    assert bare.codec.shape == whole.codec.shape
    x = torch.randn(2, *bare.codec.shape)
    embedded = {"prompt": told["prompt"]}
    assert torch.equal(bare.denoiser(x, 0.7, embedded).mean, whole.denoiser(x, 0.7, told).mean)
    sampler, times = sf.samplers.default(bare.denoiser, 4)
    ends = [sf.sample(model.denoiser, sampler, x, times, told) for model in (bare, whole)]
    assert torch.equal(*ends)
    with pytest.raises(sf.UserError, match="made to go without a prompt"):
        bare.generate(1, steps=2)
    labelled = load([pipelines["dit"].transformer, pipelines["dit"].scheduler])
    latents = labelled.generate(2, condition=3, steps=2)
    pictures = load(pipelines["dit"]).generate(2, condition=3, steps=2)
    decoded = load(pipelines["dit"]).codec.decode(torch.stack(latents))
    assert [image.tobytes() for image in decoded] == [image.tobytes() for image in pictures]
    assert torch.equal(labelled.codec.encode(latents), torch.stack(latents))
