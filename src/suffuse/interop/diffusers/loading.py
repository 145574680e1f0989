"""Models trained elsewhere, as ours."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from suffuse.codecs.base import Codec, ConditionCodec
from suffuse.codecs.conditions import ClassCodec
from suffuse.codecs.image import ImageCodec
from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.interop.diffusers.folder import check, library_of, named, read
from suffuse.interop.diffusers.latents import Latents, Undecoded
from suffuse.interop.diffusers.native import native
from suffuse.interop.diffusers.networks import LABEL, PROMPT, Adapter, adapt
from suffuse.interop.diffusers.texts import ENCODERS, Prompts, prompts
from suffuse.model import Model, Origin
from suffuse.recipes.recipe import SamplingSection
from suffuse.solvers import Solvers

_STEPS = 30
_COLOURS = (1, 3)
"""Channels of states that are pictures. Of 4, nearly all are latents."""


def load(
    source: str | Path | Mapping[str, Any] | Sequence[Any] | Any,
    device: str | torch.device | None = None,
    size: int | None = None,
) -> Model:
    """A pipeline of diffusers as a :class:`suffuse.Model`: its denoiser, and its codecs.

    Known are pipelines of a ``UNet2DModel``, a ``UNet2DConditionModel`` (Stable Diffusion 1, 2 and XL), a
    ``DiTTransformer2DModel``, an ``SD3Transformer2DModel`` or a ``FluxTransformer2DModel``, in pixels or in the latents
    of an ``AutoencoderKL``, with a scheduler of a table of betas or of flow matching. Nothing in the folder is run,
    and pickles are not read. Clipping and thresholding of a scheduler are not taken over.

    Without an autoencoder, states of 1 or 3 channels are pictures, and others are given as tensors. Without text
    encoders the denoiser is told embeddings, as :func:`denoiser` says.

    Args:
        source: folder of a pipeline; or a pipeline, or some of its modules: a network and a scheduler at least. These
            come in a list, or as a mapping by their names in a folder, with ``force_zeros_for_empty_prompt`` as the
            folder's index has it.
        device: where to put it; by default a folder goes to a GPU where there is one, and parts stay where they are.
        size: side of the pictures in pixels; by default what the network was made for.

    Raises:
        UserError: the folder is no pipeline, or a part of it is missing, damaged or not known.

    Example:
        >>> from diffusers import DDIMScheduler, UNet2DModel
        >>> levels = {"down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"], "block_out_channels": [32]}
        >>> model = load([UNet2DModel(8, **levels), DDIMScheduler()])
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
    if not isinstance(source, str | Path):
        return _model(parts, "untitled", size)
    model = _model(parts, Path(source).resolve().name, size)
    model.solvers = Solvers.load(Path(source), model.origin.images)
    return model


def denoiser(network: Any, scheduler: Any, null: Tensor | None = None, factor: int = 1) -> Denoiser:
    """One of their networks as a :class:`suffuse.Denoiser`, without codecs.

    It may be told a ``label``, (B,) classes by number, or a ``prompt``, the (B, L, D) embedding of a text; where the
    network wants a summary (B, P) as well, a ``prompt`` is both, flat and side by side: (B, L D + P).

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
    """The parts of a pipeline, by their names in a folder."""
    if isinstance(source, Sequence):
        return named(source)
    if not isinstance(source, Mapping):
        if not isinstance(source, library_of("diffusers").DiffusionPipeline):
            raise UserError(f"a {type(source).__name__} alone is no model; give a folder, a pipeline, or its modules")
        source = {**source.config, **source.components}
    check(source)
    return source


def _model(parts: Mapping[str, Any], name: str, size: int | None) -> Model:
    """Join the parts."""
    network = parts.get("unet") if parts.get("unet") is not None else parts.get("transformer")
    if network is None or parts.get("scheduler") is None:
        raise UserError(f"a model needs a scheduler, and a unet or a transformer; {name} has {', '.join(parts)}")
    if type(network).__name__ == "SuffuseUNet":
        return network.model
    vae = parts.get("vae")
    adapter = adapt(network)
    adapter.factor = _factor(adapter, vae)
    codec = _codec(adapter, vae, size)
    conditions = _conditions(adapter, parts)
    if PROMPT in conditions:
        adapter.null = _null(conditions[PROMPT], parts).to(network.device)
    sampling = SamplingSection(sampling_steps=_STEPS, guidance=adapter.guidance if conditions else 1.0)
    origin = Origin(name, f"trained elsewhere: {parts.get('_class_name', 'a pipeline of diffusers')}")
    assert isinstance(codec.shape, tuple)
    return Model(codec, conditions, None, origin, _denoiser(adapter, parts["scheduler"], codec.shape), sampling)


def _factor(adapter: Adapter, vae: Any) -> int:
    """Pixels of a picture per element of the state, along a side."""
    if vae is not None:
        return 2 ** (len(vae.config.block_out_channels) - 1)
    return 1 if adapter.channels in _COLOURS else 8  # as nearly all autoencoders have it


def _codec(adapter: Adapter, vae: Any, size: int | None) -> Codec:
    """Pictures to the states of the network."""
    if size is not None and size % (adapter.factor * adapter.patch):
        raise UserError(f"pictures of this model have a multiple of {adapter.factor * adapter.patch} pixels a side")
    own = adapter.size if size is None else size // adapter.factor
    if own is None:
        raise UserError("this network does not say for which size of pictures it was made; give size=, in pixels")
    height, width = _sides(own)
    pictures = (height * adapter.factor, width * adapter.factor)
    if vae is not None:
        return Latents(ImageCodec(pictures, vae.config.in_channels), vae, (height, width))
    if adapter.channels in _COLOURS:
        return ImageCodec(pictures, adapter.channels)
    return Undecoded((adapter.channels, height, width))


def _conditions(adapter: Adapter, parts: Mapping[str, Any]) -> dict[str, ConditionCodec]:
    """Classes by number, a prompt, or nothing."""
    if adapter.condition == PROMPT:
        if not any(parts.get(name + number) is not None for name in ENCODERS for number in ("", "_2", "_3")):
            return {}
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
