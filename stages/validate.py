"""Validate the params before DVC removes the outputs of the stages that read them.

DVC removes the outputs of a stage before it starts the stage, and each stage depends on this one.

reads   the params
writes  OUT, which is always the same
"""

from pathlib import Path

from pipeline.artifacts import check_writable, write_text
from pipeline.errors import run
from pipeline.params import load_params
from stages.arguments import stage_parser


def main() -> None:
    """Entry point."""
    parser = stage_parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    arguments = parser.parse_args()
    check_writable(arguments.out.parent, arguments.out.name)
    load_params(arguments.params)
    write_text(arguments.out, "every parameter is allowed\n")


if __name__ == "__main__":
    run(main)
