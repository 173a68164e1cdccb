import math

import pytest
import torch

from pipeline.losses.distillation import distillation_loss


def test_gradcheck() -> None:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(3, 4, dtype=torch.float64, generator=generator).requires_grad_()
    teacher = torch.randn(3, 4, dtype=torch.float64, generator=generator)
    for temperature in (1.0, 4.0):
        assert torch.autograd.gradcheck(
            lambda logits, t=temperature: distillation_loss(logits, teacher, t), (student,)
        )


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_by_hand(temperature: float) -> None:
    """Teacher (3/4, 1/4); student (1/2, 1/2): ln 2. Student (1/4, 3/4): 3/4 ln 4 + 1/4 ln(4/3)."""
    teacher = torch.tensor([[math.log(3), 0.0]] * 2) * temperature
    student = torch.tensor([[5.0, 5.0], [0.0, math.log(3) * temperature]])

    loss = distillation_loss(student, teacher, temperature).item()

    rows = [math.log(2), 0.75 * math.log(4) + 0.25 * math.log(4 / 3)]
    assert loss == pytest.approx(sum(rows) / 2 * temperature**2, rel=1e-6)


def test_follows_the_formula_and_is_least_at_the_teacher() -> None:
    student, teacher = torch.randn(5, 10), torch.randn(5, 10)
    loss = distillation_loss(student, teacher, 1.0)
    formula = -(teacher.softmax(1) * student.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(loss, formula)
    assert distillation_loss(teacher, teacher, 1.0) < loss
