"""One training, from its plan to its files."""

import re
from collections.abc import Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from pipeline.artifacts import check_replaceable, check_writable, sha256, write_csv
from pipeline.data.loading.batches import Batches
from pipeline.data.loading.dataset import Images, open_prepared
from pipeline.data.prepared import Manifest, SplitName, StreamedManifest
from pipeline.device import Execution, compiling, configure, select_device, within_memory
from pipeline.distributed import World, process_group
from pipeline.errors import UserError
from pipeline.models.architecture import Architecture, check_same, design
from pipeline.models.pretrained import load_pretrained
from pipeline.models.registry import build
from pipeline.models.saved import (
    DESCRIPTION,
    Description,
    load_description,
    load_state,
    load_trained,
    save_trained,
)
from pipeline.names import FILE_NAME
from pipeline.params import Augmentation, Params
from pipeline.provenance import record
from pipeline.training.checkpoint import Scratch, fingerprint
from pipeline.training.interruption import Interruption
from pipeline.training.objective import Objective
from pipeline.training.plan import Plan
from pipeline.training.state import History, Outcome
from pipeline.training.trainer import Task, Trainer

TABLES = ("curves", "kurtosis")
"""Folders of the results that hold one CSV file for each training."""
OF_RESULTS = dict.fromkeys(TABLES, ".csv") | {"provenance": ".json"}
"""Folders of the results that a training writes to, and the suffix of its file there."""


@dataclass(frozen=True)
class TrainingPlaces:
    """Where a training reads and writes."""

    data: Path
    """Prepared data."""
    out: Path
    """Folder of the trained network; the tables of the training are named after it."""
    results: Path
    """Folder that holds those in OF_RESULTS."""

    def table(self, name: str) -> Path:
        """File of the training in the folder `name` of TABLES."""
        return self.results / name / f"{self.out.name}.csv"


def train(params: Params, places: TrainingPlaces, plan: Plan) -> None:
    """Carry out `plan`, from its newest checkpoint if it has one, and write the results.

    Raises:
        UserError: an input is missing, damaged or does not fit, a loss is not finite, a device is
            out of memory, or something cannot be written.
        SystemExit: a signal asked to stop; finished epochs are saved.
    """
    _check_places(places, plan)
    run = _run_name(places.out)
    device = select_device()
    interruption = Interruption()
    memory = within_memory(
        f"{run}: batch_size is {plan.phase.batch_size}",
        "lower batch_size, set compute.precision to bfloat16, or use more processes",
    )
    with memory, compiling():
        execution = configure(params.compute, device, binary=plan.binarization is not None)
        with interruption.watch(), process_group(device) as world:
            images = open_prepared(places.data)
            architecture = _architecture(params, plan, images.manifest)
            model, origin = _network(plan, architecture, images.manifest)
            task = _task(run, params, plan, model, architecture, images, execution, world)
            debug = _is_debugged(params, plan)
            key = _fingerprint(params, plan, architecture, images, execution)
            publish = partial(_write_tables, places, debug)
            with Scratch(run, key, world) as scratch:
                trainer = Trainer(task, execution, world)
                if plan.pretrained:
                    outcome = trainer.validate_only()
                    if world.is_main:
                        publish(outcome.history)
                else:
                    outcome = trainer.run(scratch, interruption, publish)
                if world.is_main:
                    description = _describe(params, plan, architecture, debug, outcome)
                    _write(places, description, outcome, execution, origin)
                    if not interruption.orphaned:
                        scratch.clear()


def _check_places(places: TrainingPlaces, plan: Plan) -> None:
    """Refuse, before anything is trained, what could not be written or would replace an input."""
    out = places.out.resolve()
    if not re.fullmatch(FILE_NAME, out.name):
        raise UserError(f"{places.out}: its name, that of its curves, must be {FILE_NAME}")
    for folder in (plan.start_folder, plan.teacher_folder, plan.distiller_folder):
        if folder and out.is_relative_to(folder.resolve()):
            raise UserError(f"{places.out}: would replace {folder}, which this training reads")
    check_replaceable(places.out, DESCRIPTION)
    check_writable(places.out.parent)
    for each, suffix in OF_RESULTS.items():
        folder = places.results / each
        if folder.resolve().is_relative_to(out):
            raise UserError(f"{folder}: lies in {places.out}, which is replaced whole")
        check_writable(folder, f"{out.name}{suffix}")


