"""Recipes, the dvc.yaml files, as DVC reads them."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UserError

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import PipelineStage


def recipe_of(table: str) -> Path:
    """The dvc.yaml of a table, which is digits or the name of a folder in tables/."""
    return Path("dvc.yaml") if table == "digits" else Path("tables", table, "dvc.yaml")


@contextlib.contextmanager
def opened(recipe: Path) -> Iterator["Repo"]:
    """Open the repository of this folder, to work on a recipe.

    Raises:
        UserError: DVC cannot read it, or cannot do what the block asks of it.
    """
    # they take a second, which a report and --help need not wait for
    from dvc.exceptions import DvcException  # noqa: PLC0415
    from dvc.repo import Repo  # noqa: PLC0415

    try:
        with Repo() as repo:
            yield repo
    except DvcException as error:
        raise UserError(f"{recipe}: {' '.join(str(error).split())}") from error


def own_stages(repo: "Repo", recipe: Path) -> list["PipelineStage"]:
    """The stages of one recipe, of all that DVC sees.

    Raises:
        UserError: DVC cannot read a recipe.
    """
    with _parsing(recipe):
        stages = repo.index.stages
    return [each for each in stages if Path(each.path).parent.samefile(recipe.parent)]


@contextlib.contextmanager
def _parsing(recipe: Path) -> Iterator[None]:
    """Turn what DVC does not expect in a file, such as a date that is none, into one line.

    Raises:
        UserError: the block raised what such values cause.
    """
    try:
        yield
    except (RecursionError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{recipe} or a file that it names: cannot be read ({reason})") from error


def cells_of(recipe: Path, results: Path) -> list[str]:
    """Names of the cells that the stages of a dvc.yaml evaluate, sorted.

    Args:
        recipe: the dvc.yaml, of which the stages are as DVC resolves them.
        results: folder of the table's results.

    Raises:
        UserError: DVC cannot read `recipe`, or a cell is not named as one.
    """
    from dvc.dvcfile import load_file  # noqa: PLC0415 it takes a second, see opened

    with opened(recipe) as repo, _parsing(recipe):
        stages = load_file(repo, str(recipe)).stages.values()
        outputs = [Path(out.fspath) for stage in stages for out in stage.outs]
    results = results.resolve()
    metrics = (
        path.relative_to(results)
        for path in outputs
        if path.is_relative_to(results) and path.suffix == ".json" and path.parent.name != "details"
    )
    cells = sorted(path.with_suffix("").as_posix() for path in metrics)
    for cell in cells:
        if not re.fullmatch(r"\w+-[\w-]+-\d+", cell.rpartition("/")[2]):
            raise UserError(f"{recipe}: evaluates {cell!r}, which is no <network>-<row>-<seed>")
    if not cells:
        raise UserError(f"{recipe}: evaluates nothing into {results}; see networks in cells.yaml")
    return cells
