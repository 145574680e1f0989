"""Our models as parts of their pipelines."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d import UNet2DOutput
from diffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from suffuse.codecs.image import ImageCodec
from suffuse.guidance import ClassifierFree
from suffuse.interop.diffusers.folder import OWN
from suffuse.interop.diffusers.native import carried
from suffuse.model import Model
from suffuse.processes import Gaussian
from suffuse.schedules import Tabulated
from suffuse.store import rebuilt
from suffuse.tree import Condition

STEPS, FIRST, LAST = 1000, 1e-4, 0.02
"""The table of betas of an exported model: that of "Denoising Diffusion Probabilistic Models" (Ho et al., 2020)."""


class SuffuseUNet(ModelMixin, ConfigMixin):
    """A denoiser of pictures, asked as their ``UNet2DModel`` is, that predicts the clean picture ("sample").

    Args:
        sample_size: height and width of the pictures.
        in_channels: of the pictures.
        out_channels: the same.
        model: what ``Model.config`` says.
    """

    __module__ = OWN  # the name under which a folder has it

    @register_to_config
    def __init__(
        self, sample_size: tuple[int, int], in_channels: int, out_channels: int, model: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.model = rebuilt(model)
        self.denoiser = self.model.denoiser
        self.table = Gaussian(Tabulated.linear(STEPS, FIRST, LAST))

    @classmethod
    def of(cls, model: Model) -> "SuffuseUNet":
        """With a copy of the weights of a model."""
        assert isinstance(model.codec, ImageCodec)
        channels, height, width = model.codec.shape
        unet = cls((height, width), channels, channels, model.config())
        unet.denoiser.load_state_dict(model.denoiser.state_dict())
        return unet.eval()

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        condition: Condition = None,
        guidance: float = 1.0,
        return_dict: bool = True,
    ) -> UNet2DOutput | tuple[Tensor]:
        """The clean picture, given one of the table's process.

        Args:
            sample: (B, C, H, W).
            timestep: of the table, () or (B,); whole or between.
            condition: as the network reads it.
            guidance: weight of the condition.
            return_dict: whether to name the result, as theirs do.
        """
        process = self.denoiser.process
        assert isinstance(process, Gaussian)
        t = (torch.as_tensor(timestep, dtype=torch.float64, device=sample.device) + 1) / STEPS
        x, t = carried(sample, t, self.table, process)
        denoiser = self.denoiser if guidance == 1 else ClassifierFree(self.denoiser, guidance)
        mean = denoiser(x, t, condition).mean
        return UNet2DOutput(sample=mean) if return_dict else (mean,)


class SuffusePipeline(DiffusionPipeline):
    """Pictures of one of our models by one of their schedulers, with conditions.

    Args:
        unet: the model.
        scheduler: of a table of betas.
    """

    __module__ = OWN
    model_cpu_offload_seq = "unet"

    def __init__(self, unet: SuffuseUNet, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)

    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        condition: Any = None,
        guidance_scale: float = 1.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        num_inference_steps: int = 50,
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple[list[Any]]:
        """Draw pictures.

        Args:
            batch_size: how many.
            condition: a class or caption for all, or a list; for several conditions a mapping of these.
            guidance_scale: weight of the condition; 1 is no guidance.
            generator: of the noise; a list has one for each picture.
            num_inference_steps: of the walk.
            return_dict: whether to name the result.

        Raises:
            UserError: there is no such condition or class.
        """
        unet, device, progress_bar = self.unet, self._execution_device, cast(Any, self.progress_bar)
        told = unet.model.encode_condition(unet.model.columns(condition, batch_size), device)
        shape = (batch_size, *unet.model.codec.shape)
        self.scheduler.set_timesteps(num_inference_steps, device=device)
        state = randn_tensor(shape, generator=generator, device=device, dtype=unet.dtype)
        state = state * self.scheduler.init_noise_sigma
        for t in progress_bar(self.scheduler.timesteps):
            answer = unet(self.scheduler.scale_model_input(state, t), t, told, guidance_scale).sample
            state = self.scheduler.step(answer, t, state).prev_sample
        images = unet.model.codec.decode(state)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)
