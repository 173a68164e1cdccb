"""Export a trained network: a folder of its own that anything with OpenVINO can run.

reads   MODEL (its best epoch) and the manifest of the prepared data
writes  OUT/model.xml and model.bin: the network, pixels (uint8) in, logits out, 1-bit weights
        packed and computed by XNOR and popcount
        OUT/README.md: how to use it
        OUT/export.json: classes, image size, mean and std, where the network came from, checksums
"""

import argparse
from pathlib import Path

from pipeline.errors import run
from pipeline.inference.export import export
from pipeline.inference.manifest import WEIGHTS


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="prepared data")
    parser.add_argument("--model", type=Path, required=True, help="folder of the trained network")
    parser.add_argument("--out", type=Path, required=True, help="folder to write, replaced whole")
    arguments = parser.parse_args()
    manifest = export(arguments.model, arguments.data, arguments.out)
    size = (arguments.out / WEIGHTS).stat().st_size
    print(
        f"{manifest.name}: {manifest.binary_convolutions} binary convolutions, {size} bytes of "
        f"weights -> {arguments.out}"
    )


if __name__ == "__main__":
    run(main)
