"""Opening a prepared folder for training or evaluation."""

from pathlib import Path

from pipeline.data.loading.batches import Images
from pipeline.data.loading.resident import ResidentImages
from pipeline.data.prepared import StreamedManifest, load_manifest


def open_prepared(folder: Path) -> Images:
    """Open what prepare wrote: arrays, of which each split is read when needed, or an index.

    Raises:
        UserError: the manifest is missing or damaged, or the folder of indexed images cannot be
            resolved.
    """
    manifest = load_manifest(folder)
    if isinstance(manifest, StreamedManifest):
        # Imported here: torchvision takes seconds to import, and images in memory do not need it.
        from pipeline.data.loading.streaming import StreamedImages  # noqa: PLC0415

        return StreamedImages(folder, manifest)
    return ResidentImages(folder, manifest)
