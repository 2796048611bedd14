"""The file in which a store says what it holds: the root's metadata, with those of all arrays."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

METADATA = "zarr.json"
"""Name of the file, in the root and in the folder of each group and array."""


def read_metadata(folder: Path) -> dict[str, Any]:
    """Metadata of a store, or of a group or an array in it.

    Raises
    ------
    OSError, ValueError
        If there are none, or what is there is no JSON.
    """
    found: dict[str, Any] = json.loads((folder / METADATA).read_text("utf-8"))
    return found
