import pytest
import torch

from pipeline.losses.products import dot


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_millions_of_elements_cost_no_precision(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(3, 1_000_003, generator=generator, dtype=dtype)
    second = torch.rand(3, 1_000_003, generator=generator, dtype=dtype)
    expected = (first.double() * second.double()).sum().item()
    assert dot(first, second).item() == pytest.approx(expected, rel=3e-7)
    assert dot(first, second).dtype == dtype


def test_elements_meet_in_any_memory_format() -> None:
    first, second = torch.randn(2, 5, 4, 3, 3)
    expected = (first * second).sum()
    layout = {"memory_format": torch.channels_last}
    torch.testing.assert_close(dot(first.to(**layout), second.to(**layout)), expected)
    torch.testing.assert_close(dot(first[2:], second[2:]), (first[2:] * second[2:]).sum())
