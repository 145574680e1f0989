"""What cannot be read or written is refused in one line, and nothing in a folder is run."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

import suffuse as sf
from suffuse.interop.diffusers import export, load
from tests.interop.pipelines import ddim, ddpm, stable, unet

INDEX = "model_index.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"


def told(**changes):
    """A change of what the index says; None takes a part out."""

    def change(folder):
        index = json.loads((folder / INDEX).read_text()) | changes
        (folder / INDEX).write_text(json.dumps({name: part for name, part in index.items() if part is not None}))

    return change


def rename_weights(folder):
    for file in folder.rglob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))


def cut_weights(folder):
    file = folder / "unet" / WEIGHTS
    file.write_bytes(file.read_bytes()[:1000])


def lose_a_weight(folder):
    file = folder / "unet" / WEIGHTS
    weights = load_file(file)
    weights.popitem()
    save_file(weights, file)


def shrink(folder):
    file = folder / "unet" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"block_out_channels": [8, 16]}))


def predict(what):
    def change(folder):
        file = folder / "scheduler" / "scheduler_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"prediction_type": what}))

    return change


MISTAKES = {
    "no weights": (lambda f: (f / "unet" / WEIGHTS).unlink(), "no .safetensors weights"),
    "weights as a pickle": (rename_weights, "no .safetensors weights"),
    "damaged weights": (cut_weights, "cannot be read as a UNet2DModel"),
    "a weight too few": (lose_a_weight, "1 of its weights are missing"),
    "weights of another shape": (shrink, "cannot be read as a UNet2DModel"),
    "no configuration": (lambda f: (f / "unet" / "config.json").unlink(), "cannot be read as a UNet2DModel"),
    "no scheduler": (lambda f: (f / "scheduler" / "scheduler_config.json").unlink(), "cannot be read as a DDIM"),
    "a class from elsewhere": (told(unet=["os", "system"]), "os.system, which is not known here"),
    "a class of that name from elsewhere": (told(unet=["evil", "UNet2DModel"]), "not known here"),
    "a class that is no name": (told(unet=["diffusers", ["UNet2DModel"]]), "not known here"),
    "an unknown network": (told(unet=["diffusers", "UNet1DModel"]), "not known here"),
    "an unknown scheduler": (told(scheduler=["diffusers", "VQDiffusionScheduler"]), "not known here"),
    "an unknown part": (told(vqvae=["diffusers", "VQModel"]), "part vqvae of the class diffusers.VQModel"),
    "an unknown prediction": (predict("flow"), "predicts flow is not known"),
    "no network": (told(unet=None), "a unet or a transformer"),
    "an index that is none": (lambda f: (f / INDEX).write_text("{"), "cannot be read as JSON"),
    "an index of nothing": (lambda f: (f / INDEX).write_text("[]"), "not the index"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_in_one_line(name, tmp_path):
    change, words = MISTAKES[name]
    ddpm(tmp_path / "pipeline")
    change(tmp_path / "pipeline")
    with pytest.raises(sf.UserError, match=words) as error:
        sf.load(tmp_path / "pipeline")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("part", ["text_encoder", "tokenizer"])
def test_a_prompt_needs_its_reader(part, tmp_path):
    stable(tmp_path / "pipeline")
    told(**{part: [None, None]})(tmp_path / "pipeline")
    with pytest.raises(sf.UserError, match="its tokenizer or text_encoder is missing"):
        sf.load(tmp_path / "pipeline")


@pytest.mark.parametrize("library", ["diffusers", "transformers"])
def test_a_library_that_is_not_installed(library, tmp_path, monkeypatch):
    stable(tmp_path / "pipeline")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(sf.UserError, match=rf"needs {library}; install it with: pip install 'suffuse\[diffusers\]'"):
        sf.load(tmp_path / "pipeline")


def test_modules_that_make_no_model(tmp_path):
    from diffusers import UNet1DModel, VQModel

    for source, words in [
        (unet(), "a UNet2DModel alone is no model"),
        ([unet()], "needs a scheduler"),
        ([unet(), ddim(), ddim()], "DDIMScheduler is not a part that is known here, or is one too many"),
        ([torch.nn.Linear(1, 1), ddim()], "a Linear is not a part"),
        ({"unet": UNet1DModel(), "scheduler": ddim()}, "the part unet is a UNet1DModel"),
        ({"unet": unet(), "scheduler": ddim(), "vqvae": VQModel()}, "the part vqvae is a VQModel"),
    ]:
        with pytest.raises(sf.UserError, match=words):
            load(source)
    with pytest.raises(sf.UserError, match="a network of the kind Linear is not known"):
        sf.interop.diffusers.denoiser(_with_config(torch.nn.Linear(1, 1)), ddim())


def _with_config(module):
    module.config = {}
    return module


def test_a_size_that_does_not_fit(pipelines):
    for name, size in [("stable", 15), ("dit", 18)]:
        with pytest.raises(sf.UserError, match=f"multiple of {2 if name == 'stable' else 4} pixels a side"):
            load(pipelines[name], size=size)


def test_what_was_trained_elsewhere_is_not_written_again(tmp_path):
    ddpm(tmp_path / "pipeline")
    elsewhere = sf.load(tmp_path / "pipeline")
    for write in (lambda: export(elsewhere, tmp_path / "again"), lambda: elsewhere.save(tmp_path / "again")):
        with pytest.raises(sf.UserError, match="trained elsewhere"):
            write()
    assert not (tmp_path / "again").exists()
