"""Trained networks in use: exported to OpenVINO, loaded without torch.

Example:
    from pathlib import Path
    from pipeline.inference.engine import load_export, predict

    network = load_export(Path("exports/digits/resnet20-complete-1"))
    probabilities = predict(network, [Path("three.png")])
    print(network.manifest.classes[probabilities[0].argmax()])
"""

import sys

# Importing openvino reports that to its makers over the network if this package can be imported.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