def _run_name(out: Path) -> str:
    """Name of a training: its output path below models/, or the last two parts of another one."""
    path, models = out.resolve(), Path("models").resolve()
    if path.is_relative_to(models) and path.parent != models:
        return path.relative_to(models).as_posix()
    return f"{path.parent.name or 'root'}/{path.name}"


def _architecture(params: Params, plan: Plan, manifest: Manifest) -> Architecture:
    return design(
        plan.network,
        params.network,
        plan.binarization,
        classes=len(manifest.classes),
        channels=manifest.channels,
        image_size=manifest.image_size,
    )


def _network(
    plan: Plan, architecture: Architecture, manifest: Manifest
) -> tuple[nn.Module, dict[str, str]]:
    """The network with its first weights, on the CPU, and where they come from if pretrained."""
    torch.manual_seed(plan.seed)
    model = build(architecture)
    if plan.pretrained:
        streaming = manifest.streaming if isinstance(manifest, StreamedManifest) else None
        if plan.pretrained == "download" and (
            streaming is None or streaming.statistics != "imagenet"
        ):
            raise UserError(
                "pretrained.weights is 'download': those weights expect images with "
                "streaming.statistics: imagenet, these have their own"
            )
        return model, load_pretrained(model, plan.network, plan.pretrained)
    if plan.start_folder is not None:
        role = "step one" if plan.step == "two" else "teacher"
        shared = {"network", "classes", "channels", "image_size"}
        _check_fits(architecture, role, plan.start_folder, shared)
        if role == "teacher":
            _check_full_precision(role, plan.start_folder)
        source, found = load_trained(plan.start_folder, plan.start_weights)
        if plan.step == "two" and found.step != "one":
            raise UserError(
                f"step one {plan.start_folder}: its step is {found.step!r}, must be 'one'"
            )
        load_state(model, source.state_dict(), f"{role} {plan.start_folder}")
    return model, {}


def _teachers(
    plan: Plan, architecture: Architecture, execution: Execution
) -> tuple[nn.Module | None, nn.Module | None]:
    """Teacher and distiller, where the losses need them."""
    shared = {"classes", "channels", "image_size"}
    for role, folder in (("teacher", plan.teacher_folder), ("distiller", plan.distiller_folder)):
        if folder is not None:
            _check_fits(architecture, role, folder, shared)
            _check_full_precision(role, folder)
    teacher = distiller = None
    if plan.teacher_folder is not None and "mimicking" in plan.losses:
        teacher = execution.place(load_trained(plan.teacher_folder, "best")[0])
    if plan.distiller_folder is not None and "distillation" in plan.losses:
        if plan.distiller_folder == plan.teacher_folder and teacher is not None:
            distiller = teacher
        else:
            distiller = execution.place(load_trained(plan.distiller_folder, "best")[0])
    return teacher, distiller


def _check_fits(architecture: Architecture, role: str, folder: Path, keys: Set[str]) -> None:
    """Refuse the network in `folder`, in this `role`, if `architecture` differs in `keys`."""
    found = load_description(folder).architecture
    wanted = {key: getattr(architecture, key) for key in sorted(keys)}
    check_same(f"{role} {folder}", found, "this network", wanted)


def _check_full_precision(role: str, folder: Path) -> None:
    if load_description(folder).architecture.binarization is not None:
        raise UserError(f"{role} {folder}: is a binary network; name one of full precision")


