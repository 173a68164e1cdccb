"""The three trainings of the method: what starts from what, with which losses.

teacher: a full-precision network from random weights, cross-entropy; or pretrained weights, read.
finetune: the teacher goes on with the kurtosis loss, which makes its weights bimodal.
binarize: a binary network, with the losses of its row of the table, in one step or in two.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd
import torch

from pipeline.artifacts import check_replaceable, sha256, write_csv
from pipeline.data.loading.batches import Batches
from pipeline.data.loading.dataset import Images, open_prepared
from pipeline.data.prepared import SplitName, StreamedManifest
from pipeline.device import Execution, configure, select_device, within_gpu_memory
from pipeline.distributed import World, process_group
from pipeline.errors import UserError
from pipeline.models.architecture import NETWORKS, Architecture, build
from pipeline.models.pretrained import PREFIX, load_pretrained
from pipeline.models.saved import (
    DESCRIPTION,
    Description,
    load_description,
    load_trained,
    save_trained,
)
from pipeline.params import Augmentation, Binarization, Params, Phase, Student
from pipeline.provenance import provenance
from pipeline.training.checkpoint import Scratch, fingerprint
from pipeline.training.interruption import Interruption
from pipeline.training.objective import Objective
from pipeline.training.trainer import Outcome, Task, Trainer


@dataclass(frozen=True)
class Places:
    """Where a training reads and writes."""

    data: Path
    """Prepared data."""
    out: Path
    """Folder of the trained network; its name is the cell's."""
    results: Path
    """Folder of `curves/`, `kurtosis/` and `timing/`."""


Step = Literal["single", "one", "two"]


@dataclass(frozen=True)
class Plan:
    """One training, before any data is read."""

    row: str
    seed: int
    network: str
    losses: tuple[str, ...]
    phase: Phase
    binarization: Binarization | None
    start: Path | None
    """Trained network whose weights are the first ones; None: random."""
    teacher: Path | None
    """Trained network whose best weights are mimicked."""
    distiller: Path | None = None
    """Trained network whose logits are distilled; None: those of the teacher."""
    step: Step = "single"
    pretrained: str | None = None
    """Weights to read instead of training."""

    @property
    def weights(self) -> set[Path]:
        """The files of trained weights that have a say in this training."""
        networks = [(self.teacher, "best"), (self.distiller, "best")]
        networks.append((self.start, self.first_weights[1]))
        return {folder / f"{which}.safetensors" for folder, which in networks if folder}

    @property
    def first_weights(self) -> tuple[str, Literal["best", "last"]]:
        """The option that names `start`, and which of its weights are taken.

        Step two goes on from where step one ended. Source: METHOD [released].
        """
        return ("--step-one", "last") if self.step == "two" else ("--teacher", "best")


def train_teacher(
    params: Params, places: Places, network: str, seed: int, *, pretrained: bool = False
) -> None:
    """Train the row `full-precision`, or if `pretrained` read the weights that `params` names.

    Raises:
        UserError: `params` name no weights to read, or `network` is none of torchvision's; or an
            input does not fit.
    """
    if pretrained and params.pretrained is None:
        raise UserError("--pretrained: the section pretrained is missing from the params")
    if pretrained and not network.startswith(PREFIX):
        raise UserError(
            f"--pretrained: --network is {network!r}, weights can be read for {PREFIX}* alone"
        )
    plan = Plan(
        row="full-precision",
        seed=seed,
        network=network,
        losses=("cross_entropy",),
        phase=params.teacher,
        binarization=None,
        start=None,
        teacher=None,
        pretrained=params.pretrained.weights if pretrained and params.pretrained else None,
    )
    _train(params, places, plan)


def finetune_teacher(
    params: Params, places: Places, network: str, seed: int, teacher: Path
) -> None:
    """Train the row `kurtosis` (full precision + kurtosis loss), starting from `teacher`."""
    plan = Plan(
        row="kurtosis",
        seed=seed,
        network=network,
        losses=("cross_entropy", "kurtosis"),
        phase=params.finetune,
        binarization=None,
        start=teacher,
        teacher=None,
    )
    _train(params, places, plan)


