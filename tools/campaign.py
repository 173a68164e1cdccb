"""Bring a table up to date, running several `dvc repro` at a time.

The stages that it needs of another table are brought up to date too. A stage starts as soon as
those that it depends on are done. Ctrl-C and SIGTERM end the trainings after they have saved their
last epoch. The same command continues from there, and from what `make carry` brought from another
machine.

reads   the dvc.yaml of the table, checkpoints/, networks/
writes  what its stages write, and its dvc.lock
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Set
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from pipeline.errors import UserError, run
from pipeline.recipes import opened, own_stages, recipe_of
from stages.arguments import whole_number
from tools.carry import finished_elsewhere, pull, restore
from tools.use import use


def main() -> None:
    """Entry point of `make run`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", help="digits, or the name of a folder in tables/")
    parser.add_argument(
        "--jobs", type=whole_number(1, 999), default=2, help="stages at a time (default: 2)"
    )
    parser.add_argument(
        "--from-scratch", action="store_true", help="leave what other machines trained where it is"
    )
    parser.add_argument("--only", nargs="*", default=[], help="these stages and what they need")
    arguments = parser.parse_args()
    use(arguments.table)
    needs = dependencies(recipe_of(arguments.table), arguments.only)
    elsewhere: Set[str] = set()
    if not arguments.from_scratch:
        restore(arguments.table)
        pull(arguments.table)
        elsewhere = finished_elsewhere(arguments.table)
    failed = Campaign(needs, arguments.jobs, elsewhere).run()
    if failed:
        raise UserError(f"{len(failed)} of {len(needs)} stages failed: {', '.join(failed)}")


def dependencies(recipe: Path, only: list[str]) -> dict[str, set[str]]:
    """Each stage of a recipe, and the stages, of any recipe, that must be done before it.

    Args:
        recipe: dvc.yaml of the table.
        only: names of stages, without the recipe. If there are any, only they and what they need
            are returned.

    Raises:
        UserError: the recipe has no stage of such a name, or DVC cannot read it.
    """
    with opened(recipe) as repo:
        own = [stage.addressing for stage in own_stages(repo, recipe)]
        graph = repo.index.graph
        stages = repo.index.stages
    needs = {each.addressing: {other.addressing for other in graph[each]} for each in stages}
    prefix = "" if recipe == Path("dvc.yaml") else f"{recipe}:"
    wanted: list[str] = [f"{prefix}{name}" for name in only] or own
    chosen: dict[str, set[str]] = {}
    while wanted:
        name = wanted.pop()
        if name not in needs:
            raise UserError(f"{name}: no such stage; dvc stage list {recipe} names them")
        if name not in chosen:
            chosen[name] = needs[name]
            wanted += needs[name]
    return {name: chosen[name] for name in needs if name in chosen}


class Campaign:
    """A run of stages, several at a time.

    Args:
        needs: each stage and those that must be done before it.
        jobs: how many run at a time.
        elsewhere: stages that do not run merely because a network is missing here.
    """

    def __init__(self, needs: dict[str, set[str]], jobs: int, elsewhere: Set[str]) -> None:
        self._needs = needs
        self._jobs = jobs
        self._elsewhere = elsewhere
        self._stopped = threading.Event()
        self._running: set[subprocess.Popen[bytes]] = set()

    def run(self) -> list[str]:
        """Run every stage whose needs are met.

        Returns:
            The stages that failed or that need one that did.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        done: set[str] = set()
        waiting = dict(self._needs)
        ready: list[str] = []
        again: list[str] = []
        futures: dict[Future[int], list[str]] = {}
        with ThreadPoolExecutor(self._jobs) as pool:
            while True:
                for name in [each for each, needs in waiting.items() if needs <= done]:
                    del waiting[name]
                    ready.append(name)
                while (again or ready) and len(futures) < self._jobs:
                    batch = [again.pop()] if again else _take_batch(ready, self._jobs)
                    futures[pool.submit(self._repro, batch)] = batch
                if not futures:
                    return [name for name in self._needs if name not in done]
                for future in wait(futures, timeout=1, return_when=FIRST_COMPLETED).done:
                    batch = futures.pop(future)
                    if future.result() == 0:
                        done.update(batch)
                        print(f"[{len(done)} of {len(self._needs)}] {', '.join(batch)}", flush=True)
                    elif len(batch) > 1:
                        again += batch  # one by one: DVC stopped at the first that failed

    def _repro(self, stages: list[str]) -> int:
        elsewhere = [stage for stage in stages if stage in self._elsewhere]
        here = [stage for stage in stages if stage not in self._elsewhere]
        return self._dvc(here) or self._dvc(elsewhere, "--allow-missing")

    def _dvc(self, stages: list[str], *options: str) -> int:
        if not stages:
            return 0
        if self._stopped.is_set():
            return 1
        command = ["dvc", "--wait-for-lock", "repro", "--quiet", "--single-item", *options, *stages]
        process = subprocess.Popen(command, start_new_session=True, stderr=sys.stderr)
        self._running.add(process)
        try:
            return process.wait()
        finally:
            self._running.discard(process)

    def _stop(self, number: int, _: object) -> None:
        """Signal the trainings as well as DVC, which by itself would leave them running."""
        self._stopped.set()
        for process in list(self._running):
            os.killpg(process.pid, number)


def _take_batch(ready: list[str], jobs: int) -> list[str]:
    """Take the stages for one `dvc repro` out of `ready`: several if many are ready.

    A `dvc repro` reads every recipe before it runs anything, which takes seconds.
    """
    size = max(1, len(ready) // (2 * jobs))
    batch, ready[:] = ready[:size], ready[size:]
    return batch


if __name__ == "__main__":
    run(main)
