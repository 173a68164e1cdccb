"""Accept a refactoring: show that the code computes what it computed at BASE, then tell DVC so.

If nothing but comments, docstrings and layout changed, the programs are the same, and there is
nothing to run. Otherwise short chains run with the code of BASE and with that of the working tree:
all rows of the digits at their smallest, the variants of the study, both steps on a few images in
folders, and CIFAR-10 if its shards are there. If every output has the same hash, and if every
changed line of the code of trainings and evaluations ran, the hashes of the code in each dvc.lock
are brought up to date, as `dvc commit` would do, and results/accepted.csv gets a line. Otherwise
nothing changes, and the exit code is 1.

Chains succeed, so the lines that refuse bad input do not run in them. With --tests, the named tests
must pass as well, and the lines that they run count as run. The chains include a table of each
recipe, so they run every line that made a committed result from sound data.

reads   the commit BASE, the working tree, CIFAR10_SHARDS
writes  programs/, dvc.lock of each table, results/accepted.csv
"""

import argparse
import ast
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

from pipeline.artifacts import sha256
from pipeline.errors import UserError, run
from pipeline.programs import code_alone
from tools.use import use

ROOT = Path(__file__).resolve().parents[1]
ACCEPTED = Path("results/accepted.csv")
WRITTEN = ("data", "models", "results", "exports")
"""Folders that the stages write to."""
UNTRACKED_OUTPUT = "provenance"
"""Folder below results/<table>/ that differs from run to run."""
CHECKED = re.compile(
    r"(pipeline/(?!reporting/|recipes\.py)|stages/(?!(cells|programs|report|site|study)\.py)).*\.py"
)
"""Code whose changed lines must have run."""
DECISIVE = re.compile(rf"{CHECKED.pattern}|.*(dvc|cells|params|two_steps)\.yaml")
"""Files that decide what a chain computes."""

TINY_DIGITS = {"image_size": 8, "limit": 120}
TINY_PHASE = {"epochs": 2, "batch_size": 32}
TINY_TRAININGS: dict[str, Mapping[str, object]] = {
    "teacher": TINY_PHASE, "finetune": TINY_PHASE, "student": TINY_PHASE,
    "evaluation": {"bootstrap_resamples": 50},
}  # fmt: skip


@dataclass(frozen=True)
class Chain:
    """A table made small.

    Attributes:
        name: Its name in results/accepted.csv.
        recipe: Its dvc.yaml.
        params: Values that replace those of its params file, by section and key.
        cells: Values that replace those of its cells.yaml.
        environment: Environment variables that its stages read.
    """

    name: str
    recipe: Path
    params: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    cells: Mapping[str, object] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


DIGITS = Chain("digits", Path("dvc.yaml"), {**TINY_TRAININGS, "data": TINY_DIGITS})
VARIANTS = Chain(
    "variants",
    Path("tables/study-variants/dvc.yaml"),
    cells={"base": "digits", "settings": "params.yaml"},
)


