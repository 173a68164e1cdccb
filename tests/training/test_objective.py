import itertools
import shutil

import pytest
import torch
from torch.nn import functional as F

from pipeline.errors import UserError
from pipeline.losses.kurtosis import kurtosis
from pipeline.models.architecture import Architecture
from pipeline.models.layers import mimicked_convolutions, regularized_convolutions
from pipeline.models.registry import build
from pipeline.names import LOSSES
from pipeline.training.objective import Objective
from tests.training.conftest import tiny_params

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, -2.0]])
LABELS = torch.tensor([0, 2])
DISTILLER_LOGITS = torch.tensor([[1.0, 0.0, 0.0], [0.0, 3.0, 0.0]])


def network(seed, name="resnet20", binary=True):
    torch.manual_seed(seed)
    params = tiny_params()
    return build(
        Architecture(
            network=name,
            classes=3,
            channels=1,
            image_size=8,
            block="bireal",
            activation="hardtanh",
            downsample="real",
            binarization=params.binarization if binary else None,
        )
    )


@pytest.fixture(scope="module")
def student():
    return network(1)


@pytest.fixture(scope="module")
def teacher():
    return network(2, binary=False)


def terms(objective, epoch=0):
    return objective.terms(LOGITS, LABELS, DISTILLER_LOGITS, 1.0, epoch)


def test_every_term_is_its_formula(student, teacher):
    params = tiny_params({"kurtosis.target": 1.8, "distillation.temperature": 3.0})
    found = terms(Objective(LOSSES, params, student, mimicked=teacher))
    assert tuple(found) == LOSSES
    torch.testing.assert_close(found["cross_entropy"], F.cross_entropy(LOGITS, LABELS))
    soft = F.softmax(DISTILLER_LOGITS / 3, 1)
    expected = -(soft * F.log_softmax(LOGITS / 3, 1)).sum(1).mean() * 9
    torch.testing.assert_close(found["distillation"], expected)
    layers = regularized_convolutions(student).values()
    distances = [(kurtosis(layer.weight) - 1.8) ** 2 for layer in layers]
    torch.testing.assert_close(found["kurtosis"], torch.stack(distances).mean())
    pairs = zip(
        mimicked_convolutions(student).values(),
        mimicked_convolutions(teacher).values(),
        strict=True,
    )
    sorted_pairs = [(s.weight.flatten().sort()[0], t.weight.flatten().sort()[0]) for s, t in pairs]
    expected = torch.stack([F.mse_loss(s, t) for s, t in sorted_pairs]).sum()
    torch.testing.assert_close(found["mimicking"], expected)


def test_losses_of_the_images_count_by_the_size_of_the_share(student, teacher):
    objective = Objective(LOSSES, tiny_params(), student, mimicked=teacher)
    found = objective.terms(LOGITS, LABELS, DISTILLER_LOGITS, 1.5, 0)
    expected = terms(objective)
    for name in LOSSES:
        factor = 1.5 if name in ("cross_entropy", "distillation") else 1
        assert found[name].item() == pytest.approx(factor * expected[name].item())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++")
def test_compiled_losses_of_the_weights_and_their_gradients_are_the_same(student, teacher):
    params = tiny_params()
    weights = [layer.weight for layer in regularized_convolutions(student).values()]
    both = []
    for compiled in (False, True):
        objective = Objective(
            ("cross_entropy", "kurtosis", "mimicking"), params, student, mimicked=teacher
        )
        if compiled:
            objective.compile()
        gradients = [
            torch.autograd.grad(terms(objective)[name], weights)
            for name in ("kurtosis", "mimicking")
        ]
        both.append((terms(objective), gradients))
    (expected, exact), (values, gradients) = both
    torch.testing.assert_close(values, expected, rtol=1e-4, atol=0)
    for found, wanted in zip(itertools.chain(*gradients), itertools.chain(*exact), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4 * wanted.abs().max().item())


def test_total_weighs_each_term(student, teacher):
    weights = dict(zip(LOSSES, (0.5, 0.25, 2.0, 8.0), strict=True))
    params = tiny_params({f"{name}.weight": weight for name, weight in weights.items()})
    objective = Objective(LOSSES, params, student, mimicked=teacher)
    found = terms(objective)
    expected = sum(weights[name] * found[name].item() for name in LOSSES)
    assert objective.total(found).item() == pytest.approx(expected, rel=1e-6)


