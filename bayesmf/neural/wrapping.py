"""What both fronts do: check how epochs go, show progress, wrap what was trained."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmf.neural.training import Pace, Trained, train
from bayesmf.progress import Progress
from bayesmf.results.network_estimate import NetworkEstimate
from bayesmf.results.point_estimate import Steps
from bayesmf.validation import check_integer, check_number

if TYPE_CHECKING:
    from bayesmf.neural.training import Network


def check_pace(
    learning_rate: object, batch_size: object, max_epochs: object, patience: object, function: str
) -> Pace:
    """Return how epochs go."""
    return Pace(
        check_number(learning_rate, "learning_rate", function, above=0),
        check_integer(batch_size, "batch_size", function, minimum=1),
        check_integer(max_epochs, "max_epochs", function, minimum=1),
        None if patience is None else check_integer(patience, "patience", function, minimum=1),
    )


def trained_with_progress(
    network: Network,
    pace: Pace,
    *,
    n_members: int,
    validation_size: float,
    seed: int,
    show: bool,
    function: str,
) -> Trained:
    """Train under two bars: the search on the validation part, and the fit to all ratings."""
    tasks = [f"{function}: validation", f"{function}: all ratings"]
    with Progress(tasks, n_members * pace.max_epochs, show=show, unit="epochs") as progress:
        return train(
            network, pace, n_members=n_members, validation_size=validation_size, seed=seed,
            progress=progress, function=function,
        )  # fmt: skip


def common_fields(
    network: Network, trained: Trained, settings: dict[str, Any], method: str, started: float
) -> dict[str, Any]:
    """Return what every estimate has."""
    return {
        "ratings": network.ratings,
        "sigma": trained.sigma,
        "loss": trained.loss,
        "settings": settings,
        "tried": trained.tried,
        "fit_seconds": time.perf_counter() - started,
        "steps": Steps(method, "epoch"),
    }


def network_estimate(
    network: Network, kind: str, trained: Trained, common: dict[str, Any]
) -> NetworkEstimate:
    """Put the networks side by side."""
    first = trained.members[0]
    return NetworkEstimate(
        **common,
        kind=kind,
        weights={name: np.stack([one[name] for one in trained.members]) for name in first},
        center=network.center,
        scale=network.scale,
        noise=trained.noise,
    )
