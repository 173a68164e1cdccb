"""Write the program of each stage, on which DVC makes the stage depend.

reads   the code in pipeline/ and stages/
writes  OUT/<stage>.json, the SHA-256 of each file without comments and docstrings
"""

import argparse
from pathlib import Path

from pipeline.artifacts import check_writable, write_json
from pipeline.errors import run
from pipeline.programs import program

STAGES = (
    "binarize", "evaluate", "export", "finetune", "prepare", "teacher", "validate", "vary",
)  # fmt: skip
"""Stages whose results are too expensive to compute again because of an edited docstring."""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the lists")
    out = parser.parse_args().out
    files = {stage: f"{stage}.json" for stage in STAGES}
    check_writable(out, *files.values())
    for stage, file in files.items():
        write_json(out / file, program(f"stages.{stage}"))


if __name__ == "__main__":
    run(main)
