"""A variant of a table: one parameter is set to another value, written section.name=value."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.artifacts import atomic_path, check_writable
from pipeline.errors import UserError
from pipeline.params import load_params


@dataclass(frozen=True)
class Setting:
    """One parameter and its value."""

    section: str
    name: str
    value: Any
    """As YAML 1.2 reads it."""

    @property
    def key(self) -> str:
        """Section and name, as in `kurtosis.target`."""
        return f"{self.section}.{self.name}"


def parse_setting(text: str) -> Setting:
    """Read `section.name=value`.

    Raises:
        UserError: `text` does not have this form, or its value is no number, boolean or string.
    """
    match = re.fullmatch(r"(\w+)\.(\w+)=(.+)", text)
    try:
        value = YAML(typ="safe", pure=True).load(match[3]) if match else None
    except Exception:  # its constructors of dates and numbers raise nearly anything
        value = None
    if match is None or not isinstance(value, bool | int | float | str):
        raise UserError(f"variant {text!r}: must be section.name=value, as in kurtosis.target=1.4")
    return Setting(match[1], match[2], value)


def write_variant(params: Path, variant: str, out: Path) -> None:
    """Write the params with one parameter set to another value.

    Args:
        params: Parameters of the table.
        variant: `section.name=value`.
        out: File to write.

    Raises:
        UserError: the params are not valid; or the variant is malformed, names an unknown key, or
            sets a key to a value that is not allowed or that it already has; nothing is written.
    """
    check_writable(out.parent, out.name)
    setting = parse_setting(variant)
    load_params(params)
    yaml = YAML()
    content = yaml.load(params)
    section = content.get(setting.section)
    if section is None:  # an optional one, which may also be written as null
        section = content[setting.section] = {}
    if section.get(setting.name) == setting.value:
        raise UserError(f"variant {variant!r}: is no variant, as {params} has that value")
    section[setting.name] = setting.value
    with atomic_path(out) as temporary:
        yaml.dump(content, temporary)
        try:
            load_params(temporary)
        except UserError as error:
            reason = str(error).removeprefix(f"{temporary}: ")
            raise UserError(f"variant {variant!r}: {reason}") from None
