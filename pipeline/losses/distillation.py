"""Distillation: the student learns the teacher's class probabilities."""

import torch.nn.functional as F
from torch import Tensor


def distillation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Mean over the batch of -sum_c softmax(teacher / T)_c log_softmax(student / T)_c, times T^2.

    Source: METHOD [released], where T = 1; T^2 keeps the gradient's size when T changes (Hinton et
    al., arXiv 1503.02531). Its minimum is the teacher's entropy, not 0.

    Args:
        student_logits: (batch, classes).
        teacher_logits: (batch, classes); no gradient need flow to them.
        temperature: T, above 0.

    Returns:
        0-d tensor.
    """
    probabilities = F.softmax(teacher_logits / temperature, dim=1)
    return F.cross_entropy(student_logits / temperature, probabilities) * temperature**2