def test_weights_are_read_at_each_call(teacher):
    model = network(3)
    objective = Objective(LOSSES, tiny_params(), model, mimicked=teacher)
    before = terms(objective)
    with torch.no_grad():
        for layer in regularized_convolutions(model).values():
            layer.weight.copy_(layer.weight.sign() + 0.01 * layer.weight)
    after = terms(objective)
    assert after["kurtosis"] < before["kurtosis"]
    assert after["mimicking"] > before["mimicking"]


def test_ranks_are_kept_for_some_steps_of_an_epoch(teacher):
    model = network(3)
    kept = Objective(LOSSES, tiny_params({"mimicking.sort_every": 2}), model, mimicked=teacher)
    renewed = Objective(LOSSES, tiny_params({"mimicking.sort_every": 1}), model, mimicked=teacher)
    stale = []
    for epoch in (0, 0, 0, 1):
        difference = terms(kept, epoch)["mimicking"] - terms(renewed, epoch)["mimicking"]
        stale.append(difference.item() > 0)
        with torch.no_grad():
            for layer in mimicked_convolutions(model).values():
                layer.weight.copy_(layer.weight.flatten().flip(0).view_as(layer.weight))
    assert stale == [False, True, False, False]


def test_losses_over_weights_reach_the_weights(student, teacher):
    objective = Objective(LOSSES, tiny_params(), student, mimicked=teacher)
    found = terms(objective)
    weights = [layer.weight for layer in regularized_convolutions(student).values()]
    for name in ("kurtosis", "mimicking"):
        gradients = torch.autograd.grad(found[name], weights, retain_graph=True)
        assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_kurtosis_waits_for_its_epoch(student, teacher):
    params = tiny_params({"kurtosis.start_epoch": 2})
    objective = Objective(LOSSES, params, student, mimicked=teacher)
    others = tuple(name for name in LOSSES if name != "kurtosis")
    assert [objective.active(epoch) for epoch in range(3)] == [others, others, LOSSES]
    assert [tuple(terms(objective, epoch)) for epoch in range(3)] == [others, others, LOSSES]


def test_a_target_for_each_layer(student):
    params = tiny_params({"kurtosis.target": "1.4 x14, 1.8 x3, 2.2"})
    objective = Objective(("cross_entropy", "kurtosis"), params, student)
    assert list(objective.targets) == list(regularized_convolutions(student))
    assert list(objective.targets.values()) == [1.4] * 14 + [1.8] * 3 + [2.2]


def test_without_the_kurtosis_loss_there_are_no_targets(student, teacher):
    losses = ("cross_entropy", "mimicking")
    assert not Objective(losses, tiny_params(), student, mimicked=teacher).targets


def test_nothing_to_mimic(student):
    with pytest.raises(UserError, match=r"^losses: mimicking needs a teacher, there is none$"):
        Objective(("cross_entropy", "mimicking"), tiny_params(), student)


def test_nothing_to_distill(student, teacher):
    objective = Objective(("distillation",), tiny_params(), student, mimicked=teacher)
    with pytest.raises(UserError, match=r"^losses: distillation needs a distiller, there is none$"):
        objective.terms(LOGITS, LABELS, None, 1.0, 0)


def test_layers_do_not_pair(student):
    teacher = network(2, name="vgg_small", binary=False)
    with pytest.raises(UserError, match=r"pairs layers by name: .* in the student, .* in the teac"):
        Objective(("cross_entropy", "mimicking"), tiny_params(), student, mimicked=teacher)


def test_none_that_counts(student):
    params = tiny_params({"cross_entropy.weight": 0})
    with pytest.raises(
        UserError, match=r"^losses: cross_entropy: the weight of each is 0, so noth"
    ):
        Objective(("cross_entropy",), params, student)


def test_none_that_sees_the_images(student):
    with pytest.raises(UserError, match=r"^losses: kurtosis: needs cross_entropy or distillation"):
        Objective(("kurtosis",), tiny_params(), student)
