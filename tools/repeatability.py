"""Run the digits in two fresh clones at different paths and compare every output's hash.

reads   the committed state of this repository
writes  nothing here; the clones are removed afterwards
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml

from pipeline.errors import UserError, run
from pipeline.provenance import ROOT

Hashes = dict[str, str]


def main() -> None:
    """Entry point; exit code 1 if any hash differs."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    committed = output_hashes(ROOT / "dvc.lock")
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        first = run_in_clone(Path(one) / "clone")
        second = run_in_clone(Path(two) / "another" / "path" / "to-a-clone")
    print(f"{'output':60} {'clone 1':10} {'clone 2':10} committed")
    for path in sorted(first.keys() | second.keys()):
        hashes = [side.get(path, "missing")[:8] for side in (first, second, committed)]
        note = "" if hashes[0] == hashes[1] else "  DIFFERS"
        print(f"{path:60} {hashes[0]:10} {hashes[1]:10} {hashes[2]}{note}")
    differing = [
        path for path in first.keys() | second.keys() if first.get(path) != second.get(path)
    ]
    as_committed = sum(committed.get(path) == value for path, value in first.items())
    print(
        f"{len(first)} outputs: {len(first) - len(differing)} alike in both clones, "
        f"{as_committed} as committed (on another kind of CPU, trainings round differently)"
    )
    print(threads(yaml.safe_load((ROOT / "params.yaml").read_text())))
    sys.exit(1 if differing or not first else 0)


def run_in_clone(clone: Path) -> Hashes:
    """Clone HEAD, run every stage with nothing cached, and return the hashes of the outputs.

    Without --force, DVC would skip stages whose results lie in Git if their inputs are unchanged.
    """
    _run(["git", "clone", "--quiet", str(ROOT), str(clone)])
    site = clone.with_name("dvc-site")
    environment = {**os.environ, "DVC_SITE_CACHE_DIR": str(site)}
    print("running the pipeline in a fresh clone", flush=True)
    _run(["dvc", "repro", "--quiet", "--force"], cwd=clone, env=environment)
    hashes = output_hashes(clone / "dvc.lock")
    shutil.rmtree(clone)
    return hashes


def _run(command: list[str], **options: Any) -> None:
    """Run a command, which reports on stderr what went wrong.

    Raises:
        UserError: it failed.
    """
    code = subprocess.run(command, check=False, **options).returncode
    if code:
        raise UserError(f"{' '.join(command[:2])} ended with {code}, see above")


def threads(params: dict[str, Any]) -> str:
    """A sentence on how the hashes depend on the number of threads."""
    count = params["compute"]["threads"]
    if count:
        return f"computed with {count} thread(s), compute.threads: with another number bits differ"
    return (
        f"computed with {torch.get_num_threads()} threads, those of this machine "
        "(compute.threads: 0): with another number bits differ"
    )


def output_hashes(lock: Path) -> Hashes:
    """MD5 of each output that a dvc.lock names."""
    stages = yaml.safe_load(lock.read_text())["stages"] if lock.exists() else {}
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}


if __name__ == "__main__":
    run(main)
