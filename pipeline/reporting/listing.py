"""The list of the cells that belong to a table, so that a report shows no others.

A seed or row that is taken out of a table leaves its results on disk.
"""

from pathlib import Path

from pipeline.artifacts import read_text
from pipeline.errors import UserError

LISTING = "cells.txt"
"""File in the results of a table. Each line names a cell, or `<variant>/<cell>`."""


def cells_of(recipe: Path, results: Path) -> list[str]:
    """Names of the cells that the stages of a dvc.yaml evaluate, sorted.

    Args:
        recipe: the dvc.yaml, of which the stages are as DVC resolves them.
        results: folder of the table's results.

    Raises:
        UserError: DVC cannot read `recipe`.
    """
    # they take a second, which a report need not wait for
    from dvc.dvcfile import load_file  # noqa: PLC0415
    from dvc.exceptions import DvcException  # noqa: PLC0415
    from dvc.repo import Repo  # noqa: PLC0415

    try:
        with Repo() as repo:
            stages = load_file(repo, str(recipe)).stages.values()
            outputs = [Path(out.fspath) for stage in stages for out in stage.outs]
    except DvcException as error:
        raise UserError(f"{recipe}: {' '.join(str(error).split())}") from error
    results = results.resolve()
    metrics = (
        path.relative_to(results)
        for path in outputs
        if path.is_relative_to(results) and path.suffix == ".json" and path.parent.name != "details"
    )
    return sorted(path.with_suffix("").as_posix() for path in metrics)


def evaluated(folder: Path) -> list[Path]:
    """Metrics files of the evaluated cells in `folder`, without those that its table has no more.

    Args:
        folder: results of a table, or of one of its variants. Without a list, all cells count.

    Raises:
        UserError: the list cannot be read.
    """
    found = sorted(folder.glob("*.json"))
    for top in (folder, folder.parent):
        if (top / LISTING).exists():
            names = set(read_text(top / LISTING).splitlines())
            return [
                path for path in found if path.relative_to(top).with_suffix("").as_posix() in names
            ]
    return found
