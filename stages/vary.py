"""Write the parameters of a variant: those of the table, with one of them set to another value.

reads   the params
writes  OUT: all of them, with what VARIANT sets
"""

from pathlib import Path

from pipeline.errors import run
from pipeline.variants import write_variant
from stages.arguments import stage_parser


def main() -> None:
    """Entry point."""
    parser = stage_parser(__doc__)
    parser.add_argument("--variant", required=True, help="section.name=value")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    arguments = parser.parse_args()
    write_variant(arguments.params, arguments.variant, arguments.out)


if __name__ == "__main__":
    run(main)
