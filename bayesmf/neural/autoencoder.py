"""AutoRec in Keras: a row of ratings in, the whole row out, judged where it was rated.

Sedhain, Menon, Sanner & Xie (2015), "AutoRec: Autoencoders meet collaborative filtering", WWW.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bayesmf.neural.training import Network
from bayesmf.point.forward import decode, encode, rated_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    import scipy.sparse as sp

    from bayesmf.point.forward import Weights
    from bayesmf.ratings import Ratings

ACTIVATIONS = ("sigmoid", "identity")
MEAN_INPUT = 3.0
"""Where the mean rating lies on the working scale. A cell without a rating is a zero: it must not
look like an average one. Ratings from 1 to 5 have their mean about three sds above zero."""


class Shape(NamedTuple):
    """What the autoencoder is made of; the penalty is that of the working scale."""

    by: str
    n_hidden: int
    activation: str
    dropout: float
    reg: float


class AutoRec(Network):
    """f(W g(V r + a) + b) with f the identity and g a sigmoid or the identity (eq. 2).

    V' is `hidden_kernel` (n_columns, H) and W' is `output_kernel` (H, n_columns).
    """

    def __init__(self, keras: Any, ratings: Ratings, shape: Shape, batch_size: int) -> None:
        self.shape = shape
        sizes = (ratings.n_items, ratings.n_users)
        self.n_rows, self.n_columns = sizes if shape.by == "item" else sizes[::-1]
        self.batch_size = min(batch_size, self.n_rows)
        self.n_batches = -(-self.n_rows // self.batch_size)
        model = build(keras, shape, len(ratings), self.n_columns)
        # Keras takes the mean over a batch: so the loss of a step is what `Network` says.
        unit = self.n_batches * self.batch_size / len(ratings)
        model.compile(optimizer=keras.optimizers.Adam(), loss=masked_squares(keras, unit))
        scale = ratings.sd
        super().__init__(keras, model, ratings, ratings.mean - MEAN_INPUT * scale, scale)

    def start(self, rng: np.random.Generator) -> Weights:
        """Draw kernels by Glorot & Bengio (2010), so that first outputs are near the mean rating.

        It is in the kernel, and not in the bias, that the mean is put: what then moves the hidden
        layer moves all outputs alike, and a good item is good for users who have rated little.
        """
        n_hidden = self.shape.n_hidden
        limit = np.sqrt(6 / (self.n_columns + n_hidden))
        kernel = rng.uniform(-limit, limit, (self.n_columns, n_hidden))
        output = rng.uniform(-limit, limit, (n_hidden, self.n_columns))
        sigmoid = self.shape.activation == "sigmoid"
        if sigmoid:
            output += MEAN_INPUT / (0.5 * n_hidden)  # a sigmoid is one half at first
        return {
            "hidden_kernel": kernel,
            "hidden_bias": np.zeros(n_hidden),
            "output_kernel": output,
            "output_bias": np.full(self.n_columns, 0.0 if sigmoid else MEAN_INPUT),
        }

    def epoch(self, part: np.ndarray, rng: np.random.Generator) -> Any:
        """Every row once, in random order, with its ratings of that part.

        Rows are made dense a batch at a time. The last batch is filled up with rows unseen.
        """
        rows = rated_rows(self.ratings, self.targets, self.shape.by, part)
        inputs = rows.data
        if self.shape.dropout:
            kept = rng.random(len(inputs)) >= self.shape.dropout
            inputs = inputs * kept / np.float32(1 - self.shape.dropout)
        order = rng.permutation(self.n_rows)

        def batch(k: int) -> tuple[Any, ...]:
            some = order[k * self.batch_size : (k + 1) * self.batch_size]
            return dense(rows, inputs, some, self.batch_size)

        return self.batches(self.n_batches, batch)

    def means(
        self, weights: Weights, part: np.ndarray, users: np.ndarray, items: np.ndarray
    ) -> np.ndarray:
        """Expectations of cells, on the working scale, given the ratings of a part."""
        rows = rated_rows(self.ratings, self.targets, self.shape.by, part)
        hidden = encode(weights, rows, self.shape.activation)
        at, columns = (items, users) if self.shape.by == "item" else (users, items)
        return decode(weights, hidden, at, columns)

    def penalty(self, weights: Weights) -> float:
        """Squares of both kernels."""
        kernels = (weights["hidden_kernel"], weights["output_kernel"])
        return self.shape.reg * sum(float(np.sum(one.astype(float) ** 2)) for one in kernels)


def dense(
    rows: sp.csr_array, inputs: np.ndarray, some: np.ndarray, n_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Some rows as inputs, zero where there is no rating, and as targets, NaN there.

    Both are (n_rows, n_columns) of float32; rows beyond those asked for are empty.
    """
    n_columns = rows.shape[1]
    x = np.zeros((n_rows, n_columns), dtype=np.float32)
    y = np.full((n_rows, n_columns), np.nan, dtype=np.float32)
    counts = np.diff(rows.indptr)[some]
    into = np.repeat(np.arange(len(some)), counts)
    # Places of the rows' ratings: where each row starts, and how far one is from there.
    within = np.arange(len(into)) - np.repeat(np.cumsum(counts) - counts, counts)
    at = np.repeat(rows.indptr[some], counts) + within
    columns = rows.indices[at]
    x[into, columns], y[into, columns] = inputs[at], rows.data[at]
    return x, y


def masked_squares(keras: Any, unit: float) -> Callable[[Any, Any], Any]:
    """Make the loss of a row: squared errors of its ratings alone, in units of `unit`."""
    ops = keras.ops

    def loss(y: Any, out: Any) -> Any:
        unrated = ops.isnan(y)
        # Zero before the difference, not after it: a NaN would come back through the gradient.
        errors = ops.where(unrated, 0.0, ops.where(unrated, 0.0, y) - out)
        return unit * ops.sum(errors**2, axis=-1)

    return loss


def build(keras: Any, shape: Shape, n_ratings: int, n_columns: int) -> Any:
    """Put the two layers together."""
    layers = keras.layers
    how = {"kernel_regularizer": keras.regularizers.L2(shape.reg / n_ratings), "dtype": "float32"}
    activation = "sigmoid" if shape.activation == "sigmoid" else "linear"
    row = keras.Input((n_columns,), dtype="float32", name="row")
    hidden = layers.Dense(shape.n_hidden, activation=activation, name="hidden", **how)(row)
    return keras.Model(row, layers.Dense(n_columns, name="output", **how)(hidden))
