"""Models trained elsewhere: our call is theirs, our DDIM theirs step for step, and both ways through a folder."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import suffuse as sf
from suffuse.codecs.conditions import ClassCodec
from suffuse.codecs.image import ImageCodec
from suffuse.guidance import ClassifierFree
from suffuse.interop.diffusers import export, load
from suffuse.model import Model, Origin
from suffuse.pictures import made_by
from suffuse.recipes.recipe import DataSection, NetworkSection, Recipe, SamplingSection
from tests.interop.pipelines import PIPELINES, ddim, ddpm, unet

STEPS = 10
TOLD = {name: {"ddpm": None, "dit": "3"}.get(name, "a cat") for name in PIPELINES}


def opened(name, source) -> Model:
    """At the size of the others; Flux does not say its own."""
    return load(source, size=16 if name == "flux" else None)


def start(model: Model, n: int = 2) -> torch.Tensor:
    return torch.randn(n, *model.codec.shape, generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def their_walk(name, pipeline, z, guidance):
    """States after each step of their own pipeline, or of their scheduler where the pipeline takes no start."""
    states = []
    if name in ("ddpm", "dit"):
        network = pipeline.unet if name == "ddpm" else pipeline.transformer
        pipeline.scheduler.set_timesteps(STEPS)
        x = z
        for t in pipeline.scheduler.timesteps:
            if name == "ddpm":
                answer = network(x, t).sample
            else:
                label, null = (torch.full((len(x),), k) for k in (3, 1000))
                told, untold = (network(x, timestep=t.expand(len(x)), class_labels=k).sample for k in (label, null))
                told, untold = told[:, :4], untold[:, :4]  # the rest is a variance
                answer = untold + guidance * (told - untold)
            x = pipeline.scheduler.step(answer, t, x).prev_sample
            states.append(x)
        return states

    def keep(pipeline, number, t, tensors):
        states.append(tensors["latents"].clone())
        return tensors

    options = {"num_inference_steps": STEPS, "guidance_scale": guidance, "output_type": "latent", "latents": z}
    if name == "flux":  # which lays its latents out, and has guidance by another name
        options |= {"latents": pipeline._pack_latents(z, *z.shape), "height": 16, "width": 16, "guidance_scale": 3.5}
        options |= {"true_cfg_scale": guidance, "negative_prompt": [""] * len(z)}
    pipeline(prompt=["a cat"] * len(z), callback_on_step_end=keep, **options)
    return [pipeline._unpack_latents(x, 16, 16, 2) for x in states] if name == "flux" else states


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("name", PIPELINES)
def test_our_ddim_is_theirs_step_for_step(name, guidance, folders, pipelines):
    guidance = 1.0 if name == "ddpm" else guidance  # which is told nothing
    pipeline, model = pipelines[name], opened(name, folders[name])
    z = start(model)
    theirs = their_walk(name, pipeline, z, guidance)
    scheduler = pipeline.scheduler
    flow = type(scheduler).__name__.startswith("Flow")
    times = scheduler.sigmas if flow else torch.cat([(scheduler.timesteps + 1) / 1000, torch.zeros(1)])
    told = model.encode_condition(model.columns(TOLD[name], len(z)), torch.device("cpu"))
    denoiser = model.denoiser if guidance == 1 else ClassifierFree(model.denoiser, guidance)
    ours = []
    sf.sample(denoiser, sf.samplers.Ancestral(0.0), z, times.double(), told, callback=lambda k, t, x: ours.append(x))
    assert len(ours) == len(theirs) == STEPS
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-4 * float(b.abs().max())), float((a - b).abs().max())


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("classes", [None, 3])
def test_our_call_is_theirs(prediction, classes, tmp_path):
    pipeline = ddpm(tmp_path / "pipeline", prediction, classes)
    model = sf.load(tmp_path / "pipeline")
    x, steps = start(model, 3), torch.tensor([0, 400, 999])
    labels = None if classes is None else torch.tensor([0, 2, 1])
    with torch.no_grad():
        theirs = pipeline.unet(x, steps, class_labels=labels).sample
        told = None if labels is None else {"label": labels}
        ours = model.denoiser(x, (steps + 1) / 1000, told).mean
    kept = pipeline.scheduler.alphas_cumprod[steps].view(-1, 1, 1, 1)
    alpha, sigma = kept.sqrt(), (1 - kept).sqrt()
    mean = {
        "epsilon": (x - sigma * theirs) / alpha,
        "sample": theirs,
        "v_prediction": alpha * x - sigma * theirs,
    }[prediction]
    scale = mean.flatten(1).abs().amax(1).clamp(min=1).view(-1, 1, 1, 1)  # of epsilon 1 / alpha at the noisy end
    assert ((ours - mean) / scale).abs().max() < 1e-5


@pytest.mark.parametrize("name", PIPELINES)
def test_pictures_of_a_folder_are_those_of_its_parts(name, folders, pipelines):
    """From the folder, the pipeline, its parts by name, and as a list, which cannot say what the null of SDXL is."""
    kept = {key: part for key, part in pipelines[name].components.items() if part is not None}
    parts = kept | {"force_zeros_for_empty_prompt": name == "large"}
    sources = [folders[name], pipelines[name], parts, list(kept.values())][: 3 if name == "large" else 4]
    models = [opened(name, source) for source in sources]
    pictures = [model.generate(2, condition=TOLD[name], steps=3, seed=1) for model in models]
    first, *rest = (np.stack([np.asarray(image) for image in each]).astype(int) for each in pictures)
    assert max(np.abs(each - first).max() for each in rest) <= 1  # where a weight lies in memory may turn a rounding
    others = models[0].generate(2, condition=TOLD[name] and {"dit": "2"}.get(name, "dogs"), steps=3, seed=1)
    assert (others[0].tobytes() == pictures[0][0].tobytes()) == (TOLD[name] is None)


def test_a_folder_on_the_command_line(folders, pipelines, tmp_path):
    command = [sys.executable, "-m", "suffuse", "generate", str(folders["ddpm"]), "-n", "2", "--steps", "2"]
    done = subprocess.run([*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("*.png"))) >= 2


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_the_process_is_their_table(schedule):
    scheduler = ddim(beta_schedule=schedule)
    denoiser = sf.interop.diffusers.denoiser(unet(), scheduler)
    t = torch.arange(1, 1001, dtype=torch.float64) / 1000
    assert torch.allclose(denoiser.process.schedule.alpha(t) ** 2, scheduler.alphas_cumprod.double(), rtol=1e-6, atol=0)


# Ours as theirs


@pytest.fixture(scope="module")
def own():
    torch.manual_seed(0)
    recipe = Recipe(
        data=DataSection(size=8, channels=3, condition=("label",)),
        network=NetworkSection(width=16, multipliers=(1, 2), blocks=1),
        sampling=SamplingSection(sampling_steps=3),
    )
    model = Model(ImageCodec(8, 3), {"label": ClassCodec(["cat", "dog"])}, recipe, Origin("small", "nothing"))
    for parameter in model.denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.fixture
def exported(own, tmp_path):
    export(own, tmp_path / "exported")
    return tmp_path / "exported"


OPEN = """
import sys, torch
from diffusers import DiffusionPipeline
{more}
pipeline = DiffusionPipeline.from_pretrained(sys.argv[1]{options})
pipeline.set_progress_bar_config(disable=True)
images = pipeline(batch_size=2, num_inference_steps=5, generator=torch.Generator().manual_seed(0)).images
print([image.size for image in images])
"""


@pytest.mark.parametrize("way", ["import", "custom pipeline"])
def test_an_exported_folder_opens_in_a_fresh_process(way, exported):
    more = "import suffuse.interop.diffusers" if way == "import" else ""
    options = "" if way == "import" else ", custom_pipeline=sys.argv[1], trust_remote_code=True"
    script = OPEN.format(more=more, options=options)
    done = subprocess.run([sys.executable, "-c", script, str(exported)], capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("[(8, 8), (8, 8)]"), done.stderr


def test_an_exported_pipeline_draws_what_the_model_draws(own, exported):
    """The same noise, DDIM and table on both sides, for a class and with guidance."""
    pipeline = sf.interop.diffusers.SuffusePipeline.from_pretrained(exported)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        2, condition="dog", guidance_scale=2.0, num_inference_steps=5, generator=torch.Generator().manual_seed(3)
    ).images
    table = sf.Gaussian(sf.schedules.Tabulated.linear(1000, 1e-4, 0.02))
    z = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    told = own.encode_condition(own.columns("dog", 2), torch.device("cpu"))
    guided = ClassifierFree(own.denoiser, 2.0)
    schedule = own.denoiser.process.schedule

    def mean(x, t, condition):
        """The exact same question in the coordinates of the model's own process."""
        at = schedule.inverse(table.schedule.log_snr(torch.as_tensor(t, dtype=torch.float64)))
        alpha, sigma = table.coordinates(t, x)
        own_alpha, own_sigma = own.denoiser.process.coordinates(at, x)
        scale = ((own_alpha**2 + own_sigma**2) / (alpha**2 + sigma**2)).sqrt()
        return guided(x * scale, at, told).mean

    times = torch.tensor([1.0, 0.8, 0.6, 0.4, 0.2, 0.0], dtype=torch.float64)
    carried = sf.Denoiser.from_function(table, mean)
    ours = own.codec.decode(sf.sample(carried, sf.samplers.Ancestral(0.0), z, times))
    for a, b in zip(ours, theirs, strict=True):
        difference = [abs(p - q) for p, q in zip(a.tobytes(), b.tobytes(), strict=True)]
        assert max(difference) <= 1  # the last bit of a pixel's rounding


def test_an_exported_folder_is_the_model_again(own, exported):
    again = sf.load(exported)
    ours, theirs = (model.generate(2, condition="cat", steps=4, seed=2) for model in (own, again))
    assert [image.tobytes() for image in ours] == [image.tobytes() for image in theirs]
    assert again.describe() == own.describe()


def test_a_solver_tuned_to_a_folder_is_kept_in_it(tmp_path):
    ddpm(tmp_path / "pipeline")
    model = sf.load(tmp_path / "pipeline")
    model.tune(2)
    assert "tuned       2 steps" in model.describe()
    model.solvers.save(tmp_path / "pipeline")
    ours, again = (m.generate(2, steps=2, seed=3) for m in (model, sf.load(tmp_path / "pipeline")))
    assert [image.tobytes() for image in ours] == [image.tobytes() for image in again]
    assert made_by(again[0])["sampler"] == "Tuned"
