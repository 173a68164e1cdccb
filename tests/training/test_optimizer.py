"""Weight decay on all parameters, or on the weights of convolutions alone; fused or not."""

import pytest
import torch
from torch import nn

from pipeline.models.architecture import Architecture
from pipeline.models.registry import build
from pipeline.training.optimizer import make_optimizer
from tests.training.conftest import tiny_params


def one_step_without_a_gradient(optimizer: str, decay: str) -> tuple[set, set, set]:
    """Names of convolution weights, of what a step with zero gradients moves, of all parameters."""
    overrides = {
        "student.optimizer": optimizer,
        "student.weight_decay": 0.1,
        "student.decay": decay,
    }
    params = tiny_params(overrides)
    torch.manual_seed(1)
    model = build(
        Architecture(
            network="resnet18",
            classes=3,
            channels=1,
            image_size=8,
            block="bireal",
            activation="hardtanh",
            downsample="real",
            binarization=params.binarization,
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5)  # none is at zero, where decay would not move it
            parameter.grad = torch.zeros_like(parameter)
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    make_optimizer(params.student, model, fused=True).step()
    after = dict(model.named_parameters())
    convolutions = {
        f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Conv2d)
    }
    assert len(convolutions) == 20 and "layer2.0.downsample.0.weight" in convolutions
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    return convolutions, moved, set(before)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_without_a_gradient_a_parameter_moves_only_if_decayed(optimizer):
    convolutions, moved, _ = one_step_without_a_gradient(optimizer, "convolutions")
    assert moved == convolutions
    _, moved, every = one_step_without_a_gradient(optimizer, "all")
    assert moved == every


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_fused_step_is_that_of_the_loop_over_parameters(optimizer):
    phase = tiny_params({"student.optimizer": optimizer, "student.weight_decay": 0.1}).student
    moved = {}
    for fused in (True, False):
        torch.manual_seed(1)
        model = nn.Linear(7, 5)
        made = make_optimizer(phase, model, fused=fused)
        assert all(group["fused"] is fused for group in made.param_groups)
        for _ in range(3):
            made.zero_grad()
            model(torch.ones(2, 7)).square().sum().backward()
            made.step()
        moved[fused] = model.weight.detach()
    torch.testing.assert_close(moved[True], moved[False], rtol=1e-5, atol=1e-7)
