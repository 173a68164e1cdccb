"""A working copy of this checkout in which tests run DVC for real."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, read_yaml, with_overrides, write_yaml
from tools.use import use

GENERATED = re.compile(
    r"(checkpoints|networks|results)/|(.*/)?dvc\.lock$|reports/[^/]+/"
    r"|tables/[^/]+/images\.json$"
)
"""What DVC makes."""


class Clone:
    """Copy of what Git holds or would hold, without results, with parameters overridden.

    Args:
        folder: Where to put it.
        params: Parameter file to change, that of the table.
        overrides: Dotted keys and their values.
        cells_overrides: Likewise for the cells.yaml beside it, which has one seed there.
    """

    def __init__(
        self, folder: Path, params: str, overrides: dict, cells_overrides: dict | None = None
    ) -> None:
        self.folder = folder
        self._environment = {
            **{name: value for name, value in os.environ.items() if "COVERAGE" not in name},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(folder.with_name("dvc-site")),
            "OMP_NUM_THREADS": "1",
        }
        path = folder / params
        self._copy_checkout()
        if path.parent != folder:
            use(path.parent.name, folder)
        write_yaml(path, with_overrides(read_yaml(path), overrides))
        one_seed = {"seeds": [1], "ablation_seeds": [1]}
        cells = path.with_name("cells.yaml")
        write_yaml(cells, with_overrides(read_yaml(cells), one_seed | (cells_overrides or {})))
        self.run("git", "init", "--quiet")
        self.run("git", "config", "user.name", "test")
        self.run("git", "config", "user.email", "test@example.org")
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", "tiny")

    def _copy_checkout(self) -> None:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            source, target = ROOT / name, self.folder / name
            if GENERATED.match(name) or not source.is_file():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target, follow_symlinks=False)

    def start(self, *command: str) -> subprocess.Popen:
        """A command in the clone, in a process group of its own, its output through a pipe."""
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: str) -> str:
        """Standard output of a command in the clone; its end must be good."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def repro(self, *arguments: str) -> set[str]:
        """Run `dvc repro`; the stages that ran."""
        return stages_run(self.run("dvc", "repro", *arguments))


def stages_run(output: str) -> set[str]:
    """The stages of tables that DVC says it ran; each clone writes the programs of stages first."""
    marks = [line for line in output.splitlines() if line.startswith("Running stage '")]
    return {line.split("'")[1] for line in marks} - {"programs/dvc.yaml:programs"}
