"""Speed and memory of the training step, beside the networks of diffusers, k-diffusion and azula, in one run.

    python benchmarks/training.py [--device cuda] [--rounds 7] [--no-compile]

All train on the same 32 pictures of 32x32x3 with a plain loop: autocast where bfloat16, squared error,
backward, fused AdamW. The networks differ in size and design, so they are compared in GFLOP/s of the step, at
a comparable number of FLOPs per picture; each peer has the memory format that suits it best. Rounds are
interleaved, and the table gives medians. FLOPs are torch's count in float32; attention, which the counter
misses on a CPU, is added by hand: 12 N M d per head and layer. Memory is the growth of a process of its own
from after a step with one picture to the peak of steps with 32. A peer that cannot be imported is left out,
and said so (pip install -e '.[bench]').

A table of its own (--lengths: that one alone) has waves and clips, four to a batch, each length twice the one before:
work, time and memory should double as well. A wave of so many samples has one channel, a clip of so many frames three.
"""

import argparse
import dataclasses
import logging
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from suffuse.networks import Transformer, UNet
from suffuse.networks.spectral import MARKS, Spectral

BATCH, SIZE, HOP = 32, 32, 128
Call = Callable[[nn.Module, Tensor, Tensor], Tensor]


def suffuse_unet(width: int, blocks: int) -> tuple[nn.Module, Call]:
    network = UNet(3, width=width, multipliers=(1, 2, 4), blocks=blocks)
    return network, lambda network, x, t: network(x, t * 0.04 - 20)


def suffuse_transformer(patch: int) -> tuple[nn.Module, Call]:
    network = Transformer(3, patch=patch, width=192, depth=4, heads=3)
    return network, lambda network, x, t: network(x, t * 0.04 - 20)


def suffuse_waves(kind: str) -> tuple[nn.Module, Call]:
    if kind == "UNet":
        network: nn.Module = UNet(1, dimensions=1, width=32, multipliers=(1, 2, 4, 4), blocks=1, attention=())
    elif kind == "Spectral UNet":
        shape: dict = {"width": 128, "multipliers": (1, 1, 1), "blocks": 1, "attention": ()}
        network = Spectral(UNet(3 * HOP + 2 * MARKS, dimensions=1, out_channels=3 * HOP, **shape), HOP)
    else:
        network = Transformer(1, dimensions=1, patch=16, width=128, depth=4)
    return network, lambda network, x, t: network(x, t * 0.04 - 20)


def suffuse_clips(kind: str) -> tuple[nn.Module, Call]:
    if kind == "UNet":
        network: nn.Module = UNet(3, dimensions=3, frames=True, patch=2, width=32, multipliers=(1, 2, 2), blocks=1)
    else:
        network = Transformer(3, dimensions=3, frames=True, patch=4, width=128, depth=4)
    return network, lambda network, x, t: network(x, t * 0.04 - 20)


def diffusers_unet() -> tuple[nn.Module, Call]:
    from diffusers import UNet2DModel

    network = UNet2DModel(
        sample_size=SIZE,
        in_channels=3,
        out_channels=3,
        layers_per_block=2,
        block_out_channels=(32, 64, 128),
        norm_num_groups=16,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )
    return network, lambda network, x, t: network(x, t, return_dict=False)[0]


def k_diffusion_unet() -> tuple[nn.Module, Call]:
    from k_diffusion.models import ImageDenoiserModelV1

    network = ImageDenoiserModelV1(3, 128, [2, 2, 2], [32, 64, 128], [False, False, True])
    return network, lambda network, x, t: network(x, (t + 1) / 1000)


