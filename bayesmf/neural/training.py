"""Epochs, early stopping on a validation part, and the final fit to all ratings.

All that is random is drawn by NumPy: weights at the start, the order of the ratings, what is
dropped. Keras computes gradients and takes steps.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from bayesmf.point.held_out import parts
from bayesmf.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bayesmf.point.forward import Weights
    from bayesmf.progress import Progress
    from bayesmf.ratings import Ratings

LEAST_GAIN = 1e-4
"""A smaller fall of the validation RMSE, in sds of the ratings, does not count as one."""

SLOW_AFTER = 2
"""Epochs in a row without a gain after which the learning rate is halved. Embeddings start near a
saddle, where a first epoch may gain nothing yet."""


class Pace(NamedTuple):
    """How epochs go: the rate of the first, the size of a batch, and when to stop.

    After every second epoch in a row without a gain on the validation part the rate is halved;
    after `patience` of them the fit stops. None goes on to `max_epochs` at one rate.
    """

    learning_rate: float
    batch_size: int
    max_epochs: int
    patience: int | None


class Network(ABC):
    """A Keras model of ratings, and how it is fed.

    Targets are on the working scale, (rating - center) / scale. The loss of a step, by its mean
    over an epoch, is (squared errors of the part that is fitted + penalty) / n_ratings.

    Parameters
    ----------
    keras : module
    model : keras.Model
        Compiled, with layers under the names that `bayesmf.point.forward` reads.
    ratings : Ratings
    center, scale : float
    """

    def __init__(
        self, keras: Any, model: Any, ratings: Ratings, center: float, scale: float
    ) -> None:
        self.keras, self.model, self.ratings = keras, model, ratings
        self.center, self.scale = center, scale
        self.targets = ((ratings.values - center) / scale).astype(np.float32)
        model.optimizer.build(model.trainable_variables)
        self._still = [self._array(one) for one in model.optimizer.variables]

    @abstractmethod
    def start(self, rng: np.random.Generator) -> Weights:
        """Draw weights to start from."""

    @abstractmethod
    def epoch(self, part: np.ndarray, rng: np.random.Generator) -> Any:
        """Batches, a `keras.utils.PyDataset`, that go once over a part of the ratings."""

    @abstractmethod
    def means(
        self, weights: Weights, part: np.ndarray, users: np.ndarray, items: np.ndarray
    ) -> np.ndarray:
        """Expectations of cells, on the working scale, where a part of the ratings is known."""

    @abstractmethod
    def penalty(self, weights: Weights) -> float:
        """What is added to the squared errors, on the working scale."""

    def loss(self, weights: Weights, part: np.ndarray) -> float:
        """Squared errors of a part of the ratings, and the penalty, on the rating scale."""
        means = self.means(weights, part, self.ratings.users[part], self.ratings.items[part])
        squares = float(np.sum((self.targets[part] - means) ** 2))
        return (squares + self.penalty(weights)) * self.scale**2

    def _array(self, variable: Any) -> np.ndarray:
        return np.array(self.keras.ops.convert_to_numpy(variable.value))

    def _named(self) -> Iterator[tuple[str, Any]]:
        for layer in self.model.layers:
            for one in layer.trainable_variables:
                yield layer.name if one.name == "embeddings" else f"{layer.name}_{one.name}", one

    def weights(self) -> Weights:
        """Weights as they are now."""
        return {name: self._array(one) for name, one in self._named()}

    def reset(self, weights: Weights) -> None:
        """Put weights in, and the optimizer at rest."""
        for name, one in self._named():
            one.assign(weights[name].astype(np.float32))
        for one, still in zip(self.model.optimizer.variables, self._still, strict=True):
            one.assign(still)

    def run(self, part: np.ndarray, rate: float, rng: np.random.Generator) -> float:
        """Go once over a part of the ratings; returns the mean of the loss, while weights move."""
        self.model.optimizer.learning_rate = rate
        history = self.model.fit(self.epoch(part, rng), verbose=0, shuffle=False)
        return float(history.history["loss"][0]) * len(self.ratings) * self.scale**2

    def batches(self, n_batches: int, batch: Callable[[int], tuple[Any, ...]]) -> Any:
        """Wrap `batch(k)` for Keras."""

        class Batches(self.keras.utils.PyDataset):  # type: ignore[misc, name-defined]
            def __len__(self) -> int:
                return n_batches

            def __getitem__(self, k: int) -> tuple[Any, ...]:
                return batch(k)

        return Batches()


class Validation(NamedTuple):
    """Which ratings are fitted, and cells that are not, with code -1 where no fitted one is."""

    part: np.ndarray
    users: np.ndarray
    items: np.ndarray
    values: np.ndarray


def validation(ratings: Ratings, share: float, seed: int) -> Validation:
    """Hold a random share of the ratings out.

    Rows keep their codes, so that what is compiled for the part serves for all ratings.
    """
    part, held = parts(len(ratings), share, seed)
    users, items = (
        np.where(np.isin(codes[held], codes[part]), codes[held], -1)
        for codes in (ratings.users, ratings.items)
    )
    return Validation(part, users, items, ratings.values[held])


def _rmse(means: np.ndarray, values: np.ndarray) -> float:
    return float(np.sqrt(np.mean((means - values) ** 2)))


def check_finite(loss: float, function: str) -> None:
    """Refuse to go on with weights that grow without bound."""
    if not math.isfinite(loss):
        message = f"{function} diverged: its loss is {loss:g}. Give a smaller 'learning_rate'."
        raise ValueError(message)


class Searched(NamedTuple):
    """What one network did on the validation part.

    Attributes
    ----------
    means : ndarray, shape (n_held,)
        Expected ratings after the best epoch.
    rates : list of float
        Learning rates up to it.
    tried : list of (float, float)
        Learning rate and RMSE of every epoch.
    """

    means: np.ndarray
    rates: list[float]
    tried: list[tuple[float, float]]


class Trained(NamedTuple):
    """Networks of several seeds.

    Attributes
    ----------
    members : list of dict
        Weights of each, fitted to all ratings.
    loss : ndarray
        Of the first one's final fit, at the start and over each epoch.
    tried : DataFrame
        `member`, `epoch`, `learning_rate`, `rmse` on the validation part.
    sigma : float
        RMSE of the mean of all networks on the validation part.
    noise : float
        The sd around each network that makes `sigma`, on average, with the spread of them all.
    """

    members: list[Weights]
    loss: np.ndarray
    tried: pd.DataFrame
    sigma: float
    noise: float


def train(
    network: Network,
    pace: Pace,
    *,
    n_members: int,
    validation_size: float,
    seed: int,
    progress: Progress,
    function: str,
) -> Trained:
    """Find each network's rates on a validation part, then fit all ratings at these.

    Raises
    ------
    ValueError
        If the weights grow without bound; in the name of `function`.
    """
    held = validation(network.ratings, validation_size, seed)
    found: list[Searched] = []
    done = 0

    def searching(rmse: float, ahead: int) -> None:
        nonlocal done
        done += 1
        planned = done + ahead + (n_members - len(found) - 1) * pace.max_epochs
        progress.update(0, done, f"validation RMSE {rmse:.4f}", total=planned)

    def fitting() -> None:
        nonlocal done
        done += 1
        progress.update(1, done, total=sum(len(one.rates) for one in found))

    for member in range(n_members):
        rng = generator(seed, f"network {member}")
        found.append(search(network, pace, held, rng, function, searching))
    done = 0
    members, losses = [], []
    for member, one in enumerate(found):
        rng = generator(seed, f"network {member}")
        losses.append(fit_all(network, one.rates, rng, function, fitting))
        members.append(network.weights())

    means = [one.means for one in found]
    sigma = _rmse(np.mean(means, axis=0), held.values)
    # The floor is for networks that are further apart than their mean is off.
    noise = math.sqrt(max(sigma**2 - np.var(means, axis=0).mean(), 0.01 * sigma**2))
    tried = [
        (member, epoch, *step)
        for member, one in enumerate(found)
        for epoch, step in enumerate(one.tried, start=1)
    ]
    # Ratings without noise still get an interval, if a thin one.
    least = 1e-9 * network.ratings.sd
    return Trained(
        members,
        np.array(losses[0]),
        pd.DataFrame(tried, columns=["member", "epoch", "learning_rate", "rmse"]),
        max(sigma, least),
        max(noise, least),
    )


def search(
    network: Network,
    pace: Pace,
    held: Validation,
    rng: np.random.Generator,
    function: str,
    tick: Callable[[float, int], None],
) -> Searched:
    """Fit what is not held out until the error on what is gains no more.

    `tick` is told the error of each epoch, and how many may yet come.
    """
    network.reset(network.start(rng))
    best, rate, count = math.inf, pace.learning_rate, 0
    tried: list[tuple[float, float]] = []
    ahead = pace.max_epochs
    while ahead:
        loss = network.run(held.part, rate, rng)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused below
            found = network.means(network.weights(), held.part, held.users, held.items)
            found = network.center + network.scale * found
            rmse = _rmse(found, held.values)
        check_finite(loss + rmse, function)
        tried.append((rate, rmse))
        if pace.patience is None or rmse < best - LEAST_GAIN * network.scale:
            best, count, means = rmse, len(tried), found
        elif (len(tried) - count) % SLOW_AFTER == 0:
            rate /= 2
        out = pace.patience is not None and len(tried) - count >= pace.patience
        ahead = 0 if out else pace.max_epochs - len(tried)
        tick(rmse, ahead)
    return Searched(means, [rate for rate, _ in tried[:count]], tried)


def fit_all(
    network: Network,
    rates: list[float],
    rng: np.random.Generator,
    function: str,
    tick: Callable[[], None],
) -> list[float]:
    """Fit all ratings, an epoch at each rate; returns the loss at the start and over each."""
    everything = np.arange(len(network.ratings))
    weights = network.start(rng)
    network.reset(weights)
    losses = [network.loss(weights, everything)]
    for rate in rates:
        losses.append(network.run(everything, rate, rng))
        check_finite(losses[-1], function)
        tick()
    return losses
