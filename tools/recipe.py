"""The recipe of a table, as DVC reads it."""

import contextlib
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
    # they take a second, which --help need not wait for
    from dvc.exceptions import DvcException  # noqa: PLC0415
    from dvc.repo import Repo  # noqa: PLC0415

    try:
        with Repo() as repo:
            yield repo
    except DvcException as error:
        raise UserError(f"{recipe}: {' '.join(str(error).split())}") from error


def own_stages(repo: "Repo", recipe: Path) -> list["PipelineStage"]:
    """The stages of one recipe, of all that DVC sees."""
    return [each for each in repo.index.stages if Path(each.path).parent.samefile(recipe.parent)]
