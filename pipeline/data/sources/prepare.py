"""Preparation of a data set, from its source to a prepared folder."""

import sys
from pathlib import Path

from pipeline.data.descent import SPLITS
from pipeline.data.prepared import Manifest, write_prepared
from pipeline.data.sources.registry import load_source
from pipeline.data.sources.splitting import split_source
from pipeline.errors import UserError, one_line
from pipeline.params import Data, Streaming, resolve

MOST_NAMED = 3


def prepare(data: Data, streaming: Streaming | None, out: Path) -> Manifest:
    """Decode the images that `data` names into arrays, or index them if they are streamed.

    Raises:
        UserError: the source is not there or damaged, an image cannot be decoded, or `out` lies
            among the images or cannot be written. What was there before stays, unless the new
            folder could not be renamed in the end.
    """
    source = load_source(data)
    if data.source == "folders":
        images, place = resolve(data.location).resolve(), out.resolve()
        if place == images or any(place.is_relative_to(images / split) for split in SPLITS):
            raise UserError(f"{out}: lies among the images (data.location is {data.location!r})")
    if source.left_out:
        named = ", ".join(map(one_line, source.left_out[:MOST_NAMED]))
        more = ", ..." if len(source.left_out) > MOST_NAMED else ""
        print(
            f"{data.location}: {len(source.left_out)} files were left out, which are no images by "
            f"their suffix or lie in no class ({named}{more})",
            file=sys.stderr,
        )
    if streaming:
        # Imported here: torchvision takes seconds to import, and images in memory do not need it.
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
