"""What every network of a recipe says of itself."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import nn


class Network(nn.Module, ABC):
    """A network whose last blocks can be listened to: their outputs are the features that ``Model.embed`` gives."""

    feature_axis: ClassVar[int] = -1
    """Axis of the blocks' outputs that holds the features; over all others but the first the mean is taken."""

    @abstractmethod
    def feature_blocks(self) -> Sequence[nn.Module]:
        """The blocks, each of which gives one tensor (B, ...)."""
