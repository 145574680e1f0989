"""Their networks, called as ours are: with a state, a time and a mapping of conditions."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from suffuse.errors import UserError
from suffuse.tree import Condition, expand, presence

LABEL, PROMPT = "label", "prompt"
"""The conditions that their networks may be told."""


class Adapter(nn.Module, ABC):
    """One of their networks, and what has to be known about its kind.

    Args:
        module: theirs.
        null: (1, ...) what the network is told where a condition is absent; None where it has to be there.
        factor: pixels of a picture per element of the state, along a side.

    Attributes:
        channels: of the state.
        size: side of the state, or height and width, that the network was made for.
        patch: side of what becomes one token.
    """

    null: Tensor | None
    condition: ClassVar[str] = PROMPT
    """The condition that it may be told."""
    guidance: ClassVar[float] = 1.0
    """Weight of the condition that such models are commonly sampled with."""

    def __init__(self, module: Any, null: Tensor | None = None, factor: int = 1) -> None:
        super().__init__()
        config = module.config
        self.module, self.factor = module, factor
        self.channels: int = config.in_channels
        self.size: int | tuple[int, int] | None = config.get("sample_size")
        self.patch: int = config.get("patch_size", 1)
        self.register_buffer("null", null)

    @property
    def classes(self) -> int:
        """How many classes it knows."""
        return 0

    def forward(self, x: Tensor, time: Tensor, condition: Condition = None) -> Tensor:
        """Call the network; where it also gives a variance, its mean alone is taken.

        Args:
            x: state (B, C, H, W).
            time: timestep, () or (B,).
            condition: mapping of names to (B, ...) tensors, with (B,) masks.
        """
        times = time.to(x.device, torch.float32).expand(len(x))
        return self.call(x.to(self.module.dtype), times, condition or {})[:, : x.shape[1]]

    @abstractmethod
    def call(self, x: Tensor, time: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Ask about (B, C, H, W) at (B,) timesteps."""

    def told(self, condition: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """(B, ...) what each item is told, in the precision of x; the null where nothing was said.

        Raises:
            UserError: an item says nothing, and there is no null.
        """
        name = self.condition
        null = None if self.null is None else self.null.to(x.device)
        if name in condition:
            value, present = condition[name], presence(condition, name)
            if null is not None:
                return _like(torch.where(expand(present, value), value, null), x)
            if bool(present.all()):
                return _like(value, x)
        elif null is not None:
            return _like(null.expand(len(x), *null.shape[1:]), x)
        raise UserError(f"this model was not made to go without a {name}: give one for every item, and no guidance")


def _like(value: Tensor, x: Tensor) -> Tensor:
    return value.to(x.dtype) if value.is_floating_point() else value


class PlainUNet(Adapter):
    """``UNet2DModel``: pictures, of classes or not. It has no class for "none"."""

    condition = LABEL

    def __init__(self, module: Any, null: Tensor | None = None, factor: int = 1) -> None:
        super().__init__(module, null, factor)
        config = module.config
        if config.class_embed_type is not None or config.time_embedding_type != "positional":
            raise UserError("a UNet2DModel with embeddings other than of timesteps and classes by number is not known")

    @property
    def classes(self) -> int:
        """None at all, unless the network says so."""
        return self.module.config.num_class_embeds or 0

    def call(self, x: Tensor, time: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """With a class only where it knows classes."""
        labels = self.told(condition, x) if self.classes else None
        return self.module(x, time, class_labels=labels).sample


class DiT(Adapter):
    """``DiTTransformer2DModel``: latents of classes; the class after the last is "none".

    Source: "Scalable Diffusion Models with Transformers" (Peebles, Xie, 2023).
    """

    condition = LABEL
    guidance = 4.0

    def __init__(self, module: Any, null: Tensor | None = None, factor: int = 1) -> None:
        super().__init__(module, torch.tensor([module.config.num_embeds_ada_norm]) if null is None else null, factor)

    @property
    def classes(self) -> int:
        """Without the one for "none"."""
        return self.module.config.num_embeds_ada_norm

    def call(self, x: Tensor, time: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """With a class, or "none"."""
        return self.module(x, timestep=time, class_labels=self.told(condition, x)).sample


class TextUNet(Adapter):
    """``UNet2DConditionModel`` with one text encoder; prompts are (B, L, D) embeddings.

    Source: "High-Resolution Image Synthesis with Latent Diffusion Models" (Rombach et al., 2022).
    """

    guidance = 7.5

    def call(self, x: Tensor, time: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """With the embedding of the prompt."""
        return self.module(x, time, encoder_hidden_states=self.told(condition, x)).sample


class LargeTextUNet(Adapter):
    """``UNet2DConditionModel`` with two text encoders, told the size of the picture; prompts are packed.

    Source: "SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis" (Podell et al., 2023).
    """

    guidance = 5.0

    def call(self, x: Tensor, time: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """With the embeddings of the prompt; the picture is said to be whole, and of the size that it has."""
        prompt, pooled = unpacked(self.told(condition, x), self.module.config.cross_attention_dim, self._pooled)
        height, width = (self.factor * side for side in x.shape[2:])
        size = x.new_tensor([height, width, 0, 0, height, width]).expand(len(x), 6)
        added = {"text_embeds": pooled, "time_ids": size}
        return self.module(x, time, encoder_hidden_states=prompt, added_cond_kwargs=added).sample

    @property
    def _pooled(self) -> int:
        config = self.module.config
        return config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim


class SD3(Adapter):
    """``SD3Transformer2DModel``: a flow of latents; prompts are packed.

    Source: "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis" (Esser et al., 2024).
    """

    guidance = 7.0

    def call(self, x: Tensor, time: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """With the embeddings of the prompt."""
        config = self.module.config
        prompt, pooled = unpacked(self.told(condition, x), config.joint_attention_dim, config.pooled_projection_dim)
        return self.module(x, encoder_hidden_states=prompt, pooled_projections=pooled, timestep=time).sample


class Flux(Adapter):
    """``FluxTransformer2DModel``: a flow of latents, in patches of 2 by 2 that are laid out here; prompts are packed.

    A network that was distilled from a guided one is told the weight 3.5.
    """

    def __init__(self, module: Any, null: Tensor | None = None, factor: int = 1) -> None:
        super().__init__(module, null, factor)
        self.channels, self.size, self.patch = self.channels // 4, 128, 2  # before it is laid out

    def call(self, x: Tensor, time: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """With the embeddings of the prompt, and the places of the patches."""
        config = self.module.config
        prompt, pooled = unpacked(self.told(condition, x), config.joint_attention_dim, config.pooled_projection_dim)
        height, width = (side // 2 for side in x.shape[2:])
        rows, columns = torch.meshgrid(x.new_ones(height).cumsum(0), x.new_ones(width).cumsum(0), indexing="ij")
        places = torch.stack([torch.zeros_like(rows), rows - 1, columns - 1], -1).flatten(0, 1)
        cells = x.unflatten(3, (width, 2)).unflatten(2, (height, 2))  # B, C, rows, 2, columns, 2
        out = self.module(
            cells.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2),
            encoder_hidden_states=prompt,
            pooled_projections=pooled,
            timestep=time / 1000,
            img_ids=places,
            txt_ids=x.new_zeros(prompt.shape[1], 3),
            guidance=x.new_full((len(x),), 3.5) if config.guidance_embeds else None,
        ).sample
        cells = out.unflatten(2, (-1, 2, 2)).unflatten(1, (height, width))  # B, rows, columns, C, 2, 2
        return cells.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def packed(prompt: Tensor, pooled: Tensor) -> Tensor:
    """A prompt's (B, L, D) sequence and its (B, P) summary as one (B, L D + P) tensor."""
    return torch.cat([prompt.flatten(1), pooled], 1)


def unpacked(both: Tensor, width: int, pooled: int) -> tuple[Tensor, Tensor]:
    """The two parts of `packed`."""
    split = both.shape[1] - pooled
    return both[:, :split].unflatten(1, (-1, width)), both[:, split:]


ADAPTERS: dict[str, type[Adapter]] = {
    "UNet2DModel": PlainUNet,
    "UNet2DConditionModel": TextUNet,
    "DiTTransformer2DModel": DiT,
    "SD3Transformer2DModel": SD3,
    "FluxTransformer2DModel": Flux,
}
"""Every kind of network that is known, by the name of its class."""


def adapt(module: Any, null: Tensor | None = None, factor: int = 1) -> Adapter:
    """The adapter of a network, ready to be asked.

    Raises:
        UserError: the network is of a kind that is not known, or needs more than a state and a condition.
    """
    kind, config = type(module).__name__, module.config
    if kind not in ADAPTERS:
        raise UserError(f"a network of the kind {kind} is not known; these are: {', '.join(ADAPTERS)}")
    if (config.get("out_channels") or config.in_channels) not in (config.in_channels, 2 * config.in_channels):
        raise UserError(
            f"this {kind} takes {config.in_channels} channels and gives {config.out_channels}: it needs more than a "
            "noisy picture, and that is not known here"
        )
    adapter = ADAPTERS[kind]
    if adapter is TextUNet:
        adapter = _text_unet(config)
    return adapter(module.eval().requires_grad_(False), null, factor)


def _text_unet(config: Mapping[str, Any]) -> type[Adapter]:
    """Of one text encoder or of two."""
    kind = config["addition_embed_type"]
    others = ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type")
    if kind not in (None, "text_time") or any(config[name] for name in others):
        raise UserError("a UNet2DConditionModel that is told more than one prompt and a size is not known here")
    return TextUNet if kind is None else LargeTextUNet
