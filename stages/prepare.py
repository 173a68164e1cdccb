"""Decode a data set once into plain arrays, or index one that is streamed.

Reads the sections `data` and `streaming` of the params file and the images it names; carves a
stratified validation split out of train. Writes into the output folder manifest.json (classes,
counts, channel mean and std, checksums, origin) and {train,validation,test}_{images,labels}.npy, or
with the section `streaming`, having decoded each image once, {train,validation,test}.parquet (path,
row, label, size, sha256).
"""

import argparse
from pathlib import Path

from pipeline.data.prepared import Manifest, StreamedManifest, write_prepared
from pipeline.data.sources.registry import load_source
from pipeline.data.sources.splitting import split_source
from pipeline.errors import run
from pipeline.params import Data, Streaming, load_params


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
    params = load_params(arguments.params)
    manifest = _prepare(params.data, params.streaming, arguments.out)
    counts = ", ".join(f"{sum(of_class)} {name}" for name, of_class in manifest.counts.items())
    size = manifest.image_size
    print(
        f"{manifest.source}: {counts} images of {manifest.channels}x{size}x{size}, "
        f"{len(manifest.classes)} classes -> {arguments.out}"
    )
    if isinstance(manifest, StreamedManifest) and manifest.unreadable:
        print(f"left out as unreadable: {', '.join(manifest.unreadable)}")


def _prepare(data: Data, streaming: Streaming | None, out: Path) -> Manifest:
    source = load_source(data)
    if streaming:
        # Imported here: torchvision takes seconds, which images in memory need not wait for.
        from pipeline.data.sources.indexing import write_index  # noqa: PLC0415

        return write_index(out, source, data, streaming)
    train, validation, test = split_source(source, data)
    return write_prepared(
        out,
        source=data.source,
        origin=source.origin,
        classes=source.classes,
        train=train,
        validation=validation,
        test=test,
    )


if __name__ == "__main__":
    run(main)
