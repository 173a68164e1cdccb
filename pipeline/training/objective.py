"""The objective of a row of the table: a weighted sum of losses, whose layers are paired once."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from pipeline.errors import UserError
from pipeline.losses.distillation import distillation_loss
from pipeline.losses.kurtosis import kurtosis_loss
from pipeline.losses.mimicking import TeacherParts, mimicking_loss, pair_by_rank, prepare_teacher
from pipeline.models.layers import mimicked_convolutions, regularized_convolutions
from pipeline.names import LOSSES
from pipeline.params import Params
from pipeline.targets import layer_targets


class Objective:
    """L = w_ce CE + lambda L_K + alpha L_KD + beta L_WDM over the losses of a row.

    Source: METHOD [released]; the weights are `params.<loss>.weight`.

    Args:
        losses: names from `LOSSES`.
        params: Weights and settings of the losses.
        model: The network in training, on its device; its parameters are read at each call.
        mimicked: Trained network on the same device whose weights `mimicking` needs, with the
            topology of `model`.

    Raises:
        UserError: there is no network to mimic or its layers do not pair, or no loss depends on the
            logits.
    """

    def __init__(
        self,
        losses: Sequence[str],
        params: Params,
        model: nn.Module,
        *,
        mimicked: nn.Module | None = None,
    ) -> None:
        if not {"cross_entropy", "distillation"} & set(losses):
            raise UserError(
                f"losses: {' '.join(losses)}: needs cross_entropy or distillation, "
                "the others do not look at the images"
            )
        self.losses = tuple(name for name in LOSSES if name in losses)
        self._of_weights = self._terms_of_weights
        self._weights = {name: getattr(params, name).weight for name in self.losses}
        if not any(self._weights.values()):
            raise UserError(
                f"losses: {' '.join(losses)}: the weight of each is 0, so nothing would be learned"
            )
        self._params = params
        regularized = regularized_convolutions(model)
        self._regularized = [layer.weight for layer in regularized.values()]
        self.targets = layer_targets(params.kurtosis.target, list(regularized), losses)
        self._targets = self._regularized[0].new_tensor(list(self.targets.values()))
        if "mimicking" in losses:
            if mimicked is None:
                raise UserError("losses: mimicking needs a teacher, there is none")
            self._mimicking, teacher = _paired_weights(model, mimicked)
            self._pairing_epoch: int | None = None
            self._pairing_age = 0
            self._mimicked = prepare_teacher(
                teacher, params.mimicking.form, params.mimicking.temperature
            )

    def compile(self) -> None:
        """Let torch.compile fuse the losses that depend on the weights alone, over all layers."""
        self._of_weights = torch.compile(self._terms_of_weights, dynamic=False)

    def active(self, epoch: int) -> tuple[str, ...]:
        """The losses that take part in 0-based `epoch`."""
        waits = epoch < self._params.kurtosis.start_epoch
        return tuple(name for name in self.losses if not (waits and name == "kurtosis"))

    def terms(
        self,
        logits: torch.Tensor,
        labels: torch.Tensor,
        distiller_logits: torch.Tensor | None,
        relative_size: float,
        epoch: int,
    ) -> dict[str, torch.Tensor]:
        """Compute the losses that are active in 0-based `epoch`, unweighted.

        Args:
            logits: float32 (B, classes) of this process's images.
            labels: int64 (B,).
            distiller_logits: float32 (B, classes); needed by `distillation`.
            relative_size: images of this process divided by their mean over all processes. Losses
                of images are multiplied by it, so that their mean over processes is the mean over
                images.
            epoch: 0-based epoch of the training.

        Returns:
            0-d tensors, by the name of the loss.

        Raises:
            UserError: `distillation` takes part, but there are no `distiller_logits`.
        """
        active = self.active(epoch)
        terms = self._of_weights(
            "kurtosis" in active, self._paired(epoch) if "mimicking" in active else None
        )
        if "cross_entropy" in active:
            terms["cross_entropy"] = relative_size * F.cross_entropy(logits, labels)
        if "distillation" in active:
            if distiller_logits is None:
                raise UserError("losses: distillation needs a distiller, there is none")
            temperature = self._params.distillation.temperature
            distilled = distillation_loss(logits, distiller_logits, temperature)
            terms["distillation"] = relative_size * distilled
        return {name: terms[name] for name in active}

    def _terms_of_weights(
        self, kurtosis: bool, paired: TeacherParts | None
    ) -> dict[str, torch.Tensor]:
        """The losses that depend on the weights alone, which a compiler fuses into few passes."""
        terms = {}
        if kurtosis:
            terms["kurtosis"] = kurtosis_loss(
                self._regularized, self._targets, self._params.kurtosis.aggregate
            )
        if paired is not None:
            terms["mimicking"] = mimicking_loss(
                self._mimicking,
                paired,
                self._params.mimicking.form,
                self._params.mimicking.temperature,
            )
        return terms

    def _paired(self, epoch: int) -> TeacherParts:
        """The teacher's part of WDM; the ranks are renewed every `sort_every` calls.

        The first call of each epoch renews them too, so that a resumed training has the same ranks.
        """
        if self._params.mimicking.form != "quantile":
            return self._mimicked
        if epoch != self._pairing_epoch or self._pairing_age == self._params.mimicking.sort_every:
            self._pairing = pair_by_rank(self._mimicking, self._mimicked)
            self._pairing_epoch, self._pairing_age = epoch, 0
        self._pairing_age += 1
        return self._pairing

    def total(self, terms: dict[str, torch.Tensor]) -> torch.Tensor:
        """Weighted sum of `terms`, 0-d."""
        return torch.stack([self._weights[name] * term for name, term in terms.items()]).sum()


def _paired_weights(
    student: nn.Module, teacher: nn.Module
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Weights of the mimicked convolutions of both networks, in the student's module order.

    Raises:
        UserError: names or shapes differ; the first difference is named.
    """
    layers, source = mimicked_convolutions(student), mimicked_convolutions(teacher)
    for name in sorted(layers.keys() | source.keys()):
        found, wanted = (
            tuple(side[name].weight.shape) if name in side else "nothing"
            for side in (layers, source)
        )
        if found != wanted:
            raise UserError(
                f"mimicking pairs layers by name: {name} is {found} in the student, "
                f"{wanted} in the teacher"
            )
    return [layer.weight for layer in layers.values()], [source[name].weight for name in layers]
