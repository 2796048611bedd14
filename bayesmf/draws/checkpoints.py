"""Checkpoints: all that a chain is, in one file that is there whole or not at all.

A chain needs its state and how many draws it has in the store; random numbers are addressed by
sweep, so that no generator has a state. The file is NumPy's npz without pickled objects: each array
has a CRC, and nothing in it is ever executed.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayesmf.atomic import write_atomically
from bayesmf.gibbs.conditionals import Hyper
from bayesmf.gibbs.sampler import SIDES, State

if TYPE_CHECKING:
    from pathlib import Path

_DAMAGE = (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error)


class Checkpoint(NamedTuple):
    """Where a chain is.

    Attributes
    ----------
    state : State
    draws : int
        Draws that are in the store.
    sums : dict
        Running sums over its draws, by name.
    """

    state: State
    draws: int
    sums: dict[str, np.ndarray]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; whoever reads the file finds the last one or this one."""
    state = checkpoint.state
    arrays: dict[str, np.ndarray] = {
        "sweep": np.array(state.sweep),
        "draws": np.array(checkpoint.draws),
        "alpha": np.array(state.alpha),
        "squared_error": np.array(state.squared_error),
    }
    for side in SIDES:
        arrays[f"{side}_rows"] = state.rows(side)
        hyper, moments = state.hyper(side), state.moments(side)
        arrays |= {f"{side}_{name}": value for name, value in hyper._asdict().items()}
        if moments is not None:
            arrays |= {f"{side}_row_mean": moments[0], f"{side}_row_scatter": moments[1]}
    arrays |= {f"sum_{name}": value for name, value in checkpoint.sums.items()}
    content = io.BytesIO()
    # Numbers alone, so that nothing is pickled.
    np.savez(content, **arrays)  # type: ignore[arg-type]
    write_atomically(path, content.getvalue())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    ValueError
        If the file is missing, cut short or damaged.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        hypers, moments = {}, {}
        for side in SIDES:
            hypers[side] = Hyper(*(arrays[f"{side}_{name}"] for name in Hyper._fields))
            pair = arrays.get(f"{side}_row_mean"), arrays.get(f"{side}_row_scatter")
            moments[side] = None if pair[0] is None or pair[1] is None else (pair[0], pair[1])
        state = State(
            int(arrays["sweep"]), arrays["user_rows"], arrays["item_rows"], hypers["user"],
            hypers["item"], float(arrays["alpha"]), float(arrays["squared_error"]),
            moments["user"], moments["item"],
        )  # fmt: skip
        sums = {name[4:]: array for name, array in arrays.items() if name.startswith("sum_")}
        return Checkpoint(state, int(arrays["draws"]), sums)
    except _DAMAGE as error:
        raise ValueError(f"checkpoint {path.name}: {str(error).strip() or 'damaged'}") from error
