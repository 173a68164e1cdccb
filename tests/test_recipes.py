"""The recipes name everything that decides a stage's bytes."""

from functools import cache
from pathlib import Path

import grimp
import pytest
from dvc.repo import Repo

from pipeline.provenance import TRAINING_CODE
from tests.conftest import ROOT

TABLES = sorted(path.parent for path in ROOT.glob("tables/*/dvc.yaml"))
TRAININGS = ("teacher", "finetune", "binarize")


@cache
def _imports() -> grimp.ImportGraph:
    return grimp.build_graph("pipeline", "stages", cache_dir=None)


def _closure(module: str) -> set[str]:
    """Files of a stage and of every module of this project that it imports, at any depth."""
    files = set()
    for name in {module} | _imports().find_upstream_modules(module):
        path = Path(*name.split("."))
        if (ROOT / path.with_suffix(".py")).is_file():
            files.add(path.with_suffix(".py").as_posix())
    return files


@cache
def _stages(folder: Path) -> list[tuple[str, str, set[str]]]:
    """Name, module and code deps of each stage of a table."""
    with Repo(str(ROOT)) as repo:
        stages = [stage for stage in repo.index.stages if Path(stage.path).parent == folder]
        return [
            (
                stage.addressing,
                stage.cmd.split(" -m ")[1].split()[0],
                {
                    Path(dep.fs_path).relative_to(ROOT).as_posix()
                    for dep in stage.deps
                    if Path(dep.fs_path).relative_to(ROOT).parts[0] in ("pipeline", "stages")
                },
            )
            for stage in stages
        ]


@pytest.mark.parametrize("folder", [ROOT, *TABLES], ids=lambda folder: folder.name)
def test_each_stage_depends_on_every_module_that_it_imports(folder: Path) -> None:
    for name, module, deps in _stages(folder):
        missing = {
            file
            for file in _closure(module)
            if not any(file == dep or file.startswith(f"{dep}/") for dep in deps)
        }
        assert not missing, f"{name} imports {', '.join(sorted(missing))}"


@pytest.mark.parametrize("folder", [ROOT, *TABLES], ids=lambda folder: folder.name)
def test_a_training_depends_on_the_code_that_its_checkpoints_do(folder: Path) -> None:
    other = {f"stages/{name}.py" for name in TRAININGS}
    for name, module, deps in _stages(folder):
        stage = module.removeprefix("stages.")
        if stage in TRAININGS:
            assert deps == set(TRAINING_CODE) - other | {f"stages/{stage}.py"}, name


def test_every_dep_of_the_code_exists() -> None:
    for _, _, deps in _stages(ROOT):
        for dep in deps:
            assert (ROOT / dep).exists(), dep
