"""Exporting a trained network to a folder that needs neither torch nor the trained weights."""

from pathlib import Path

import openvino as ov

from pipeline.artifacts import atomic_folder, sha256, write_text
from pipeline.data.prepared import StreamedManifest, load_manifest
from pipeline.errors import UserError
from pipeline.evaluation.cost import REAL_BITS, storage_bits
from pipeline.inference.graph import translate
from pipeline.inference.manifest import (
    MANIFEST,
    MODEL,
    README,
    VERSION,
    WEIGHTS,
    Manifest,
    write_manifest,
)
from pipeline.models.architecture import check_same
from pipeline.models.saved import load_trained

USE = """\
# {network}, {row}, seed {seed}

`{model}` and `{weights}` are the network in OpenVINO's format. `{manifest}` says what it is and
where it came from. It needs `openvino`, `numpy` and `pillow`, and nothing else of the project:

```python
import json

import numpy as np
import openvino
from PIL import Image, ImageOps

manifest = json.load(open("{manifest}"))
# in float32: in bfloat16, the default where the processor can, signs would turn
network = openvino.Core().compile_model(
    "{model}", "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}}
)
size, mode = manifest["image_size"], "L" if manifest["channels"] == 1 else "RGB"
image = ImageOps.fit(Image.open("image.png").convert(mode), (size, size), Image.BILINEAR)
pixels = np.array(image).reshape(size, size, -1).transpose(2, 0, 1)[None]  # uint8, not normalised
logits = network(pixels)[0][0]
print(manifest["classes"][logits.argmax()])
```

If `resize` in `{manifest}` is a number, the test images were brought to that shorter side and their
centre was cropped.
"""


def export(model: Path, data: Path, out: Path) -> Manifest:
    """Export the best epoch of a trained network, replacing `out` as a whole.

    Equal networks give equal bytes.

    Args:
        model: Folder of the trained network.
        data: Prepared data that it was trained on; only the manifest is read.
        out: Folder to write: export.json, model.xml, model.bin and README.md.

    Raises:
        UserError: a file is missing or damaged, network and data do not fit together, or the
            network has a layer that cannot be exported.
    """
    network, description = load_trained(model, "best")
    architecture = description.architecture
    images = load_manifest(data)
    check_same(f"--model {model}", architecture, str(data), images.image_kind)
    section = description.params.get("data")
    if not section:
        raise UserError(f"{model}: its model.json has no params.data")
    shape = (images.channels, images.image_size, images.image_size)
    translated = translate(network, shape, images.mean, images.std)
    with atomic_folder(out, MANIFEST) as built:
        built.mkdir()
        try:
            ov.serialize(translated.model, built / MODEL, built / WEIGHTS)
        except RuntimeError as error:
            raise UserError(f"{out}: could not be written by OpenVINO ({error})") from error
        text = USE.format(
            network=architecture.network,
            row=description.row,
            seed=description.seed,
            model=MODEL,
            weights=WEIGHTS,
            manifest=MANIFEST,
        )
        write_text(built / README, text)
        manifest = Manifest(
            version=VERSION,
            architecture=architecture.model_dump(mode="json"),
            row=description.row,
            seed=description.seed,
            weights_sha256=sha256(model / "best.safetensors"),
            debug=description.debug,
            data=section,
            origin=images.origin,
            classes=images.classes,
            channels=images.channels,
            image_size=images.image_size,
            resize=images.streaming.resize if isinstance(images, StreamedManifest) else None,
            mean=images.mean,
            std=images.std,
            binary_convolutions=translated.binary_convolutions,
            counted_bits=storage_bits(network) - REAL_BITS * translated.folded_scales,
            files={name: sha256(built / name) for name in (MODEL, WEIGHTS, README)},
        )
        write_manifest(built, manifest)
    return manifest
