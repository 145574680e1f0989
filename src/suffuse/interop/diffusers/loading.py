"""Models trained elsewhere, as ours."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from suffuse.codecs.base import Codec, ConditionCodec
from suffuse.codecs.conditions import ClassCodec
from suffuse.codecs.image import ImageCodec
from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.interop.diffusers.folder import read
from suffuse.interop.diffusers.latents import Latents
from suffuse.interop.diffusers.native import native
from suffuse.interop.diffusers.networks import LABEL, PROMPT, Adapter, adapt
from suffuse.interop.diffusers.texts import Prompts, prompts
from suffuse.model import Model, Origin
from suffuse.recipes.recipe import SamplingSection

_STEPS = 30


def load(
    source: str | Path | Mapping[str, Any] | Any, device: str | torch.device | None = None, size: int | None = None
) -> Model:
    """A pipeline of diffusers as a :class:`suffuse.Model`: its denoiser, and its codecs.

    Known are pipelines of a ``UNet2DModel``, a ``UNet2DConditionModel`` (Stable Diffusion 1, 2 and XL), a
    ``DiTTransformer2DModel``, an ``SD3Transformer2DModel`` or a ``FluxTransformer2DModel``, in pixels or in the latents
    of an ``AutoencoderKL``, with a scheduler of a table of betas or of flow matching. Nothing in the folder is run,
    and pickles are not read. Clipping and thresholding of a scheduler are not taken over.

    Args:
        source: folder of a pipeline; or a pipeline, or a mapping of its parts by their names in a folder,
            with ``force_zeros_for_empty_prompt`` as the folder's index has it.
        device: where to put it; by default a folder goes to a GPU where there is one, and parts stay where they are.
        size: side of the pictures in pixels; by default what the network was made for.

    Raises:
        UserError: the folder is no pipeline, or a part of it is missing, damaged or not known.

    Example:
        >>> from diffusers import DDIMScheduler, UNet2DModel
        >>> levels = {"down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"], "block_out_channels": [32]}
        >>> model = load({"unet": UNet2DModel(8, **levels), "scheduler": DDIMScheduler()})
        >>> model.generate(1, steps=2)[0].size
        (8, 8)
    """
    parts = read(Path(source)) if isinstance(source, str | Path) else _parts(source)
    if device is None and isinstance(source, str | Path):
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device is not None:
        for part in parts.values():
            if isinstance(part, torch.nn.Module):
                part.to(device)
    name = Path(source).resolve().name if isinstance(source, str | Path) else "untitled"
    return _model(parts, name, size)


def denoiser(network: Any, scheduler: Any, null: Tensor | None = None, factor: int = 1) -> Denoiser:
    """One of their networks as a :class:`suffuse.Denoiser`, without codecs.

    Args:
        network: a U-Net or transformer, of the kinds that :func:`load` knows.
        scheduler: whose process the network was trained in, and which says what its output means.
        null: (1, ...) what the network is told where a condition is absent.
        factor: pixels of a picture per element of the state, along a side: 1 for pixels, 8 for common latents.

    Raises:
        UserError: the network or the scheduler is of a kind that is not known.
    """
    return _denoiser(adapt(network, null, factor), scheduler, None)


def _denoiser(adapter: Adapter, scheduler: Any, shape: tuple[int, ...] | None) -> Denoiser:
    height, width = shape[1:] if shape else _sides(adapter.size or 0)
    form = native(scheduler, 0.5 if adapter.factor == 1 else 1.0, height * width // adapter.patch**2)
    return Denoiser(adapter, form.trained, form, shape)


def _parts(source: Any) -> Mapping[str, Any]:
    """The parts of a pipeline, which are its attribute ``components``."""
    return source if isinstance(source, Mapping) else {**source.config, **source.components}


def _model(parts: Mapping[str, Any], name: str, size: int | None) -> Model:
    """Join the parts."""
    network = parts.get("unet") if parts.get("unet") is not None else parts.get("transformer")
    if network is None or parts.get("scheduler") is None:
        raise UserError(f"a model needs a scheduler, and a unet or a transformer; {name} has {', '.join(parts)}")
    if type(network).__name__ == "SuffuseUNet":
        return network.model
    vae = parts.get("vae")
    adapter = adapt(network, factor=2 ** (len(vae.config.block_out_channels) - 1) if vae is not None else 1)
    codec = _codec(adapter, vae, size)
    conditions = _conditions(adapter, parts)
    if PROMPT in conditions:
        adapter.null = _null(conditions[PROMPT], parts).to(network.device)
    sampling = SamplingSection(sampling_steps=_STEPS, guidance=adapter.guidance if conditions else 1.0)
    origin = Origin(name, f"trained elsewhere: {parts.get('_class_name', 'a pipeline of diffusers')}")
    return Model(codec, conditions, None, origin, _denoiser(adapter, parts["scheduler"], codec.shape), sampling)


def _codec(adapter: Adapter, vae: Any, size: int | None) -> Codec:
    """Pictures to the states of the network."""
    if size is not None and size % (adapter.factor * adapter.patch):
        raise UserError(f"pictures of this model have a multiple of {adapter.factor * adapter.patch} pixels a side")
    own = adapter.size if size is None else size // adapter.factor
    if own is None:
        raise UserError("this network does not say for which size of pictures it was made; give size=, in pixels")
    height, width = _sides(own)
    pictures = (height * adapter.factor, width * adapter.factor)
    if vae is None:
        return ImageCodec(pictures, _colours(adapter.channels))
    return Latents(ImageCodec(pictures, _colours(vae.config.in_channels)), vae, (height, width))


def _colours(channels: int) -> Literal[1, 3, 4]:
    if channels not in (1, 3, 4):
        raise UserError(f"pictures have 1, 3 or 4 channels, and those of this model {channels}")
    return channels


def _conditions(adapter: Adapter, parts: Mapping[str, Any]) -> dict[str, ConditionCodec]:
    """Classes by number, a prompt, or nothing."""
    if adapter.condition == PROMPT:
        width = adapter.module.config.get("joint_attention_dim") or adapter.module.config.get("cross_attention_dim")
        return {PROMPT: prompts(type(adapter), parts, width)}
    return {LABEL: ClassCodec(list(map(str, range(adapter.classes))))} if adapter.classes else {}


def _null(codec: ConditionCodec, parts: Mapping[str, Any]) -> Tensor:
    """What stands for no prompt: the empty one, or zeros where the index says so."""
    assert isinstance(codec, Prompts)
    empty = codec.read([""])
    return torch.zeros_like(empty) if parts.get("force_zeros_for_empty_prompt") else empty


def _sides(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return height, width
