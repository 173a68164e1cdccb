"""ReActNet's building blocks: shifts and slopes that each channel learns and that stay real."""

import torch
from torch import Tensor, nn


class ChannelShift(nn.Module):
    """x + b with one learned b for each channel, 0 before training.

    In front of a sign it moves the threshold to -b, which makes it ReActNet's RSign. Source:
    ReActNet (arXiv 2003.03488), its released code; METHOD [field].
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Shift (batch, channels, height, width); the dtype of x is kept, even under autocast."""
        return (x + _per_channel(self.shift)).to(x.dtype)


class RPReLU(nn.Module):
    """PReLU(x - gamma) + zeta with a learned gamma, slope and zeta for each channel.

    Before training gamma and zeta are 0 and the slope is 0.25. Source: ReActNet (arXiv 2003.03488);
    its released code adds a bias where gamma is subtracted here; METHOD [field].
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.prelu = nn.PReLU(channels)
        self.zeta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, height, width); the dtype of x is kept, even under autocast."""
        bent = self.prelu(x - _per_channel(self.gamma))
        return (bent + _per_channel(self.zeta)).to(x.dtype)


def _per_channel(values: Tensor) -> Tensor:
    """(channels,) as (channels, 1, 1), which broadcasts over images."""
    return values[:, None, None]
