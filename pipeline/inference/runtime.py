"""Import of OpenVINO, which not every platform has."""

from typing import Any

from pipeline.errors import UserError


def openvino() -> Any:
    """Import the package openvino.

    Raises:
        UserError: it cannot be imported.
    """
    try:
        import openvino  # noqa: PLC0415
    except ImportError as error:
        raise UserError(
            f"openvino cannot be imported ({error}): pip install openvino; it has packages for "
            "Linux, Windows and macOS"
        ) from error
    return openvino