def main() -> None:
    """Entry point of `make accept`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", metavar="BASE", help="revision whose results are committed")
    parser.add_argument("--check", action="store_true", help="print the verdict and change nothing")
    parser.add_argument(
        "--tests", nargs="+", default=[], metavar="TEST", help="what pytest is given to run"
    )
    arguments = parser.parse_args()
    os.chdir(ROOT)
    base = revision(arguments.base)
    others = [path for path in changed_lines(base) if not is_same_program(base, path)]
    names: list[str] = []
    outputs = 0
    if others:
        print(f"changed: {', '.join(others)}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            names, outputs = compare(base, Path(folder), arguments.tests)
    else:
        print(f"nothing but comments, docstrings and layout differs from {base[:12]}")
    if not arguments.check:
        stages = commit_code()
        print(f"accepted: the code of {stages} stages in dvc.lock is that of the working tree")
        write_accepted(base, names, outputs)


def revision(name: str) -> str:
    """The full hash of a commit.

    Raises:
        UserError: there is no such commit.
    """
    try:
        return _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    except subprocess.CalledProcessError:
        raise UserError(f"BASE is {name!r}: no such commit in this repository") from None


def is_same_program(base: str, path: str) -> bool:
    """Whether a file of the working tree computes what it computed at `base`.

    This is also true of a file that no chain reads, and of code in which only comments and
    docstrings changed.
    """
    if not DECISIVE.match(path):
        return True
    if not path.endswith(".py") or not Path(path).is_file():
        return False
    try:
        before = _git("show", f"{base}:{path}")
    except subprocess.CalledProcessError:  # a new file
        return False
    return code_alone(before) == code_alone(Path(path).read_text())


def compare(base: str, folder: Path, tests: Sequence[str]) -> tuple[list[str], int]:
    """Run the chains on both sides and compare their outputs.

    Args:
        base: a commit.
        folder: an empty folder to work in.
        tests: arguments of pytest. The lines that these tests run count as run.

    Returns:
        Names of the chains and tests, and the number of outputs that are equal.

    Raises:
        UserError: an output differs, a changed line did not run, or a chain or test failed.
    """
    chains = list(_chains(folder))
    sides = {"base": folder / "base", "tree": folder / "tree"}
    _copy_commit(base, sides["base"])
    copy_tree(sides["tree"])
    outputs: dict[str, dict[str, str]] = {}
    for chain in chains:
        _run(chain, sides, folder / "coverage")
    for name, side in sides.items():
        outputs[name] = _outputs(side)
    for path in sorted(outputs["base"].keys() | outputs["tree"].keys()):
        before, after = (outputs[name].get(path, "missing") for name in ("base", "tree"))
        if before != after:
            raise UserError(f"{path}: differs, {before[:12]} before and {after[:12]} now")
    count, names = len(outputs["tree"]), [chain.name for chain in chains]
    print(f"{count} outputs of {', '.join(names)}: equal to those of {base[:12]}", flush=True)
    if tests:
        _run_tests(tests, folder / "coverage")
        names += tests
    missed = sorted(unexecuted(base, folder / "coverage", sides["tree"]))
    if missed:
        shown = ", ".join(f"{path}:{line}" for path, line in missed)
        raise UserError(f"{len(missed)} changed lines ran in no chain: {shown}")
    return names, count


def _chains(folder: Path) -> Iterator[Chain]:
    yield DIGITS
    yield VARIANTS
    images = folder / "images"
    _draw_images(images)
    short = {"epochs": 1, "batch_size": 8}
    yield Chain(
        "folders",
        Path("tables/imagenette/dvc.yaml"),
        {
            "data": {"image_size": 32, "validation": 0.25},
            "streaming": {"resize": 36},
            **dict.fromkeys(("teacher", "finetune", "step_one", "step_two"), short),
            "evaluation": {"bootstrap_resamples": 50},
        },
        environment={"IMAGENETTE": str(images)},
    )
    shards = os.environ.get("CIFAR10_SHARDS")
    if shards:
        yield Chain(
            "cifar10",
            Path("tables/cifar10/dvc.yaml"),
            # bfloat16 only if the CPU has instructions for it: else it is ten times slower
            {**TINY_TRAININGS, "data": {"limit": 300}, "compute": {"precision": "auto"}},
            environment={"CIFAR10_SHARDS": shards},
        )


def _run_tests(tests: Sequence[str], coverage: Path) -> None:
    """Run tests on the working tree; coverage watches them and the processes they start."""
    settings = coverage.with_name("tests.rc")
    settings.write_text(
        f"[run]\npatch = subprocess\nparallel = true\ndata_file = {coverage}\n"
        f"source =\n  {ROOT / 'pipeline'}\n  {ROOT / 'stages'}\n"
    )
    command = [sys.executable, "-m", "coverage", "run", f"--rcfile={settings}", "-m", "pytest"]
    options = ["--quiet", "-p", "no:cacheprovider"]
    ended = subprocess.run(
        [*command, *options, *tests], check=False, text=True, capture_output=True
    )
    if ended.returncode:
        raise UserError(f"tests failed: {ended.stdout.strip().splitlines()[-1]}")


def _watched(coverage: Path, side: Path) -> list[str]:
    """The beginning of a command that runs a module and notes which lines of `side` it ran."""
    source = f"--source={side / 'pipeline'},{side / 'stages'}"
    measured = ["--parallel-mode", "--rcfile=/dev/null", f"--data-file={coverage}", source]
    return [sys.executable, "-m", "coverage", "run", *measured]


def _draw_images(folder: Path) -> None:
    """Draw two classes of noise as JPEG files, with 12 training and 4 test images in each."""
    random = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 4)):
        for label in ("dark", "light"):
            place = folder / split / label
            place.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 200, (40, 44, 3)) + (50 if label == "light" else 0)
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number}.jpeg")


def _copy_commit(base: str, side: Path) -> None:
    side.mkdir()
    archive = subprocess.run(["git", "archive", base], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(side)], input=archive, check=True)
    _begin(side)


def copy_tree(side: Path) -> None:
    """Copy what Git would take of the working tree, without results, into a new repository."""
    side.mkdir()
    listed = _git("ls-files", "--cached", "--others", "--exclude-standard", "-z")
    present = [name for name in listed.split("\0") if name and os.path.lexists(name)]
    subprocess.run(
        ["tar", "-c", "--no-recursion", "--null", "-T", "-", "-f", f"{side}.tar"],
        input="\0".join(present), text=True, check=True,
    )  # fmt: skip
    subprocess.run(["tar", "-x", "-C", str(side), "-f", f"{side}.tar"], check=True)
    _begin(side)


def _begin(side: Path) -> None:
    """Turn a copy into a repository, without earlier outputs, which no chain has written."""
    for written in WRITTEN:
        shutil.rmtree(side / written, ignore_errors=True)
    subprocess.run(["git", "init", "--quiet", str(side)], check=True)


def _run(chain: Chain, sides: dict[str, Path], coverage: Path) -> None:
    """Run a chain on both sides at once; coverage watches that of the working tree."""
    running = {
        name: start(chain, side, coverage if name == "tree" else None)
        for name, side in sides.items()
    }
    try:
        for name, process in running.items():
            output, _ = process.communicate()
            if process.returncode:
                last = output.strip().splitlines()[-1]
                raise UserError(f"chain {chain.name} failed with the code of {name}: {last}")
    finally:
        for process in running.values():
            process.kill()
            process.wait()


def start(chain: Chain, side: Path, coverage: Path | None) -> subprocess.Popen[str]:
    """Make the table small in `side` and start its stages there.

    Args:
        chain: the table, and how to make it small.
        side: a copy of the project.
        coverage: file for the lines that run; None: they are not watched.

    Returns:
        The running process; it writes errors to its standard output too.

    Raises:
        UserError: `side` does not have the table.
    """
    cells_path = side / chain.recipe.with_name("cells.yaml")
    if not cells_path.is_file():
        raise UserError(f"chain {chain.name}: {cells_path.relative_to(side)} is not there")
    yaml = YAML()
    cells = yaml.load(cells_path)
    cells |= {"seeds": [1], "ablation_seeds": [1], **chain.cells}
    yaml.dump(cells, cells_path)
    use(chain.recipe.parent.name or "digits", side)
    params_path = side / cells["settings"]
    params = yaml.load(params_path)
    for section, values in chain.params.items():
        params[section].update(values)
    params["compute"]["threads"] = 1
    yaml.dump(params, params_path)
    tool = str(Path(__file__).with_name("chain.py"))
    command = [*(_watched(coverage, side) if coverage else [sys.executable]), tool]
    environment = {
        **os.environ,
        **chain.environment,
        "PYTHONPATH": str(side),
        "BDBNN_REVISION": "short chain",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(side.with_name(f"{side.name}-dvc")),
    }
    return subprocess.Popen(
        [*command, str(chain.recipe)], cwd=side, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def _outputs(side: Path) -> dict[str, str]:
    """SHA-256 of each file that the stages wrote."""
    files = [
        path
        for place in WRITTEN
        for path in (side / place).glob("*/**/*")
        if path.is_file() and UNTRACKED_OUTPUT not in path.parts
    ]
    return {path.relative_to(side).as_posix(): sha256(path) for path in files}


def unexecuted(base: str, coverage: Path, side: Path) -> Iterator[tuple[str, int]]:
    """Changed lines of CHECKED code, by file and number, that ran in no chain.

    A line that holds no statement, such as a comment or a part of a docstring, counts as run.
    """
    executed = _executed_lines(coverage, (side, ROOT))
    for path, lines in changed_lines(base).items():
        if not lines or not CHECKED.fullmatch(path):
            continue
        statement_of = statements(Path(path).read_text())
        for line in sorted(lines & statement_of.keys()):
            if statement_of[line] not in executed.get(path, ()):
                yield path, line


def _executed_lines(coverage: Path, roots: Sequence[Path]) -> dict[str, set[int]]:
    """Numbers of the lines of each file that ran, by its path below whichever root holds it."""
    report = coverage.with_suffix(".json")
    tool = [sys.executable, "-m", "coverage"]
    data = ["--rcfile=/dev/null", f"--data-file={coverage}", "--quiet"]
    subprocess.run([*tool, "combine", *data, str(coverage.parent)], check=True)
    subprocess.run([*tool, "json", *data, "-o", str(report)], check=True, cwd="/")
    executed: dict[str, set[int]] = {}
    for name, file in json.loads(report.read_text())["files"].items():
        path = Path("/", name)
        root = next(each for each in roots if path.is_relative_to(each))
        lines = executed.setdefault(path.relative_to(root).as_posix(), set())
        lines.update(file["executed_lines"])
    return executed


def changed_lines(base: str) -> dict[str, set[int]]:
    """Numbers of the lines that the working tree adds to or changes in each file of `base`.

    A file that only loses lines, or that is gone, has none.
    """
    names = _git("diff", "--name-only", "--no-renames", "-z", base)
    changed: dict[str, set[int]] = {name: set() for name in names.split("\0") if name}
    path = ""
    for line in _git("diff", "--unified=0", "--no-color", "--no-renames", base).splitlines():
        if line.startswith("+++ "):
            path = line.removeprefix("+++ ").removeprefix("b/")
        elif line.startswith("@@"):
            start, _, count = line.split()[2].removeprefix("+").partition(",")
            first = int(start)
            changed.setdefault(path, set()).update(range(first, first + int(count or 1)))
    for name in _git("ls-files", "--others", "--exclude-standard").splitlines():
        if name.endswith(".py"):
            changed[name] = set(range(1, len(Path(name).read_text().splitlines()) + 1))
    return changed


def statements(source: str) -> dict[int, int]:
    """The first line of the innermost statement that each line of Python code belongs to.

    Docstrings and other constants that stand alone are left out, as are lines outside a statement
    and imports for type checking alone.
    """
    found: dict[int, int] = {}
    for node in _statements_that_run(ast.parse(source)):  # outer ones come before inner ones
        constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1):
            if constant:
                found.pop(line, None)
            else:
                found[line] = node.lineno
    blank = [
        number
        for number, text in enumerate(source.splitlines(), start=1)
        if not text.strip() or text.lstrip().startswith("#")
    ]
    return {line: first for line, first in found.items() if line not in blank}


def _statements_that_run(tree: ast.AST) -> Iterator[ast.stmt]:
    waiting = list(ast.iter_child_nodes(tree))
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.stmt):
            yield node
        waiting += ast.iter_child_nodes(node)


def commit_code() -> int:
    """Write the programs of the stages, and bring their hashes in every dvc.lock up to date.

    Parameters, data and outputs keep the hashes they were recorded with, so a stage for which these
    have changed stays stale. So does a report whose code has changed, as it renders in seconds.

    Returns:
        The number of stages.
    """
    from dvc.repo import Repo  # noqa: PLC0415 -- takes a second, which a refusal need not wait for

    with Repo() as repo:
        repo.reproduce("programs/dvc.yaml:programs", single_item=True)
    tables = [path.parent.name for path in Path("tables").glob("*/dvc.lock")]
    shown = [path for table in tables for path in use(table)]
    try:
        with Repo() as repo, repo.lock:
            return _commit_programs(repo.index.stages)
    finally:
        for path in shown:
            path.unlink()


def _commit_programs(stages: Iterable[Any]) -> int:
    """Update the hashes of programs in the locks of `stages`; return how many stages have some."""
    accepted: dict[str, list[Any]] = {}
    for stage in stages:
        programs = [dep for dep in stage.deps if str(dep).startswith("programs/")]
        if not programs or stage.cmd_changed or not any(dep.hash_info for dep in stage.deps):
            continue
        for dep in programs:
            dep.save()
        accepted.setdefault(stage.path, []).append(stage)
    for each in accepted.values():
        each[0].dvcfile._lockfile.dump_stages(each)  # one by one takes minutes
    return sum(map(len, accepted.values()))


def write_accepted(base: str, chains: list[str], outputs: int) -> None:
    """Append a line to results/accepted.csv."""
    new = not ACCEPTED.exists()
    with ACCEPTED.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(["date", "base", "parent_of_tree", "chains", "outputs"])
        today = datetime.now(UTC).date().isoformat()
        writer.writerow([today, base, revision("HEAD"), " ".join(chains), outputs])


def _git(*arguments: str) -> str:
    answer = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    return answer.stdout.rstrip("\n")


if __name__ == "__main__":
    run(main)
