"""Networks: a state, a noise level and conditions in, a state out; they know nothing of diffusion."""

from suffuse.networks.conditions import Classes, Condition, Conditioner, Conditions, Picture, Tokens, Vector
from suffuse.networks.marked import Marked
from suffuse.networks.mixed import Mixed
from suffuse.networks.tokens import TokenTransformer
from suffuse.networks.transformer import Transformer
from suffuse.networks.unet import UNet

__all__ = [
    "Classes",
    "Condition",
    "Conditioner",
    "Conditions",
    "Marked",
    "Mixed",
    "Picture",
    "TokenTransformer",
    "Tokens",
    "Transformer",
    "UNet",
    "Vector",
]
