"""A small classifier of small pictures, trained on real ones, that judges generated ones."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Judge(nn.Module):
    """A convolutional classifier whose penultimate layer gives the features of the Frechet distance.

    Args:
        channels: of the pictures.
        classes: how many.
        size: side of the pictures.
    """

    def __init__(self, channels: int, classes: int, size: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_stage(channels, 32, stride=1 if size < 16 else 2),
            *_stage(32, 64, stride=2),
            *_stage(64, 64, stride=1),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(64 * 16, 64),
            nn.ReLU(),
        )
        self.head = nn.Linear(64, classes)

    def features(self, images: Tensor) -> Tensor:
        """Features (N, 64) of pictures (N, C, H, W) in [-1, 1]."""
        return self.body(images)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        return self.head(self.features(images))


def _stage(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU()]


def train_judge(images: Tensor, labels: Tensor, seed: int, epochs: int = 40, batch: int = 64) -> Judge:
    """Train a judge on real pictures; the global random state is left as it was.

    Args:
        images: (N, C, H, W) in [-1, 1].
        labels: (N,) int64.
        seed: of its weights and its order of pictures.
        epochs: passes over the pictures, under a falling rate.
        batch: pictures per step.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        judge = Judge(images.shape[1], int(labels.max()) + 1, images.shape[-1])
        optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=1e-2)
        for epoch in range(epochs):
            optimizer.param_groups[0]["lr"] = 2e-3 * (1 - epoch / epochs)
            for rows in torch.randperm(len(images)).split(batch):
                noisy = images[rows] + 0.05 * torch.randn_like(images[rows])
                loss = functional.cross_entropy(judge(noisy), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return judge.eval()
