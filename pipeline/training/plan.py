"""The three trainings of the method: what starts from what, with which losses.

- teacher: a full-precision network, trained from random weights with cross-entropy, or read with
  weights that others trained.
- finetune: the teacher trained further, with the kurtosis loss or, as its control, without it.
- binarize: a binary network trained with the losses of its row, in one step or in two.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.errors import UserError
from pipeline.models.pretrained import PREFIX
from pipeline.names import FILE_NAME, STEP_ONE_ROWS
from pipeline.params import Binarization, Params, Phase, Student

Step = Literal["single", "one", "two"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One training, before any data is read. Each folder is that of a trained network."""

    row: str
    seed: int
    network: str
    losses: tuple[str, ...]
    phase: Phase
    binarization: Binarization | None = None
    start_folder: Path | None = None
    """The network that gives the first weights; None: they are random."""
    teacher_folder: Path | None = None
    """Its best weights are mimicked."""
    distiller_folder: Path | None = None
    """Its logits are distilled; often the teacher."""
    step: Step = "single"
    pretrained: str | None = None
    """Weights to read instead of training."""

    def __post_init__(self) -> None:
        for name in self.losses:
            if self.losses.count(name) > 1:
                raise UserError(f"losses: {name} is named twice")
        if (self.row in STEP_ONE_ROWS) != (self.step == "one"):
            raise UserError(
                f"step: {self.step} does not fit the row {self.row}; step one has the rows "
                f"{', '.join(STEP_ONE_ROWS)}"
            )
        start = self.start_folder
        if self.step == "two" and start and not re.fullmatch(FILE_NAME, start.name):
            raise UserError(f"step one {start}: its name, that of its curves, must be {FILE_NAME}")

    @classmethod
    def teacher(
        cls, params: Params, *, network: str, seed: int, pretrained: bool = False
    ) -> "Plan":
        """Plan the row `full-precision`: trained or, if `pretrained`, read as `params` says.

        Raises:
            UserError: `pretrained`, but `params` name no weights to read or `network` is not one of
                torchvision's.
        """
        weights = None
        if pretrained:
            if params.pretrained is None:
                raise UserError("pretrained: the section pretrained is missing from the params")
            if not network.startswith(PREFIX):
                raise UserError(
                    f"network: {network} is trained; weights are read for {PREFIX}* alone"
                )
            weights = params.pretrained.weights
        return cls(
            row="full-precision",
            seed=seed,
            network=network,
            losses=("cross_entropy",),
            phase=params.teacher,
            pretrained=weights,
        )

    @classmethod
    def finetune(
        cls,
        params: Params,
        *,
        network: str,
        seed: int,
        row: str,
        losses: Sequence[str],
        teacher: Path,
    ) -> "Plan":
        """Plan a full-precision network that starts from `teacher`, with the losses of its row.

        Raises:
            UserError: a loss is named twice, or the row is one of step one.
        """
        return cls(
            row=row,
            seed=seed,
            network=network,
            losses=tuple(losses),
            phase=params.finetune,
            start_folder=teacher,
        )

    @classmethod
    def binarize(
        cls,
        params: Params,
        *,
        network: str,
        seed: int,
        row: str,
        losses: Sequence[str],
        teacher: Path,
        distiller: Path | None = None,
        step: Step = "single",
        step_one: Path | None = None,
    ) -> "Plan":
        """Plan a binary network with the losses of its row.

        Args:
            params: its section `student` has the schedule of a single step, `step_one` and
                `step_two` those of two.
            network: name of the network.
            seed: seed of the first weights and of the order and augmentation of the images.
            row: name of the row.
            losses: names from `pipeline.names.LOSSES`.
            teacher: trained network whose weights are mimicked.
            distiller: trained network whose logits are distilled, of any architecture for the same
                classes and images; the teacher if None.
            step: `one` has binary activations and real weights; `two` starts from its last
                weights, without its optimizer state.
            step_one: folder that step one wrote; for step two only.

        Raises:
            UserError: `step` does not fit `step_one`, the row or the sections of `params`, a loss
                is named twice, or the folder of step one is not named as FILE_NAME allows.
        """
        if step == "two" and step_one is None:
            raise UserError("step: two needs the folder that step one wrote")
        if step != "two" and step_one is not None:
            raise UserError(f"step: {step} does not start from step one ({step_one}); two does")
        phase = {"single": params.student, "one": params.step_one, "two": params.step_two}[step]
        if phase is None:
            raise UserError(f"step: {step} needs the section step_{step}, the params have none")
        binarization = params.binarization
        if step == "one":
            binarization = binarization.model_copy(update={"weights": False})
        from_teacher = isinstance(phase, Student) and phase.initialize == "teacher"
        return cls(
            row=row,
            seed=seed,
            network=network,
            losses=tuple(losses),
            phase=phase,
            binarization=binarization,
            start_folder=teacher if from_teacher else step_one,
            teacher_folder=teacher,
            distiller_folder=distiller or teacher,
            step=step,
        )

    @property
    def start_weights(self) -> Literal["best", "last"]:
        """Which weights of `start_folder` are the first ones.

        Step two continues from where step one ended. Source: METHOD [field].
        """
        return "last" if self.step == "two" else "best"

    @property
    def weights(self) -> set[Path]:
        """The files of trained weights that this training depends on."""
        networks = [(self.start_folder, self.start_weights)]
        if "mimicking" in self.losses:
            networks.append((self.teacher_folder, "best"))
        if "distillation" in self.losses:
            networks.append((self.distiller_folder, "best"))
        return {folder / f"{which}.safetensors" for folder, which in networks if folder}
