"""`NetworkEstimate`: one or more networks, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from bayesmf.point.forward import (
    decode,
    embedding_means,
    encode,
    output_columns,
    rated_rows,
)
from bayesmf.predictive import Mixture
from bayesmf.results.point_estimate import Held, PointEstimate

if TYPE_CHECKING:
    from collections.abc import Callable

    from bayesmf.point.forward import Weights
    from bayesmf.ratings import Pairs

_NUMBERS = ("center", "scale", "noise")


@dataclass(eq=False, kw_only=True, repr=False)
class NetworkEstimate(PointEstimate):
    """A network of embeddings or an autoencoder, or several from different seeds.

    It predicts with NumPy from its weights, and needs no Keras. Several networks predict their
    mean; their spread enters its intervals in `compare`.

    Attributes
    ----------
    kind : {"deep", "residual", "autorec"}
    weights : dict of ndarray of float32, shapes (n_members, ...)
        By layer, of every network.
    center, scale : float
        The networks speak of (rating - center) / scale.
    noise : float
        The sd of a rating around each network. With the spread of the networks it makes `sigma`,
        on average over the validation part; with one network it is `sigma`.
    ratings, sigma, loss, settings, tried, fit_seconds, steps, details
        As of every `PointEstimate`. `loss` is the penalised squared error of the first network,
        before it was fitted to all ratings and over each epoch; `tried` has a row for each epoch
        on the validation part.
    """

    kind: str
    weights: dict[str, np.ndarray]
    center: float
    scale: float
    noise: float

    @property
    def n_members(self) -> int:
        """Number of networks."""
        return len(next(iter(self.weights.values())))

    @property
    def n_parameters(self) -> int:
        """Numbers in the weights of all networks."""
        return sum(one.size for one in self.weights.values())

    def _members(self) -> list[Weights]:
        return [
            {name: one[member] for name, one in self.weights.items()}
            for member in range(self.n_members)
        ]

    @cached_property
    def _hidden(self) -> list[np.ndarray]:
        # Hidden rows of an autoencoder, whose input is the training ratings.
        values = (self.ratings.values - self.center) / self.scale
        rows = rated_rows(self.ratings, values, self.settings["by"])
        return [encode(one, rows, self.settings["activation"]) for one in self._members()]

    def _components(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Expected ratings (n_cells, n_members) by each network."""
        if self.kind == "autorec":
            rows, columns = (items, users) if self.settings["by"] == "item" else (users, items)
            found = [
                decode(one, hidden, rows, columns)
                for one, hidden in zip(self._members(), self._hidden, strict=True)
            ]
        else:
            found = [embedding_means(one, users, items) for one in self._members()]
        return self.center + self.scale * np.stack(found, axis=1)

    def _means(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return self._components(users, items).mean(axis=1)

    def _grid(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        if self.kind != "autorec":
            return super()._grid(users, items)
        total = np.zeros((len(users), len(items)))
        for one, hidden in zip(self._members(), self._hidden, strict=True):
            kernel, bias = output_columns(one)
            if self.settings["by"] == "item":
                total += kernel[users] @ hidden[items].T + bias[users, None]
            else:
                total += hidden[users] @ kernel[items].T + bias[items]
        return self.center + self.scale * total / self.n_members

    def over_mixtures[R](
        self, pairs: Pairs, function: Callable[[slice, Mixture], R], *, limit: int
    ) -> list[R]:
        """Call `function` once, on mixtures of Gaussians around each network's predictions."""
        del limit  # networks are few
        means = self._components(pairs.users, pairs.items)
        return [
            function(slice(0, len(means)), Mixture(means, np.full((1, self.n_members), self.noise)))
        ]

    def _how(self) -> str:
        if self.kind == "autorec":
            said = [f"{self.settings['by']}-based AutoRec"]
        else:
            said = [f"{self.kind} network, K={self.settings['n_factors']}"]
        said.append(f"{self.settings['n_hidden']} hidden units")
        said.append(f"reg={self.settings['reg']:.3g}")
        if self.settings.get("dropout"):
            said.append(f"dropout {self.settings['dropout']:g}")
        if self.n_members > 1:
            said.append(f"{self.n_members} networks")
        return ", ".join(said)

    def _held(self) -> Held:
        arrays = {
            name: (("member", *(f"{name}_{axis}" for axis in range(one.ndim - 1))), one)
            for name, one in self.weights.items()
        }
        numbers: dict[str, Any] = {name: getattr(self, name) for name in _NUMBERS}
        return Held(arrays, {"network": self.kind, **numbers})

    @classmethod
    def _made(
        cls, arrays: dict[str, np.ndarray], attributes: dict[str, Any], common: dict[str, Any]
    ) -> Self:
        numbers: dict[str, Any] = {name: float(attributes[name]) for name in _NUMBERS}
        return cls(**common, kind=str(attributes["network"]), weights=arrays, **numbers)