def azula_unet() -> tuple[nn.Module, Call]:
    from azula.nn.unet import UNet as AzulaUNet

    class Embedded(nn.Module):
        """azula's network wants the embedding of the noise level made outside."""

        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Sequential(nn.Linear(64, 128), nn.SiLU(), nn.Linear(128, 128))
            self.network = AzulaUNet(3, 3, hid_channels=(32, 64, 128), hid_blocks=(2, 2, 2), mod_features=128)
            self.register_buffer("frequencies", torch.exp(torch.linspace(0, -9, 32)))

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            angles = t[:, None] * self.frequencies
            return self.network(x, self.embed(torch.cat([angles.sin(), angles.cos()], 1)))

    return Embedded(), lambda network, x, t: network(x, t)


def diffusers_transformer(patch: int) -> tuple[nn.Module, Call]:
    from diffusers import DiTTransformer2DModel

    network = DiTTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=40,
        in_channels=3,
        out_channels=3,
        num_layers=6,
        sample_size=SIZE,
        patch_size=patch,
        num_embeds_ada_norm=1000,
    )

    def call(network: nn.Module, x: Tensor, t: Tensor) -> Tensor:
        return network(x, timestep=t.long(), class_labels=torch.zeros_like(t).long(), return_dict=False)[0]

    return network, call


UNETS = {
    "Suffuse UNet, width 64, 1 block": lambda: suffuse_unet(64, 1),
    "Suffuse UNet, width 32, 2 blocks": lambda: suffuse_unet(32, 2),
    "diffusers UNet2DModel": diffusers_unet,
    "k-diffusion ImageDenoiserModelV1": k_diffusion_unet,
    "azula UNet": azula_unet,
}
TRANSFORMERS = {
    "Suffuse Transformer, patch 4": lambda: suffuse_transformer(4),
    "diffusers DiTTransformer2DModel, patch 4": lambda: diffusers_transformer(4),
    "Suffuse Transformer, patch 2": lambda: suffuse_transformer(2),
    "diffusers DiTTransformer2DModel, patch 2": lambda: diffusers_transformer(2),
}
WAVES = {
    f"{kind}, {n} samples": (kind, 1, n)
    for kind in ("UNet", "Spectral UNet", "Transformer")
    for n in (1024, 2048, 4096, 8192)
}
CLIPS = {f"{kind}, {n} frames": (kind, 3, n, SIZE, SIZE) for kind in ("UNet", "Transformer") for n in (8, 16, 32, 64)}
LENGTHS = {name: (4, *shape) for name, (_, *shape) in (WAVES | CLIPS).items()}
"""Shapes of the batches of networks in one and three dimensions."""
NETWORKS = (
    UNETS
    | TRANSFORMERS
    | {name: lambda kind=kind: suffuse_waves(kind) for name, (kind, *_) in WAVES.items()}
    | {name: lambda kind=kind: suffuse_clips(kind) for name, (kind, *_) in CLIPS.items()}
)


