"""Run every stage of a table in one process, in the order that DVC would take.

Those that make the report are left out. One process imports torch once, and coverage can watch it.
The stages of a short chain take only a second each, and `dvc repro` would start a new interpreter
for each of them.

reads   the dvc.yaml of the table and what its stages read
writes  what its stages write, and nothing of DVC's
"""

import argparse
import os
import runpy
import shlex
import sys
from pathlib import Path

import networkx
from dvc.repo import Repo

REPORTING = ("stages.cells", "stages.report", "stages.study")
"""Modules of the stages that make the report."""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path, help="dvc.yaml of the table")
    for module, arguments in stage_commands(parser.parse_args().recipe):
        sys.argv = [module, *arguments]
        # Without workers a training decodes here, where coverage sees it; the evaluation keeps its
        # workers, so that coverage sees how they are started.
        os.environ["BDBNN_WORKERS"] = "" if module == "stages.evaluate" else "0"
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            if end.code:
                raise


def stage_commands(recipe: Path) -> list[tuple[str, list[str]]]:
    """Module and arguments of each stage of a dvc.yaml but REPORTING, dependencies first."""
    with Repo() as repo:
        graph = repo.index.graph.reverse()
        # Stages that do not depend on each other keep the order of the file.
        place = {stage: number for number, stage in enumerate(repo.index.stages)}
        stages = [
            stage
            for stage in networkx.lexicographical_topological_sort(graph, key=place.get)
            if Path(stage.path).parent.samefile(recipe.parent)
        ]
    commands = []
    for stage in stages:
        words = shlex.split(stage.cmd)
        module, *arguments = words[words.index("-m") + 1 :]
        if module not in REPORTING:
            commands.append((module, arguments))
    return commands


if __name__ == "__main__":
    main()
