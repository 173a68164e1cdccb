"""The three trainings of the method: what starts from what, with which losses.

teacher: a full-precision network from random weights, cross-entropy.
finetune: the teacher goes on with the kurtosis loss, which makes its weights bimodal.
binarize: a binary network, with the losses of its row of the table.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from pipeline.artifacts import sha256, write_csv
from pipeline.data.batches import ResidentBatches
from pipeline.data.prepared import Prepared, Split, load_prepared
from pipeline.device import Arithmetic, configure, select_device
from pipeline.errors import UserError
from pipeline.models.architecture import NETWORKS, Architecture, build
from pipeline.models.saved import Description, load_description, load_trained, save_trained
from pipeline.params import Augmentation, Binarization, Params, Phase
from pipeline.provenance import provenance
from pipeline.training.checkpoint import Scratch, fingerprint
from pipeline.training.distributed import World, process_group
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
    """Trained network whose best weights are the first ones; None: random."""
    teacher: Path | None
    """Trained network whose best weights and logits are mimicked."""


def train_teacher(params: Params, places: Places, network: str, seed: int) -> None:
    """Train the row `full-precision`."""
    plan = Plan(
        row="full-precision",
        seed=seed,
        network=network,
        losses=("cross_entropy",),
        phase=params.teacher,
        binarization=None,
        start=None,
        teacher=None,
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
) -> None:
    """Train a binary network with the losses of its row."""
    plan = Plan(
        row=row,
        seed=seed,
        network=network,
        losses=tuple(losses),
        phase=params.student,
        binarization=params.binarization,
        start=teacher if params.student.initialize == "teacher" else None,
        teacher=teacher,
    )
    _train(params, places, plan)


def _train(params: Params, places: Places, plan: Plan) -> None:
    device = select_device()
    arithmetic = configure(params.compute, device)
    interruption = Interruption()
    with interruption.watch(), process_group(device) as world:
        cell = f"{places.out.parent.name}/{places.out.name}"
        prepared = load_prepared(places.data)
        try:
            task, description = _task(cell, params, places, plan, prepared, arithmetic, world)
            key = _fingerprint(plan, description, prepared, arithmetic)
            with Scratch(cell, key, world) as scratch:
                outcome = Trainer(task, arithmetic, world).run(scratch, interruption)
                if world.is_main:
                    _write(places, description, outcome)
                    scratch.clear()
        except torch.cuda.OutOfMemoryError:
            raise UserError(
                f"{cell}: out of GPU memory at batch_size {plan.phase.batch_size}; lower "
                "batch_size, set compute.precision to bfloat16, or use more processes"
            ) from None


def _task(
    cell: str,
    params: Params,
    places: Places,
    plan: Plan,
    prepared: Prepared,
    arithmetic: Arithmetic,
    world: World,
) -> tuple[Task, Description]:
    if plan.network not in NETWORKS:
        raise UserError(f"--network is {plan.network!r}: allowed are {', '.join(NETWORKS)}")
    if plan.seed < 0:
        raise UserError(f"--seed is {plan.seed}: must be 0 or more")
    manifest = prepared.manifest
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
    if plan.start is not None:
        _check_same(architecture, plan.start, Architecture.model_fields.keys() - {"binarization"})
        source, _ = load_trained(plan.start, "best")
        model.load_state_dict(source.state_dict())
    if plan.teacher is not None:
        _check_same(architecture, plan.teacher, {"classes", "channels", "image_size"})
    model = arithmetic.place(model)
    teacher = arithmetic.place(load_trained(plan.teacher, "best")[0]) if plan.teacher else None

    def batches(split: Split, augmentation: Augmentation | None) -> ResidentBatches:
        return ResidentBatches(
            split,
            manifest.mean,
            manifest.std,
            batch_size=plan.phase.batch_size,
            augmentation=augmentation,
            shuffle=augmentation is not None,
            seed=plan.seed,
            device=arithmetic.device,
            channels_last=arithmetic.channels_last,
            rank=world.rank,
            world_size=world.size,
        )

    world.check_batch_size(plan.phase.batch_size)
    task = Task(
        cell=cell,
        model=model,
        teacher=teacher,
        objective=Objective(plan.losses, params, model, teacher),
        phase=plan.phase,
        params=params,
        training=batches(prepared.train, params.augmentation),
        validation=batches(prepared.validation, None),
    )
    description = Description(
        architecture=architecture,
        row=plan.row,
        seed=plan.seed,
        losses=plan.losses,
        teacher=plan.teacher.name if plan.teacher else None,
        best_epoch=0,
        validation_top1=0.0,
        debug=bool(params.debug.batches or params.debug.overfit_one_batch),
        params=params.model_dump(mode="json"),
        provenance=provenance(arithmetic),
    )
    return task, description


def _check_same(architecture: Architecture, folder: Path, keys: Set[str]) -> None:
    """The network in `folder` must agree with `architecture` in `keys`."""
    found = load_description(folder).architecture
    for key in sorted(keys):
        value, wanted = getattr(found, key), getattr(architecture, key)
        if value != wanted:
            raise UserError(
                f"--teacher {folder}: its {key} is {value!r}, this network's is {wanted!r}"
            )


def _fingerprint(
    plan: Plan, description: Description, prepared: Prepared, arithmetic: Arithmetic
) -> str:
    sources = {path for path in (plan.start, plan.teacher) if path is not None}
    return fingerprint(
        description=description.model_dump(mode="json", exclude={"provenance"}),
        phase=plan.phase.model_dump(),
        data=prepared.manifest.checksums,
        weights={str(path): sha256(path / "best.safetensors") for path in sorted(sources)},
        arithmetic=str(arithmetic),
    )


def _write(places: Places, description: Description, outcome: Outcome) -> None:
    finished = description.model_copy(
        update={"best_epoch": outcome.best_epoch, "validation_top1": outcome.validation_top1}
    )
    for table in vars(outcome.history):
        rows = pd.DataFrame(getattr(outcome.history, table))
        write_csv(places.results / table / f"{places.out.name}.csv", rows)
    save_trained(places.out, finished, outcome.best, outcome.last)
