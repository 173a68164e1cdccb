import math
from collections.abc import Sequence

import pytest
import torch

from pipeline.losses.mimicking import TeacherParts, mimicking_loss, pair_by_rank, prepare_teacher

FORMS = ["quantile", "softmax", "released"]
SHAPES = [(4, 3, 2, 2), (2, 5, 1, 1), (3, 2, 3, 3)]


def layers(seed: int, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, dtype=dtype, generator=generator) for shape in SHAPES]


def layer(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(1, -1, 1, 1)


def paired(
    student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor], form: str, temperature: float
) -> TeacherParts:
    prepared = prepare_teacher(teacher, form, temperature)
    return pair_by_rank(student, prepared) if form == "quantile" else prepared


def loss_of(student: torch.Tensor, teacher: torch.Tensor, form: str, temperature: float) -> float:
    prepared = paired([student], [teacher], form, temperature)
    return mimicking_loss([student], prepared, form, temperature).item()


@pytest.mark.parametrize("form", FORMS)
def test_gradcheck(form: str) -> None:
    student = tuple(weight.requires_grad_() for weight in layers(0))
    teacher = layers(1)

    def loss(*student: torch.Tensor) -> torch.Tensor:
        return mimicking_loss(student, paired(student, teacher, form, 6.0), form, 6.0)

    assert torch.autograd.gradcheck(loss, student)


@pytest.mark.parametrize("form", FORMS)
def test_layers_add_up(form: str) -> None:
    student, teacher = layers(0), layers(1)

    together = mimicking_loss(student, paired(student, teacher, form, 2.0), form, 2.0)

    one_by_one = sum(loss_of(s, t, form, 2.0) for s, t in zip(student, teacher, strict=True))
    assert together.item() == pytest.approx(one_by_one)


@pytest.mark.parametrize("form", FORMS)
def test_the_teacher_gets_no_gradient_and_an_equal_student_no_loss(form: str) -> None:
    teacher = [weight.requires_grad_() for weight in layers(1)]
    prepared = paired(teacher, teacher, form, 6.0)
    assert not any(tensor.requires_grad for layer in prepared for tensor in layer)
    assert mimicking_loss(teacher, prepared, form, 6.0).item() == pytest.approx(0, abs=1e-12)


def test_quantile_by_hand() -> None:
    """Sorted: -1, 2, 3 and 0, 4, 5; squared differences 1, 4, 4."""
    student = layer(3.0, -1.0, 2.0).requires_grad_()
    teacher = prepare_teacher([layer(5.0, 0.0, 4.0)], "quantile", 1.0)
    assert teacher[0][0].tolist() == [0, 4, 5]
    teacher = pair_by_rank([student], teacher)
    assert teacher[0][0].flatten().tolist() == [5, 0, 4]

    loss = mimicking_loss([student], teacher, "quantile", 1.0)
    loss.backward()

    assert loss.item() == pytest.approx(3)
    expected = torch.tensor([2 / 3 * -2, 2 / 3 * -1, 2 / 3 * -2])
    torch.testing.assert_close(student.grad.flatten(), expected)


def test_kept_ranks_never_lower_the_quantile_loss() -> None:
    student, teacher = layers(0), layers(1)
    kept = paired(student, teacher, "quantile", 1.0)
    moved = [weight + 0.1 * torch.randn_like(weight) for weight in student]
    renewed = paired(moved, teacher, "quantile", 1.0)
    exact = mimicking_loss(moved, renewed, "quantile", 1.0)
    stale = mimicking_loss(moved, kept, "quantile", 1.0)
    assert exact < stale < 1.5 * exact


def test_quantile_is_about_the_distribution_alone() -> None:
    teacher = torch.randn(8, 4, 3, 3)
    permuted = teacher.flatten()[torch.randperm(teacher.numel())].reshape(4, 8, 3, 3)
    assert loss_of(permuted, teacher, "quantile", 1.0) == 0
    assert loss_of(permuted + 0.5, teacher, "quantile", 1.0) == pytest.approx(0.25, rel=1e-5)


def test_softmax_by_hand() -> None:
    """T = 2: student 0, 0 is (1/2, 1/2), teacher 2 ln 3, 0 is (3/4, 1/4).

    KL = 3/4 ln(3/2) + 1/4 ln(1/2) = 0.1308120; mean of two elements times T^2 = 4 is twice that.
    """
    teacher = layer(2 * 1.0986122887, 0.0)
    assert loss_of(layer(0.0, 0.0), teacher, "softmax", 2.0) == pytest.approx(0.2616241, rel=1e-5)
    # Over the input channels: a shift of all channels of a filter changes nothing.
    shifted = layer(5.0, 5.0)
    assert loss_of(shifted, teacher, "softmax", 2.0) == pytest.approx(0.2616241, rel=1e-5)


def test_released_is_torch_kl_of_raw_weights_and_no_distance() -> None:
    student, teacher = layers(0)[0], layers(1)[0]
    torch_loss = torch.nn.functional.kl_div(student, teacher, log_target=True, reduction="none")
    ours = loss_of(student, teacher, "released", 1.0)
    assert ours == pytest.approx(torch_loss.mean().item())
    assert loss_of(teacher + 100, teacher, "released", 1.0) < -100


def test_layers_must_pair() -> None:
    teacher = prepare_teacher(layers(1), "softmax", 6.0)
    with pytest.raises(ValueError, match="zip"):
        mimicking_loss(layers(0)[:2], teacher, "softmax", 6.0)


def test_a_weight_that_is_nan_shows() -> None:
    student = torch.tensor([1.0, float("nan"), 2.0]).reshape(1, 3, 1, 1)
    teacher = torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)
    assert math.isnan(loss_of(student, teacher, "quantile", 1.0))
