"""Learning rate of an epoch: a pure function, so that a resumed training needs no state for it."""

import math

from pipeline.params import Phase


def learning_rate(phase: Phase, epoch: int) -> float:
    """Learning rate of 0-based `epoch` of `phase.epochs`, constant within it.

    cosine: lr (1 + cos(pi epoch / epochs)) / 2; linear: lr (1 - epoch / epochs). Both reach 0
    after the last epoch. Source: METHOD [released], cosine on CIFAR-10 and linear on ImageNet.
    """
    progress = epoch / phase.epochs
    match phase.schedule:
        case "cosine":
            return phase.learning_rate * (1 + math.cos(math.pi * progress)) / 2
        case "linear":
            return phase.learning_rate * (1 - progress)
        case "constant":
            return phase.learning_rate
