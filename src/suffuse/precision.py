"""The arithmetic of networks: half precision where the hardware multiplies in it."""

import torch


def multiplies_in_bf16(device: torch.device) -> bool:
    """Whether a device has units for bfloat16.

    Processors without them compute it bit by bit, several times slower than float32.

    Example:
        >>> multiplies_in_bf16(torch.device("meta"))
        False
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu._is_avx512_bf16_supported, torch.cpu._is_amx_tile_supported  # pyright: ignore[reportPrivateUsage]
    return device.type == "cpu" and any(each() for each in has)


def arithmetic(device: torch.device, precision: str) -> torch.autocast:
    """Autocasting to bfloat16, where that is asked for and the device multiplies in it; else none."""
    enabled = precision == "bf16" and multiplies_in_bf16(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