def binarize_student(
    params: Params,
    places: Places,
    network: str,
    seed: int,
    row: str,
    losses: Sequence[str],
    teacher: Path,
    distiller: Path | None = None,
    step: Step = "single",
    start: Path | None = None,
) -> None:
    """Train a binary network with the losses of its row.

    Args:
        params: Section `student` has the schedule of a single step, `step_one` and `step_two`
            those of two.
        places: Where to read and write.
        network: What is trained.
        seed: Of first weights, order and augmentation of the images.
        row: Its name.
        losses: Which take part.
        teacher: Trained network whose weights are mimicked.
        distiller: Trained network whose logits are distilled, of any architecture for the same
            classes and images; the teacher if None.
        step: `one` has binary activations and real weights; `two` starts from its last weights,
            without its optimizer state.
        start: What step one wrote; for step two only.

    Raises:
        UserError: `step` and `start` or the sections of `params` do not fit together; or a network
            does not fit.
    """
    if (step == "two") != (start is not None):
        found = "without --step-one" if start is None else f"with --step-one {start}"
        raise UserError(f"--step is {step} {found}: two needs it, the others have no use for it")
    phase = {"single": params.student, "one": params.step_one, "two": params.step_two}[step]
    if phase is None:
        raise UserError(f"--step is {step}: the section step_{step} is missing from the params")
    binarization = params.binarization
    if step == "one":
        binarization = binarization.model_copy(update={"weights": False})
    if isinstance(phase, Student) and phase.initialize == "teacher":
        start = teacher
    plan = Plan(
        row=row,
        seed=seed,
        network=network,
        losses=tuple(losses),
        phase=phase,
        binarization=binarization,
        start=start,
        teacher=teacher,
        distiller=distiller if distiller != teacher else None,
        step=step,
    )
    _train(params, places, plan)


def _train(params: Params, places: Places, plan: Plan) -> None:
    check_replaceable(places.out, DESCRIPTION)
    cell = _cell(places.out)
    device = select_device()
    interruption = Interruption()
    with within_gpu_memory(
        f"{cell}: batch_size is {plan.phase.batch_size}",
        "lower batch_size, set compute.precision to bfloat16, or use more processes",
    ):
        execution = configure(params.compute, device, binary=plan.binarization is not None)
        with interruption.watch(), process_group(device) as world:
            images = open_prepared(places.data)
            task, description = _task(cell, params, places, plan, images, execution, world)
            key = _fingerprint(plan, description, images, execution)
            with Scratch(cell, key, world) as scratch:
                trainer = Trainer(task, execution, world)
                outcome = trainer.judge() if plan.pretrained else trainer.run(scratch, interruption)
                if world.is_main:
                    _write(places, description, outcome)
                    scratch.clear()


def _cell(out: Path) -> str:
    """Name of a training: the last two parts of the path of what it writes."""
    path = out.resolve()
    return f"{path.parent.name or 'root'}/{path.name}"


