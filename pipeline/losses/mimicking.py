"""Weight distribution mimicking (WDM): the student's weights are distributed as the teacher's.

METHOD gives three readings of it. Each loss is a sum over the layers, as in the released code, of a
term that depends on one layer's weights: w_s of the student and w_t of the teacher, which are given
as lists in the same order. The teacher never changes, so `prepare_teacher` computes once what
depends on it alone; the form `quantile` also needs the student's ranks, from `pair_by_rank`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.losses.kernels import mean_squared_difference, values_of_equal_rank

Form = Literal["quantile", "softmax", "released"]
TeacherParts = tuple[tuple[Tensor, ...], ...]
"""The teacher's tensors that the term of each layer needs."""


def prepare_teacher(weights: Sequence[Tensor], form: Form, temperature: float) -> TeacherParts:
    """Compute what `mimicking_loss` needs of the teacher.

    Args:
        weights: weights of each layer (filters, channels, height, width), on the student's device.
        form: form of the loss.
        temperature: T of the form `softmax`.

    Returns:
        For each layer, without gradient: the sorted weights, 1-d (`quantile`); p_t = softmax(w_t /
        T) over the input channels, and the mean of p_t log p_t (`softmax`); exp(w_t), and the mean
        of exp(w_t) w_t (`released`).
    """
    weights = [weight.detach() for weight in weights]
    if form == "quantile":
        return tuple((weight.flatten().sort().values,) for weight in weights)
    if form == "softmax":
        shares = [F.softmax(weight / temperature, dim=1) for weight in weights]
        return tuple((share, torch.xlogy(share, share).mean()) for share in shares)
    return tuple((weight.exp(), (weight.exp() * weight).mean()) for weight in weights)


def pair_by_rank(student: Sequence[Tensor], teacher: TeacherParts) -> TeacherParts:
    """Pair the student's weights with the teacher's by rank, for the form `quantile`.

    The cost of this form is that of sorting. A step moves weights little, so their ranks may be
    kept for some steps. Until they are renewed, the loss is that of another pairing of the same
    weights, which is never below that of the pairing by rank, and its gradient draws each weight
    towards the teacher's weight of its last rank.

    Args:
        student: latent weights of each layer.
        teacher: from `prepare_teacher`, form `quantile`.

    Returns:
        For each layer, in the student's shape, the teacher's weight of each weight's rank.
    """
    sorted_weights = [weights for (weights,) in teacher]
    return tuple((paired,) for paired in values_of_equal_rank(student, sorted_weights))


def mimicking_loss(
    student: Sequence[Tensor], teacher: TeacherParts, form: Form, temperature: float
) -> Tensor:
    """L_WDM in one of its forms, summed over the layers.

    Args:
        student: latent weights of each layer (filters, channels, height, width).
        teacher: from `prepare_teacher`, same form and temperature; for `quantile`, passed through
            `pair_by_rank` as well.
        form: `quantile`, `softmax` or `released`; see `quantile_distance`, `softmax_divergence`,
            `released_term`.
        temperature: T of the form `softmax`.

    Returns:
        0-d tensor.
    """
    terms: dict[Form, Callable[..., Tensor]] = {
        "quantile": quantile_distance,
        "softmax": partial(softmax_divergence, temperature=temperature),
        "released": released_term,
    }
    pairs = zip(student, teacher, strict=True)
    return torch.stack([terms[form](s, *t) for s, t in pairs]).sum()


def quantile_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the sorted weights of one layer.

    mean_i (w_s,(i) - w_t,(i))^2, the squared 2-Wasserstein distance between the two distributions
    of weights. Source: METHOD [inferred], the literal reading of "mimic the distribution". A rank
    does not change with a small change of a weight, so the gradient is that of the difference
    between each weight and the teacher's weight of its rank.

    Args:
        student: weights of any shape.
        teacher: for each of them the teacher's weight of the same rank, same shape.
    """
    return mean_squared_difference(student, teacher)


def softmax_divergence(
    student: Tensor, teacher: Tensor, negentropy: Tensor, temperature: float
) -> Tensor:
    """KL divergence of softmax(w_s / T) from softmax(w_t / T) over the input channels of one layer.

    mean over all elements of p_t (log p_t - log p_s), times T^2, with T = 6 by default. Source:
    METHOD [released], where it is present but never called.

    Args:
        student: weights (filters, channels, height, width).
        teacher: p_t = softmax(w_t / T) over the channels, same shape.
        negentropy: mean of p_t log p_t, 0-d.
        temperature: T, above 0.
    """
    log_student = F.log_softmax(student / temperature, dim=1)
    return (negentropy - (teacher * log_student).mean()) * temperature**2


def released_term(student: Tensor, exponential: Tensor, constant: Tensor) -> Tensor:
    """mean(exp(w_t) (w_t - w_s)) of one layer: KLDivLoss(log_target=True) on the raw weights.

    Source: METHOD [released]; this is what the released trainer calls.

    Warning: this is not a distance. Raw weights are not log-probabilities, so it is linear in w_s,
    unbounded below, and negative as soon as the student's weights are the larger ones; its gradient
    is the constant -exp(w_t) / n, which pushes every weight up. It is kept for fidelity.

    Args:
        student: weights of any shape.
        exponential: exp(w_t), same shape.
        constant: mean of exp(w_t) w_t, 0-d.
    """
    return constant - (exponential * student).mean()
