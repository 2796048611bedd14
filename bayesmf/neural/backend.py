"""Keras, imported when a network is asked for, on JAX unless something else was chosen."""

from __future__ import annotations

import os
import sys
from typing import Any


def need_keras(function: str) -> Any:
    """Import Keras and return it.

    Its backend is what `KERAS_BACKEND` says, or that of a Keras that is imported already, else JAX.

    Raises
    ------
    ImportError
        If Keras, or its backend, is not installed.
    """
    chosen = "keras" in sys.modules or "KERAS_BACKEND" in os.environ
    if not chosen:
        os.environ["KERAS_BACKEND"] = "jax"  # Keras reads it once, when it is imported
    try:
        import keras  # noqa: PLC0415 - an extra, and seconds to import
    except ImportError as error:
        if not chosen:
            del os.environ["KERAS_BACKEND"]
        message = f"{function} needs Keras: pip install 'bayesmf[neural]'"
        raise ImportError(message) from error
    return keras
