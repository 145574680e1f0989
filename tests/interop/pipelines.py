"""Small pipelines of diffusers with random weights, as their own classes write them to disk."""

import json
from pathlib import Path
from typing import Any

import torch

LEVELS = {
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}
TABLE: dict[str, Any] = {
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "clip_sample": False,
    "timestep_spacing": "trailing",
    "steps_offset": 1,
}


def unet(**options: Any) -> Any:
    from diffusers import UNet2DModel

    return UNet2DModel(sample_size=8, in_channels=3, out_channels=3, attention_head_dim=8, **LEVELS, **options)


def ddim(**options: Any) -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler(**(TABLE | options))


def vae(channels: int = 4, **options: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        latent_channels=channels,
        norm_num_groups=4,
        **options,
    )


def clip(folder: Path, projected: bool = False) -> tuple[Any, Any]:
    """A tokenizer of single letters, and a text encoder."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    letters = [chr(k) for k in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: k for k, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=12)
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=12,
        projection_dim=16,
        bos_token_id=len(words) - 2,
        eos_token_id=len(words) - 1,
    )
    return tokenizer, (CLIPTextModelWithProjection if projected else CLIPTextModel)(config).eval()


def t5(folder: Path) -> tuple[Any, Any]:
    """Another tokenizer of single letters, and the encoder of the other kind."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import T5Config, T5EncoderModel, T5TokenizerFast

    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)]
    words += [(chr(k), -3.0) for k in range(ord("a"), ord("z") + 1)]
    reader = Tokenizer(models.Unigram(words, unk_id=2))
    reader.pre_tokenizer = pre_tokenizers.Metaspace()
    reader.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    folder.mkdir(parents=True, exist_ok=True)
    reader.save(str(folder / "tokenizer.json"))
    config = T5Config(vocab_size=len(words), d_model=40, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    return T5TokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), extra_ids=0), T5EncoderModel(config).eval()


def ddpm(folder: Path, prediction: str = "epsilon", classes: int | None = None) -> Any:
    from diffusers import DDIMPipeline

    torch.manual_seed(0)
    return _saved(DDIMPipeline(unet(num_class_embeds=classes), ddim(prediction_type=prediction)), folder)


def stable(folder: Path) -> Any:
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

    torch.manual_seed(1)
    tokenizer, encoder = clip(folder.with_name("clip"))
    network = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
    )
    scheduler = ddim(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type="v_prediction")
    parts = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return _saved(StableDiffusionPipeline(vae(), encoder, tokenizer, network, scheduler, **parts), folder)


def large(folder: Path) -> Any:
    from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel

    torch.manual_seed(2)
    (tokenizer, encoder), (second, wide) = clip(folder.with_name("clip")), clip(folder.with_name("clip2"), True)
    network = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=(2, 4),
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=16 + 6 * 8,
    )
    return _saved(StableDiffusionXLPipeline(vae(), encoder, wide, tokenizer, second, network, ddim()), folder)


def dit(folder: Path) -> Any:
    from diffusers import DiTPipeline, DiTTransformer2DModel

    torch.manual_seed(3)
    network = DiTTransformer2DModel(
        2, 8, 4, 8, num_layers=2, sample_size=8, norm_num_groups=8, num_embeds_ada_norm=1000
    )
    for parameter in network.parameters():  # some begin at zero, and would hide the class
        torch.nn.init.normal_(parameter, std=0.2)
    return _saved(DiTPipeline(network, vae(), ddim()), folder)


def sd3(folder: Path, long: bool = True) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    torch.manual_seed(4)
    (tokenizer, encoder), (second, wide) = clip(folder.with_name("clip"), True), clip(folder.with_name("clip2"), True)
    network = SD3Transformer2DModel(
        sample_size=8,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=40,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        out_channels=4,
        pos_embed_max_size=8,
    )
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    autoencoder = vae(shift_factor=0.1, scaling_factor=1.5)
    third, longest = t5(folder.with_name("t5")) if long else (None, None)
    parts = [network, scheduler, autoencoder, encoder, tokenizer, wide, second, longest, third]
    return _saved(StableDiffusion3Pipeline(*parts), folder)


def short_sd3(folder: Path) -> Any:
    """Without its third encoder, as it is often kept."""
    return sd3(folder, long=False)


def flux(folder: Path) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    torch.manual_seed(5)
    (tokenizer, encoder), (second, long) = clip(folder.with_name("clip")), t5(folder.with_name("t5"))
    network = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=40,
        pooled_projection_dim=16,
        guidance_embeds=True,
        axes_dims_rope=(4, 6, 6),
    )
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_image_seq_len=4, max_image_seq_len=64, base_shift=0.5, max_shift=1.15
    )
    autoencoder = vae(shift_factor=0.1, scaling_factor=0.4)
    return _saved(FluxPipeline(scheduler, autoencoder, encoder, tokenizer, long, second, network), folder)


PIPELINES = {
    "ddpm": ddpm,
    "stable": stable,
    "large": large,
    "dit": dit,
    "sd3": sd3,
    "short sd3": short_sd3,
    "flux": flux,
}


def _saved(pipeline: Any, folder: Path) -> Any:
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    pipeline.save_pretrained(folder)
    return pipeline