def _task(
    cell: str,
    params: Params,
    places: Places,
    plan: Plan,
    images: Images,
    execution: Execution,
    world: World,
) -> tuple[Task, Description]:
    if plan.network not in NETWORKS:
        raise UserError(f"--network is {plan.network!r}: allowed are {', '.join(NETWORKS)}")
    if plan.seed < 0:
        raise UserError(f"--seed is {plan.seed}: must be 0 or more")
    manifest = images.manifest
    architecture = Architecture(
        network=plan.network,  # type: ignore[arg-type]
        classes=len(manifest.classes),
        channels=manifest.channels,
        image_size=manifest.image_size,
        block=params.network.block,
        downsample=params.network.downsample,
        binarization=plan.binarization,
    )
    torch.manual_seed(plan.seed)
    model = build(architecture)
    made = provenance(execution)
    if plan.pretrained:
        imagenet = (
            isinstance(manifest, StreamedManifest) and manifest.streaming.statistics == "imagenet"
        )
        if plan.pretrained == "download" and not imagenet:
            raise UserError(
                "pretrained.weights is 'download': those weights expect images with "
                "streaming.statistics: imagenet, these have their own"
            )
        made |= load_pretrained(model, plan.network, plan.pretrained)
    if plan.start is not None:
        option, which = plan.first_weights
        twin = Architecture.model_fields.keys() - {"binarization"}
        _check_same(architecture, option, plan.start, twin)
        source, found = load_trained(plan.start, which)
        if plan.step == "two" and found.step != "one":
            raise UserError(
                f"{option} {plan.start}: its step is {found.step!r}, step two goes on from step one"
            )
        model.load_state_dict(source.state_dict())
    for option, folder in (("--teacher", plan.teacher), ("--distiller", plan.distiller)):
        if folder is not None:
            _check_same(architecture, option, folder, {"classes", "channels", "image_size"})
    model = execution.place(model)
    teacher = execution.place(load_trained(plan.teacher, "best")[0]) if plan.teacher else None
    distiller = teacher
    if plan.distiller is not None:
        distiller = execution.place(load_trained(plan.distiller, "best")[0])

    def batches(split: SplitName, augmentation: Augmentation | None) -> Batches:
        return images.batches(
            split,
            batch_size=plan.phase.batch_size,
            augmentation=augmentation,
            seed=plan.seed,
            execution=execution,
            world=world,
        )

    training = batches("train", params.augmentation)
    world.check_batch_size(plan.phase.batch_size, sum(manifest.counts["train"]) // len(training))
    task = Task(
        cell=cell,
        model=model,
        teacher=distiller,
        objective=Objective(plan.losses, params, model, teacher),
        phase=plan.phase,
        params=params,
        training=training,
        validation=batches("validation", None),
    )
    description = Description(
        architecture=architecture,
        row=plan.row,
        seed=plan.seed,
        losses=plan.losses,
        teacher=plan.teacher.name if plan.teacher else None,
        best_epoch=0,
        validation_top1=0.0,
        debug=bool(
            params.debug.batches
            or params.debug.overfit_one_batch
            or any(load_description(path.parent).debug for path in plan.weights)
        ),
        params=params.recorded(),
        provenance=made,
        step=plan.step,
        start=plan.start.name if plan.start and plan.step == "two" else None,
        distiller=plan.distiller.name if plan.distiller else None,
        pretrained=plan.pretrained is not None,
    )
    return task, description


def _check_same(architecture: Architecture, option: str, folder: Path, keys: Set[str]) -> None:
    """The network in `folder`, which `option` names, must agree with `architecture` in `keys`."""
    found = load_description(folder).architecture
    for key in sorted(keys):
        value, wanted = getattr(found, key), getattr(architecture, key)
        if value != wanted:
            raise UserError(
                f"{option} {folder}: its {key} is {value!r}, this network's is {wanted!r}"
            )


def _fingerprint(plan: Plan, description: Description, images: Images, execution: Execution) -> str:
    return fingerprint(
        description=description.model_dump(mode="json", exclude={"provenance"}),
        phase=plan.phase.model_dump(),
        data=images.manifest.model_dump(mode="json"),
        weights={str(path): sha256(path) for path in sorted(plan.weights)},
        execution=str(replace(execution, device=torch.device(execution.device.type))),
        threads=torch.get_num_threads() if execution.device.type == "cpu" else None,
    )


def _write(places: Places, description: Description, outcome: Outcome) -> None:
    finished = description.model_copy(
        update={"best_epoch": outcome.best_epoch, "validation_top1": outcome.validation_top1}
    )
    for table, rows in vars(outcome.history).items():
        if rows:
            content = pd.DataFrame(rows)
            if description.debug:
                content["debug"] = True
            write_csv(places.results / table / f"{places.out.name}.csv", content)
    save_trained(places.out, finished, outcome.best, outcome.last)