def _task(
    run: str,
    params: Params,
    plan: Plan,
    model: nn.Module,
    architecture: Architecture,
    images: Images,
    execution: Execution,
    world: World,
) -> Task:
    model = execution.place(model)
    teacher, distiller = _teachers(plan, architecture, execution)

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
    smallest = sum(images.manifest.counts["train"]) // len(training)
    _check_batch_size(plan.phase.batch_size, smallest, world)
    return Task(
        run=run,
        model=model,
        distiller=distiller,
        objective=Objective(plan.losses, params, model, mimicked=teacher),
        phase=plan.phase,
        params=params,
        training=training,
        validation=batches("validation", None),
    )


def _check_batch_size(batch_size: int, smallest: int, world: World) -> None:
    """Refuse global batches of which a process would get fewer than two images.

    Args:
        batch_size: the parameter, an upper bound on the images of a batch.
        smallest: images in the smallest global batch.
        world: the processes that share the batches.
    """
    if smallest < 2 * world.size:
        raise UserError(
            f"batch_size is {batch_size}, the smallest batch has {smallest}: batch normalization "
            f"needs at least 2 images in each process, of which there are {world.size}"
        )


def _is_debugged(params: Params, plan: Plan) -> bool:
    """Whether a debug switch was on in this training or in one that it builds on."""
    switched = bool(params.debug.batches or params.debug.overfit_one_batch)
    return switched or any(load_description(path.parent).debug for path in plan.weights)


def _fingerprint(
    params: Params, plan: Plan, architecture: Architecture, images: Images, execution: Execution
) -> str:
    return fingerprint(
        plan=repr(plan),
        architecture=architecture.model_dump(mode="json"),
        params=params.recorded(),
        data=images.manifest.model_dump(mode="json"),
        weights={str(path): sha256(path) for path in sorted(plan.weights)},
        execution=str(replace(execution, device=torch.device(execution.device.type))),
        threads=torch.get_num_threads() if execution.device.type == "cpu" else None,
    )


def _describe(
    params: Params,
    plan: Plan,
    architecture: Architecture,
    debug: bool,
    outcome: Outcome,
) -> Description:
    start = plan.start_folder if plan.step == "two" else None
    distiller = plan.distiller_folder if plan.distiller_folder != plan.teacher_folder else None
    return Description(
        architecture=architecture,
        row=plan.row,
        seed=plan.seed,
        losses=plan.losses,
        teacher=plan.teacher_folder.name if plan.teacher_folder else None,
        best_epoch=outcome.best_epoch,
        validation_top1=outcome.validation_top1,
        debug=debug,
        params=params.recorded(),
        step=plan.step,
        start=start.name if start else None,
        distiller=distiller.name if distiller else None,
        pretrained=plan.pretrained is not None,
    )


def _write_tables(places: TrainingPlaces, debug: bool, history: History) -> None:
    for table in TABLES:
        content = pd.DataFrame(getattr(history, table))
        if debug:
            content["debug"] = True
        write_csv(places.table(table), content)


def _write(
    places: TrainingPlaces,
    description: Description,
    outcome: Outcome,
    execution: Execution,
    origin: dict[str, str],
) -> None:
    save_trained(places.out, description, outcome.best, outcome.last)
    outputs = {table: places.table(table) for table in TABLES}
    outputs |= {which: places.out / f"{which}.safetensors" for which in ("best", "last")}
    timing = _timing(pd.DataFrame(outcome.history.timing))
    record(places.results, places.out.name, "training", execution, outputs, **origin, **timing)


def _timing(epochs: pd.DataFrame) -> dict[str, Any]:
    """Seconds of all epochs, their median throughput, the peak memory and the hardware.

    The hardware is counted by epoch, because a stopped training may have gone on elsewhere. Empty
    if there was no epoch.
    """
    if epochs.empty:
        return {}
    return {
        "seconds": round(epochs["seconds"].sum(), 1),
        "images_per_second": round(epochs["images_per_second"].median(), 1),
        "peak_memory_mib": round(epochs["peak_memory_mib"].max(), 1),
        "epochs_on": epochs["hardware"].value_counts(sort=False).to_dict(),
    }
