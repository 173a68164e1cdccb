"""The recipes of the tables: what each stage reads, runs and depends on."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import grimp
import networkx
import pytest
from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo
from dvc.stage import Stage
from torch.distributed.run import parse_args

from pipeline.names import LOSSES
from pipeline.params import load_params
from pipeline.reporting.variants import QUESTIONS
from pipeline.variants import write_variant
from stages.programs import STAGES
from tests.conftest import ROOT, help_of, read_yaml
from tools.use import use

VARIANTS = Path("tables/study-variants/dvc.yaml")
FOUND = sorted(path.relative_to(ROOT) for path in ROOT.glob("tables/*/dvc.yaml"))
TABLES = [Path("dvc.yaml"), *(path for path in FOUND if path != VARIANTS)]
RECIPES = [*TABLES, VARIANTS]
TRAININGS = ("teacher", "finetune", "binarize")
every_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.parent.name)
every_recipe = pytest.mark.parametrize("table", RECIPES, ids=lambda table: table.parent.name)


USED = TemporaryDirectory()
ALL = Path(USED.name).resolve()
"""A copy of the recipes in which every table is in use."""


@cache
def all_stages() -> list[Stage]:
    for name in ("dvc.yaml", "cells.yaml", "params.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, ALL)
    for name in ("tables", "programs", "docs"):
        shutil.copytree(ROOT / name, ALL / name, symlinks=True)
    Repo.init(str(ALL), no_scm=True, force=True).close()
    for table in FOUND:
        use(table.parent.name, ALL)
    with Repo(str(ALL)) as repo:
        return list(repo.index.stages)


@cache
def graph() -> networkx.DiGraph:
    return all_stages()[0].repo.index.graph


def stages_of(table: Path) -> Iterator[tuple[str, str, Stage]]:
    """Name, module below `stages` and stage."""
    for stage in all_stages():
        if Path(stage.path) == ALL / table:
            yield stage.addressing, re.search(r"-m stages\.(\w+)", stage.cmd)[1], stage


def files(entries: list) -> set[str]:
    return {Path(each.fs_path).relative_to(ALL).as_posix() for each in entries}


def code_of(stage: Stage) -> set[str]:
    return {path for path in files(stage.deps) if path.startswith(("pipeline/", "stages/"))}


def params_of(stage: Stage) -> set[str]:
    params = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
    return {section for dep in params for section in dep.params}


@cache
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("pipeline", "stages", cache_dir=None)


@cache
def closure(module: str) -> set[str]:
    """Files of a module and of everything in this project that it imports, at any depth."""
    paths = (Path(*name.split(".")) for name in {module} | imports().find_upstream_modules(module))
    return {
        path.with_suffix(".py").as_posix()
        for path in paths
        if (ROOT / path.with_suffix(".py")).is_file()
    }


@pytest.mark.parametrize("table", [*RECIPES, Path("docs/dvc.yaml")], ids=lambda table: table.parent)
def test_each_stage_depends_on_its_program_or_on_every_module_that_it_imports(table):
    for name, module, stage in stages_of(table):
        if module in STAGES:
            assert f"programs/{module}.json" in files(stage.deps), name
        elif not stage.always_changed:
            deps = code_of(stage)
            missing = {
                file
                for file in closure(f"stages.{module}")
                if not any(file == dep or file.startswith(f"{dep}/") for dep in deps)
            }
            assert not missing, f"{name} imports {', '.join(sorted(missing))}"


def test_the_programs_follow_the_code_and_are_those_of_the_stages():
    ((_, _, stage),) = stages_of(Path("programs/dvc.yaml"))
    assert files(stage.deps) == {"pipeline", "stages"}
    assert files(stage.outs) == {f"programs/{name}.json" for name in STAGES}


@every_recipe
def test_every_stage_says_what_it_does(table):
    assert all(stage.desc for _, _, stage in stages_of(table))


@every_recipe
def test_every_command_uses_options_that_the_stage_has(table, monkeypatch, capsys):
    known: dict[str, set[str]] = {}
    for name, module, stage in stages_of(table):
        if module not in known:
            known[module] = set(re.findall(r"--[a-z-]+", help_of(module, monkeypatch, capsys)))
        assert set(re.findall(r" (--[a-z-]+)", stage.cmd)) <= known[module], name


@every_table
def test_every_training_depends_on_the_params_that_its_losses_read(table):
    """A section that is missing there would leave a stale result after a change."""
    phases = {"teacher": "teacher", "finetune": "finetune", "binarize": "student"}
    for name, module, stage in stages_of(table):
        if module not in phases or "--pretrained" in stage.cmd:
            continue
        step = re.search(r"--step (\w+)", stage.cmd)
        phase = f"step_{step[1]}" if step else phases[module]
        listed = re.search(r"--losses ([a-z_ ]+)", stage.cmd)
        losses = listed[1].split() if listed else ["cross_entropy"]
        assert set(losses) <= set(LOSSES), name
        read = {phase, "augmentation", "compute", "cross_entropy", "debug", "network", *losses}
        if module == "binarize":
            read.add("binarization")
        assert params_of(stage) == read, name


@every_recipe
def test_every_folder_that_a_command_names_is_an_input_or_an_output(table):
    for name, _, stage in stages_of(table):
        known = files(stage.deps) | files(stage.outs)
        assert set(re.findall(r"(?:data|models)/\S+", stage.cmd)) <= known, name


@every_recipe
def test_the_launcher_is_left_to_the_shell(table):
    """DVC hashes the command: what the variable holds must not be in it."""
    shell = shutil.which("sh")
    seen = set()
    for name, module, stage in stages_of(table):
        if module not in TRAININGS:
            command = stage.cmd.removeprefix(f"PYTHONPATH={os.path.relpath(ALL, stage.wdir)} ")
            assert command.startswith(f"python -m stages.{module} "), name
        if module in seen:
            continue
        seen.add(module)
        if module not in TRAININGS:
            continue

        def words(cmd=stage.cmd, **environment):
            command = [shell, "-c", f"echo {cmd}"]
            return subprocess.check_output(command, env=environment).decode().split()

        assert words() == ["python", *shlex.split(stage.cmd)[1:]], name
        launched = words(BDBNN_LAUNCH="torchrun --standalone --nproc-per-node=2")
        assert launched[:4] == ["torchrun", "--standalone", "--nproc-per-node=2", "-m"], name
        arguments = parse_args(launched[1:])  # torchrun takes what abbreviates its own options
        assert [arguments.training_script, *arguments.training_script_args] == launched[4:], name


@every_table
def test_a_table_reads_its_own_params_and_writes_its_own_folders(table):
    cells = read_yaml((ROOT / table).with_name("cells.yaml"))
    load_params(ROOT / cells["settings"])
    assert (ROOT / cells["settings"]).parent == (ROOT / table).parent
    for name, _, stage in stages_of(table):
        for path in files(stage.outs):
            assert path.split("/")[1].removesuffix(".valid") == cells["table"], name


@every_table
def test_images_outside_the_repository_are_listed_before_they_are_prepared(table):
    cells = read_yaml((ROOT / table).with_name("cells.yaml"))
    stages = {module: stage for _, module, stage in stages_of(table)}
    assert cells["images"] in files(stages["prepare"].deps)
    if load_params(ROOT / cells["settings"]).data.source == "digits":
        assert "inventory" not in stages
    else:
        assert files(stages["inventory"].outs) == {cells["images"]}


@every_recipe
def test_every_stage_waits_for_the_parameters_to_be_validated(table):
    for name, module, stage in stages_of(table):
        if module not in ("validate", "inventory", "cells"):  # they read none, or must not wait
            needs = networkx.descendants(graph(), stage)
            assert "validate" in {each.name for each in needs}, name


def test_no_two_tables_write_the_same_folder():
    names = [read_yaml((ROOT / table).with_name("cells.yaml"))["table"] for table in RECIPES]
    assert len(set(names)) == len(names)


def test_the_whole_tables_hold_every_row_for_three_seeds():
    found = {table.parent.name: len(list(stages_of(table))) for table in TABLES}
    seeds, rows, others = 3, 9, len(("validate", "inventory", "prepare", "cells", "report"))
    trained_evaluated_exported = 3
    of_a_network = trained_evaluated_exported * rows * seeds
    assert found["cifar10-full"] == 2 * of_a_network + others
    assert found["cifar10-vgg-full"] == of_a_network + others
    students = 2 * 6 * seeds * (1 + trained_evaluated_exported)  # one step more
    teachers = seeds * trained_evaluated_exported
    pretrained = seeds * 2  # read and evaluated
    tuned = 2 * 2 * seeds * 2  # with the kurtosis loss and without, trained and evaluated
    assert found["imagenet"] == students + teachers + pretrained + tuned + others


def test_the_artifact_of_each_table_is_the_export_of_its_complete_student():
    artifacts = all_stages()[0].repo.artifacts.read()
    assert set(artifacts) == {table.as_posix() for table in TABLES}
    for file, found in artifacts.items():
        (artifact,) = found.values()
        exported = {path for _, _, stage in stages_of(Path(file)) for path in files(stage.outs)}
        path = (ALL / file).parent / artifact.path
        assert path.resolve().relative_to(ALL).as_posix() in exported


def variants() -> dict:
    return read_yaml((ROOT / VARIANTS).with_name("cells.yaml"))


def test_a_variant_is_trained_with_its_own_params_and_the_data_of_the_table():
    cells = variants()
    base = read_yaml(ROOT / "tables" / cells["base"] / "cells.yaml")
    assert (cells["settings"], cells["base"]) == (base["settings"], base["table"])
    assert cells["network"] in base["networks"]
    assert set(cells["seeds"]) <= set(base["seeds"]) & set(base["ablation_seeds"])
    for name, module, stage in stages_of(VARIANTS):
        outs = files(stage.outs)
        assert {path.split("/")[1] for path in outs} == {cells["table"]}, name
        if module in TRAININGS:
            variant = name.partition("@")[2].rpartition("-")[0]
            own = f"data/{cells['table']}/{variant}.yaml"
            assert f"--params {own} " in stage.cmd
            assert {own, f"data/{cells['base']}"} <= files(stage.deps), name
            assert all(path.split("/")[2] == variant for path in outs), name


def test_every_variant_is_allowed_and_is_the_default_of_nothing(tmp_path):
    cells = variants()
    listed = [*cells["retaught"], *cells["rebuilt"], *cells["taught"]]
    assert set(cells["binary"]) <= set(cells["taught"])
    assert len(set(listed)) == len(listed)
    for variant in listed:
        write_variant(ROOT / cells["settings"], variant, tmp_path / "params.yaml")


def test_the_teacher_is_trained_anew_for_what_takes_part_in_its_training():
    for name, module, stage in stages_of(VARIANTS):
        variant = name.partition("@")[2].rpartition("-")[0]
        own = f"study-variants/{variant}"
        rebuilt = variant.startswith("network.")
        retaught = variant.startswith("kurtosis.")
        if module == "teacher":
            assert rebuilt, name
        if module == "finetune":
            assert rebuilt or retaught, name
            start = re.search(r"--teacher models/(\S+)/resnet20-full-precision-", stage.cmd)[1]
            assert start == (own if rebuilt else "study"), name
        if module == "binarize":
            teacher = re.search(r"--teacher models/(\S+)/", stage.cmd)[1]
            assert teacher == (own if rebuilt or retaught else "study"), name
        if module == "evaluate" and rebuilt:
            assert set(re.findall(r"models/(\S+)/", stage.cmd)) == {own}, name


def test_every_question_of_the_study_has_variants_and_the_rows_it_compares():
    trained: dict[str, set[str]] = {}
    for name, module, stage in stages_of(VARIANTS):
        if module == "evaluate":
            key = name.partition("@")[2].partition("=")[0]
            trained.setdefault(key, set()).add(
                re.search(r"--model \S+/resnet20-([a-z-]+)-\d+ ", stage.cmd)[1]
            )
    assert trained == {question.key: set(question.rows) for question in QUESTIONS}
