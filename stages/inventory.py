"""List the images that lie outside the repository, so that DVC notices when they change.

DVC always runs this stage, and runs those that follow only if OUT changed. A file is read only if
its size or one of its times differs from the last run. Where the images are not available, the OUT
of the last run, which Git holds, stays as it is.

reads   the section data of the params, and the images or shards in the folder that it names
writes  OUT: number of files, their bytes, and the SHA-256 of what `sha256sum` prints for them; for
        cifar10 only the name of the source
        .scratch/inventory/<table>.json: size, times and SHA-256 of each file on this machine
"""

from collections.abc import Iterator
from pathlib import Path

from pipeline.artifacts import check_writable, write_json
from pipeline.errors import UserError, one_line, run
from pipeline.inventory import Inventory, take_inventory
from pipeline.params import load_params, resolve
from stages.arguments import stage_parser

SHOWN = 3
"""Number of files that a line about differences names."""


def main() -> None:
    """Entry point."""
    parser = stage_parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="file in the folder of the table")
    arguments = parser.parse_args()
    data, out = load_params(arguments.params).data, arguments.out
    check_writable(out.parent, out.name)
    if data.source == "cifar10":
        write_json(out, {"source": data.source})
        print("cifar10: nothing to list, as prepare takes no archive but the official one")
        return
    try:
        folder = _present(data.location)
    except UserError as error:
        if not out.is_file():
            raise
        print(f"{error}; {out} stays as it is")
        return
    memory = Path(".scratch/inventory", f"{out.parent.name}.json")
    inventory = take_inventory(folder, data.source, memory)
    if not inventory.files:
        raise UserError(f"{folder}: holds none of the {data.source} of data.source")
    write_json(
        out, {"files": inventory.files, "bytes": inventory.bytes, "sha256": inventory.sha256}
    )
    for line in (f"{folder}: {inventory.files} files", *_differences(inventory)):
        print(one_line(line))


def _present(location: str) -> Path:
    """The folder of the images; a UserError if it is missing or empty, as it is before a mount."""
    folder = resolve(location)
    try:
        if location and any(folder.iterdir()):
            return folder
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror} (data.location)") from error
    raise UserError(f"{folder}: is empty (data.location)")


def _differences(inventory: Inventory) -> Iterator[str]:
    """A line for each way in which files differ from those of the last inventory."""
    for name in ("changed", "added", "removed"):
        files = getattr(inventory, name)
        if files:
            more = ", ..." if len(files) > SHOWN else ""
            yield f"  {len(files)} {name}: {', '.join(files[:SHOWN])}{more}"


if __name__ == "__main__":
    run(main)
