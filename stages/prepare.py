"""Decode a data set once into plain arrays, or index one that is streamed.

reads   the sections data and streaming of the params, and the images that data names
writes  OUT/manifest.json: classes, counts, channel mean and std, checksums, origin
        OUT/{train,validation,test}_{images,labels}.npy, where validation is a stratified part of
        train unless the data set brings its own
        with the section streaming, OUT/{train,validation,test}.parquet instead: path, row,
        group, label, size and SHA-256 of each image, which has been decoded once
"""

from pathlib import Path

from pipeline.data.prepared import StreamedManifest
from pipeline.data.sources.prepare import prepare
from pipeline.errors import one_line, run
from pipeline.params import load_params
from stages.arguments import stage_parser


def main() -> None:
    """Entry point."""
    parser = stage_parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write, replaced whole")
    arguments = parser.parse_args()
    params = load_params(arguments.params)
    manifest = prepare(params.data, params.streaming, arguments.out)
    counts = ", ".join(f"{sum(of_class)} {name}" for name, of_class in manifest.counts.items())
    size = manifest.image_size
    done = (
        f"{manifest.source}: {counts} images of {manifest.channels}x{size}x{size}, "
        f"{len(manifest.classes)} classes -> {arguments.out}"
    )
    print(one_line(done))
    if isinstance(manifest, StreamedManifest) and manifest.unreadable:
        print(f"left out as unreadable: {', '.join(map(one_line, manifest.unreadable))}")


if __name__ == "__main__":
    run(main)
