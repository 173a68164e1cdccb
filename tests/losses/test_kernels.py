import pytest
import torch

from pipeline.losses.kernels import dot, values_of_equal_rank

TRICKY = [3.0, -0.0, 1e-40, 0.0, -1e-45, 3.0, -2.5, 3.4e38, -2.5, 1e-45, -3.4e38]


def draw() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(7, 5, 3, 3, generator=generator),
        torch.randn(1, generator=generator),
        torch.randint(-3, 3, (1000,), generator=generator).float(),
        torch.tensor(TRICKY),
        torch.randn(6, 4, 3, 3, generator=generator).to(memory_format=torch.channels_last),
        torch.randn(6, 4, 1, 1, generator=generator).to(memory_format=torch.channels_last),
        torch.randn(9, 8, generator=generator)[::2, 1:],
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sorting_both_pairs_them(dtype: torch.dtype) -> None:
    tensors = [tensor.to(dtype) for tensor in draw()]
    sorted_values = [torch.linspace(-1, 1, tensor.numel(), dtype=dtype) for tensor in tensors]

    ranked = values_of_equal_rank(tensors, sorted_values)

    for tensor, values, result in zip(tensors, sorted_values, ranked, strict=True):
        assert result.shape == tensor.shape
        assert result.dtype == dtype
        pairs = sorted(zip(tensor.flatten().tolist(), result.flatten().tolist(), strict=True))
        assert [value for _, value in pairs] == values.tolist()


def test_ranks_by_hand() -> None:
    (ranked,) = values_of_equal_rank(
        [torch.tensor([[3.0, -1.0], [2.0, 7.0]], requires_grad=True)],
        [torch.tensor([10.0, 20.0, 30.0, 40.0])],
    )
    assert ranked.tolist() == [[30, 10], [20, 40]]
    assert not ranked.requires_grad


def test_memory_format_is_kept() -> None:
    tensor = torch.randn(6, 4, 3, 3).to(memory_format=torch.channels_last)
    (ranked,) = values_of_equal_rank([tensor], [tensor.flatten().sort().values])
    assert ranked.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(ranked, tensor)


def test_bits_do_not_depend_on_threads() -> None:
    tensors = draw()
    sorted_values = [torch.linspace(-1, 1, tensor.numel()) for tensor in tensors]
    threads = torch.get_num_threads()
    results = []
    for count in (1, 3):
        torch.set_num_threads(count)
        results.append(values_of_equal_rank(tensors, sorted_values))
    torch.set_num_threads(threads)
    for one, three in zip(*results, strict=True):
        assert torch.equal(one, three)


def test_tensors_must_pair() -> None:
    with pytest.raises(ValueError, match="zip"):
        values_of_equal_rank(draw(), [torch.zeros(3)])


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
