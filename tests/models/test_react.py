import pytest
import torch

from pipeline.models.react import ChannelShift, RPReLU


def images(*values: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """One image of two channels with these values in a row in each."""
    return torch.tensor([values, values], dtype=dtype)[None, :, None]


def test_channel_shift_is_nothing_before_training() -> None:
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(ChannelShift(3)(x), x)


def test_channel_shift_by_hand() -> None:
    shift = ChannelShift(2)
    shift.shift.data = torch.tensor([0.5, -2.0])
    y = shift(images(-1.0, 0.0, 3.0))
    assert y[0, :, 0].tolist() == [[-0.5, 0.5, 3.5], [-3.0, -2.0, 1.0]]
    y.sum().backward()
    assert shift.shift.grad.tolist() == [3, 3]


def test_rprelu_is_a_prelu_before_training() -> None:
    y = RPReLU(2)(images(-2.0, 0.0, 3.0))
    assert y[0, :, 0].tolist() == [[-0.5, 0.0, 3.0]] * 2


def test_rprelu_by_hand() -> None:
    """PReLU(x - gamma) + zeta.

    Channel 0, gamma 1, slope 0.5, zeta 10: -2 -> -3 -> -1.5 -> 8.5; 1 -> 0 -> 10; 4 -> 3 -> 13.
    Channel 1, gamma -1, slope -1, zeta 0: -2 -> -1 -> 1; 1 -> 2; 4 -> 5.
    """
    rprelu = RPReLU(2)
    rprelu.gamma.data = torch.tensor([1.0, -1.0])
    rprelu.prelu.weight.data = torch.tensor([0.5, -1.0])
    rprelu.zeta.data = torch.tensor([10.0, 0.0])

    y = rprelu(images(-2.0, 1.0, 4.0))
    y.sum().backward()

    assert y[0, :, 0].tolist() == [[8.5, 10.0, 13.0], [1.0, 2.0, 5.0]]
    # d/dgamma is -slope left of gamma (here also at it), -1 right of it; d/dslope the sum of x -
    # gamma left of it; d/dzeta 1.
    assert rprelu.gamma.grad.tolist() == [-0.5 - 0.5 - 1, 1 - 1 - 1]
    assert rprelu.prelu.weight.grad.tolist() == [-3, -1]
    assert rprelu.zeta.grad.tolist() == [3, 3]


@pytest.mark.parametrize("piece", [ChannelShift, RPReLU])
def test_the_dtype_of_activations_is_kept(piece) -> None:
    x = images(-2.0, 1.0, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert piece(2)(x).dtype == torch.bfloat16
    assert piece(2).double()(x.double()).dtype == torch.float64


@pytest.mark.parametrize("piece", [ChannelShift, RPReLU])
def test_channels_last_is_kept(piece) -> None:
    x = torch.randn(2, 4, 3, 3).to(memory_format=torch.channels_last)
    assert piece(4)(x).is_contiguous(memory_format=torch.channels_last)
