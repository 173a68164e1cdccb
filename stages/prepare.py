"""Decode a data set once into plain arrays.

Reads the section `data` of the params file and the images it names; carves a stratified validation
split out of train. Writes {train,validation,test}_{images,labels}.npy and manifest.json (classes,
counts, channel mean and std, checksums, origin) into the output folder.
"""

import argparse
from pathlib import Path

from pipeline.data.prepared import write_prepared
from pipeline.data.sources import load_source
from pipeline.data.splitting import split_source
from pipeline.errors import run
from pipeline.params import load_params


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--params", type=Path, required=True, help="params file to read")
    parser.add_argument("--out", type=Path, required=True, help="folder to write, replaced whole")
    arguments = parser.parse_args()
    data = load_params(arguments.params).data
    source = load_source(data)
    train, validation, test = split_source(source, data)
    manifest = write_prepared(
        arguments.out,
        source=data.source,
        origin=source.origin,
        classes=source.classes,
        train=train,
        validation=validation,
        test=test,
    )
    counts = ", ".join(f"{sum(of_class)} {name}" for name, of_class in manifest.counts.items())
    size = manifest.image_size
    print(
        f"{data.source}: {counts} images of {manifest.channels}x{size}x{size}, "
        f"{len(manifest.classes)} classes -> {arguments.out}"
    )


if __name__ == "__main__":
    run(main)