def name_torchvision_operators() -> None:
    """Let torchvision, which peers import, load where its compiled part does not fit a CPU build of torch."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        return
    except RuntimeError:
        for name in ("nms", "qnms"):
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
            LIBRARIES.append(library)


LIBRARIES: list[torch.library.Library] = []


@dataclasses.dataclass
class Contestant:
    """A network in training, and the time of its steps."""

    name: str
    device: str
    half: bool
    last: bool
    compiled: bool = False
    batch: int | None = None
    seconds: list[float] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        network, self.call = NETWORKS[self.name]()
        layout = torch.channels_last if self.last else torch.contiguous_format
        self.network = network.to(self.device, memory_format=layout).train()
        self.parameters = sum(p.numel() for p in network.parameters())
        batch, *shape = LENGTHS.get(self.name, (BATCH, 3, SIZE, SIZE))
        self.batch = self.batch or batch
        self.data, self.noise = (
            torch.randn(self.batch, *shape, device=self.device).to(memory_format=layout) for _ in range(2)
        )
        self.t = torch.linspace(0, 999, self.batch, device=self.device)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-4, fused=True)
        self.run = torch.compile(self.network) if self.compiled else self.network

    def step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        x = 0.7 * self.data + 0.7 * self.noise
        with torch.autocast(self.device, torch.bfloat16, enabled=self.half):
            out = self.call(self.run, x, self.t)
        F.mse_loss(out.float(), self.noise).backward()
        self.optimizer.step()
        if self.device == "cuda":
            torch.cuda.synchronize()

    def time(self, steps: int) -> None:
        self.step()
        for _ in range(steps):
            start = time.perf_counter()
            self.step()
            self.seconds.append(time.perf_counter() - start)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def flops(name: str) -> float:
    """FLOPs of one training step per picture."""

    def attention(query: tuple, key: tuple, *_: object, **__: object) -> int:
        return 4 * query[0] * query[1] * query[2] * key[2] * query[3]

    def attention_backward(_: tuple, query: tuple, key: tuple, *__: object, **___: object) -> int:
        return 2 * attention(query, key)

    operators = torch.ops.aten
    formulas = {
        operators._scaled_dot_product_flash_attention_for_cpu: attention,
        operators._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward,
    }
    contestant = Contestant(name, "cpu", half=False, last=False)
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        contestant.step()
    return counter.get_total_flops() / contestant.batch


def peak(device: str, dtype: torch.dtype) -> tuple[float, float]:
    """GFLOP/s of the fastest convolution and matrix product, forwards."""

    def best(function: Callable[[], object], count: float) -> float:
        times = []
        for _ in range(9):
            start = time.perf_counter()
            function()
            if device == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        return count / statistics.median(times[2:]) / 1e9

    convolutions = []
    for channels, size in ((32, 32), (64, 32), (64, 16), (128, 16), (128, 8), (256, 8)):
        x = torch.randn(BATCH, channels, size, size, device=device, dtype=dtype)
        x = x.to(memory_format=torch.channels_last)
        weight = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype)
        count = 2 * x.numel() * channels * 9
        convolutions.append(best(lambda x=x, weight=weight: F.conv2d(x, weight, padding=1), count))
    products = []
    for rows, inner, columns in ((2048, 2048, 2048), (8192, 256, 1024), (2048, 160, 640)):
        a = torch.randn(rows, inner, device=device, dtype=dtype)
        b = torch.randn(columns, inner, device=device, dtype=dtype)
        products.append(best(lambda a=a, b=b: F.linear(a, b), 2 * rows * inner * columns))
    return max(convolutions), max(products)


def resident(entry: str) -> float:
    """MiB of memory this process holds (VmRSS) or has held at most (VmHWM)."""
    # Not `getrusage`: its peak is handed down by the process that started this one.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(entry)) / 2**10


def grown(name: str, device: str, half: bool, last: bool) -> float:
    """MiB of GPU memory, or that the process has grown at most, over building the network and three steps."""
    Contestant(name, device, half, last, batch=1).step()  # libraries are loaded by their first use
    before = resident("VmRSS")
    contestant = Contestant(name, device, half, last)
    for _ in range(3):
        contestant.step()
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resident("VmHWM") - before


def memory(contestant: Contestant) -> float:
    """The same in a process of its own."""
    flags = [flag for flag in ("half", "last") if getattr(contestant, flag)]
    command = [sys.executable, __file__, "--memory", contestant.name, "--device", contestant.device, *flags]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def available(names: list[str]) -> list[str]:
    """Those of the networks whose library can be imported."""
    found = []
    for name in names:
        try:
            NETWORKS[name]()
        except (ImportError, RuntimeError) as error:
            print(f"left out: {name}: {str(error).splitlines()[0]}")
        else:
            found.append(name)
    return found


def race(family: dict[str, Callable], device: str, rounds: int) -> None:
    """Time a family of networks and print its table."""
    names = available(list(family))
    counts = {name: flops(name) for name in names}
    print("\n| network | parameters | MFLOP | precision | layout | pictures/s | GFLOP/s | of peak | MiB |")
    print("|---|--:|--:|---|---|--:|--:|--:|--:|")
    for half in (False, True):
        convolution, product = peak(device, torch.bfloat16 if half else torch.float32)
        ceiling = convolution if family is UNETS else product
        contestants = [
            Contestant(name, device, half, last)
            for name in names
            for last in ((False, True) if family is UNETS and "Suffuse" not in name else (False,))
        ]
        for _ in range(rounds):
            for contestant in contestants:
                contestant.time(2)
        best = {name: min((c for c in contestants if c.name == name), key=lambda c: c.median) for name in names}
        for name, winner in best.items():
            rate = counts[name] * winner.batch / winner.median / 1e9
            layout = "own" if "Suffuse" in name else "last" if winner.last else "first"
            print(
                f"| {name} | {winner.parameters / 1e6:.2f} M | {counts[name] / 1e6:.0f} "
                f"| {'bf16' if half else 'fp32'} | {layout} | {winner.batch / winner.median:.0f} | {rate:.0f} "
                f"| {rate / ceiling:.0%} | {memory(winner):.0f} |"
            )
        print(f"| *peak* | | | {'bf16' if half else 'fp32'} | | | {ceiling:.0f} | 100% | |", flush=True)


def growth(device: str, rounds: int) -> None:
    """Print what steps of longer and longer items take, and how often what the item of half the length takes."""
    print("\n| network | MFLOP | of half | ms a step | of half | MiB | of half |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    contestants = [Contestant(name, device, half=False, last=False) for name in LENGTHS]
    for _ in range(rounds):
        for contestant in contestants:
            contestant.time(1)
    before = [0.0, 0.0, 0.0]
    for number, contestant in enumerate(contestants):
        now = [flops(contestant.name) / 1e6, contestant.median * 1e3, memory(contestant)]
        ratios = ["" if number % 4 == 0 else f"{a / b:.2f}" for a, b in zip(now, before, strict=True)]
        cells = " | ".join(f"{figure:.0f} | {ratio}" for figure, ratio in zip(now, ratios, strict=True))
        print(f"| {contestant.name} | {cells} |", flush=True)
        before = now


def compiling(device: str, rounds: int) -> None:
    """Print what torch.compile adds to our own."""
    print("\n| network | precision | first step, s | eager, ms | compiled, ms | gain |")
    print("|---|---|--:|--:|--:|--:|")
    for name in ("Suffuse UNet, width 64, 1 block", "Suffuse Transformer, patch 4"):
        for half in (False, True):
            eager = Contestant(name, device, half, last=False)
            compiled = Contestant(name, device, half, last=False, compiled=True)
            start = time.perf_counter()
            compiled.step()
            first = time.perf_counter() - start
            for _ in range(rounds):
                eager.time(2)
                compiled.time(2)
            print(
                f"| {name} | {'bf16' if half else 'fp32'} | {first:.0f} | {eager.median * 1e3:.0f} "
                f"| {compiled.median * 1e3:.0f} | {eager.median / compiled.median:.2f}x |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--lengths", action="store_true", help="only the table of waves and clips")
    parser.add_argument("--memory", metavar="NETWORK", help="only print the memory of one network, in MiB")
    parser.add_argument("flags", nargs="*", choices=("half", "last", []), help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    name_torchvision_operators()
    logging.disable(logging.WARNING)
    if args.memory:
        print(grown(args.memory, args.device, "half" in args.flags, "last" in args.flags))
        return
    print(f"torch {torch.__version__}, {args.device}, {torch.get_num_threads()} threads, batch {BATCH}")
    if not args.lengths:
        race(UNETS, args.device, args.rounds)
        race(TRANSFORMERS, args.device, args.rounds)
    growth(args.device, min(args.rounds, 3))
    if not (args.no_compile or args.lengths):
        compiling(args.device, args.rounds)


if __name__ == "__main__":
    main()
