"""Kurtosis targets K_T, towards which the loss draws the weights of each layer."""

import re
from collections.abc import Collection, Sequence

from pipeline.errors import UserError

RESNET18_LAYERS = tuple(
    f"layer{stage}.{block}.{layer}"
    for stage in (1, 2, 3, 4)
    for block in (0, 1)
    for layer in ("conv1", "conv2", "downsample.0")
    if layer != "downsample.0" or (stage > 1 and block == 0)
)
"""The layers of ResNet-18 under the kurtosis loss, in module order."""

WITH_TEACHER = "1.8 x6, 1.4, 1.8 x3, 1.4 x4, 1.8, 1.2, 1.4, 1.2, 1.2"
WITHOUT_TEACHER = {
    "released cifar10": "1.4 x14, 1.8 x4, 2.2",
    "released imagenet": "1.8, 1.4 x4, 1.2, 1.4, 1.2, 1.2, 1.4 x3, 1.2 x4, 1.4, 1, 1",
}
"""Like WITH_TEACHER, targets for RESNET18_LAYERS. Source of both: METHOD [released]."""

LONGEST, MOST, GREATEST = 4000, 4096, 10**6
"""Most characters and targets of a list, and the greatest target."""


def parse_targets(target: float | str) -> tuple[float, ...]:
    """Read kurtosis targets, in module order, from one number or "1.4 x14, 1.8 x4, 2.2".

    Raises:
        ValueError: there is no entry, or one is neither a number nor a number with a count, or is
            not a possible kurtosis; or the list or a target is too large.
    """
    if isinstance(target, int | float):
        return (_possible(target),)
    if len(target) > LONGEST:
        raise ValueError(f"has {len(target)} characters, at most {LONGEST} are allowed")
    targets: list[float] = []
    for entry in re.sub(r"\s*x\s*", "x", target.replace(",", " ")).split():
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?)(?:x([0-9]{1,4}))?", entry)
        if not match:
            raise ValueError(
                f"{entry!r} is not a target such as 1.8 or 1.4 x14 "
                f"(or as a whole: {', '.join(WITHOUT_TEACHER)})"
            )
        targets += [_possible(float(match[1]))] * int(match[2] or 1)
        if len(targets) > MOST:
            raise ValueError(f"has more than {MOST} targets")
    if not targets:
        raise ValueError("no target given")
    return tuple(targets)


def _possible(target: float) -> float:
    if not target >= 1:
        raise ValueError("kurtosis is never below 1")
    if target > GREATEST:
        raise ValueError(f"targets are at most {GREATEST:,}")
    return float(target)


def layer_targets(
    target: float | str, names: Sequence[str], losses: Collection[str]
) -> dict[str, float]:
    """The target of each layer under the kurtosis loss, by name; empty without that loss.

    The released code has lists only for ResNet-18 and stumbles over the 35 layers of ResNet-34. In
    that network, each further block of a stage has the targets of the stage's second block.
    [inferred]

    Args:
        target: one number for all layers; one for each in module order, "1.4 x14, 1.8 x4, 2.2"; or
            a list of the released code, `released cifar10` or `released imagenet`.
        names: names of the regularized layers, in module order.
        losses: losses of the row; the released lists differ where a teacher takes part.

    Returns:
        Targets in the order of `names`.

    Raises:
        UserError: there are several targets, but not one for each layer; or they are released ones
            and the network is neither ResNet-18 nor ResNet-34.
    """
    if "kurtosis" not in losses:
        return {}
    if target in WITHOUT_TEACHER:
        taught = "distillation" in losses or "mimicking" in losses
        listed = WITH_TEACHER if taught else WITHOUT_TEACHER[str(target)]
        of_layer = dict(zip(RESNET18_LAYERS, parse_targets(listed), strict=True))
        twins = [re.sub(r"\.[2-9]\.", ".1.", name) for name in names]
        if set(twins) != of_layer.keys():
            raise UserError(
                f"kurtosis.target is {target!r}, which is for ResNet-18 and ResNet-34: this "
                f"network's regularized layers are others ({names[0]} to {names[-1]})"
            )
        return {name: of_layer[twin] for name, twin in zip(names, twins, strict=True)}
    targets = parse_targets(target)
    if len(targets) == 1:
        return dict.fromkeys(names, targets[0])
    if len(targets) != len(names):
        raise UserError(
            f"kurtosis.target has {len(targets)} targets: the network has {len(names)} regularized "
            f"layers ({names[0]} to {names[-1]}); give one target or {len(names)}"
        )
    return dict(zip(names, targets, strict=True))
