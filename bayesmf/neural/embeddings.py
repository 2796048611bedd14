"""Networks of embeddings in Keras: a dot product, a network of layers, and the sum of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bayesmf.neural.training import Network
from bayesmf.point.forward import embedding_means

if TYPE_CHECKING:
    from bayesmf.point.forward import Weights
    from bayesmf.ratings import Ratings

KINDS = ("dot", "deep", "residual")
START_SD = 0.1
"""Sd of factors and embeddings at the start, on the working scale."""


class Shape(NamedTuple):
    """What the network is made of; penalties are those of the working scale."""

    kind: str
    n_factors: int
    n_hidden: int
    reg: float
    reg_bias: float


class Embeddings(Network):
    """u_i . v_j + b_i + c_j, or w . relu(A (p_i, q_j) + a) + d, or the sum of both."""

    def __init__(
        self, keras: Any, ratings: Ratings, shape: Shape, momentum: float, batch_size: int
    ) -> None:
        self.shape, self.batch_size = shape, min(batch_size, len(ratings))
        model = build(keras, shape, len(ratings), ratings.n_users, ratings.n_items)
        optimizer = keras.optimizers.SGD(momentum=momentum)
        # Weights of ratings make a step's loss what `Network` says, however many are in a batch.
        model.compile(optimizer=optimizer, loss="mean_squared_error")
        super().__init__(keras, model, ratings, center=ratings.mean, scale=ratings.sd)

    def start(self, rng: np.random.Generator) -> Weights:
        """Draw small factors and embeddings, kernels by Glorot & Bengio (2010), no biases."""
        weights = {}
        for name, one in self._named():
            size = tuple(one.shape)
            if name.endswith("_kernel"):
                limit = np.sqrt(6 / sum(size))
                weights[name] = rng.uniform(-limit, limit, size)
            elif name.endswith("_bias"):
                weights[name] = np.zeros(size)
            else:
                weights[name] = START_SD * rng.standard_normal(size)
        return weights

    def epoch(self, part: np.ndarray, rng: np.random.Generator) -> Any:
        """Every rating once, in random order; the last batch is filled up with weights of zero."""
        size = self.batch_size
        n_batches = -(-len(part) // size)
        order = np.zeros(n_batches * size, dtype=np.intp)
        order[: len(part)] = rng.permutation(part)
        weights = np.zeros(len(order), dtype=np.float32)
        weights[: len(part)] = len(order) / len(self.ratings)
        users, items = self.ratings.users[order], self.ratings.items[order]
        targets = self.targets[order][:, None]

        def batch(k: int) -> tuple[Any, ...]:
            some = slice(k * size, (k + 1) * size)
            return (users[some], items[some]), targets[some], weights[some]

        return self.batches(n_batches, batch)

    def means(
        self, weights: Weights, part: np.ndarray, users: np.ndarray, items: np.ndarray
    ) -> np.ndarray:
        """Expectations of cells, on the working scale."""
        del part  # all that is known of it has gone into the weights
        return embedding_means(weights, users, items)

    def penalty(self, weights: Weights) -> float:
        """Squares of biases of users and items, and of all else that is not the bias of a layer."""
        return sum(
            self._strength(name) * float(np.sum(one.astype(float) ** 2))
            for name, one in weights.items()
        )

    def _strength(self, name: str) -> float:
        if name in ("user_bias", "item_bias"):
            return self.shape.reg_bias
        return 0.0 if name.endswith("_bias") else self.shape.reg


def build(keras: Any, shape: Shape, n_ratings: int, n_users: int, n_items: int) -> Any:
    """Put the layers together: pairs of codes in, ratings on the working scale out."""
    layers = keras.layers

    def l2(penalty: float) -> Any:
        return keras.regularizers.L2(penalty / n_ratings)

    def embed(codes: Any, n_rows: int, width: int, name: str, penalty: float) -> Any:
        return layers.Embedding(
            n_rows, width, embeddings_regularizer=l2(penalty), name=name, dtype="float32"
        )(codes)

    user = keras.Input((), dtype="int32", name="user")
    item = keras.Input((), dtype="int32", name="item")
    branches = []
    if shape.kind != "deep":
        u = embed(user, n_users, shape.n_factors, "user_factors", shape.reg)
        v = embed(item, n_items, shape.n_factors, "item_factors", shape.reg)
        branches += [
            layers.Dot(axes=1, dtype="float32")([u, v]),
            embed(user, n_users, 1, "user_bias", shape.reg_bias),
            embed(item, n_items, 1, "item_bias", shape.reg_bias),  # one for each item
        ]
    if shape.kind != "dot":
        p = embed(user, n_users, shape.n_factors, "user_embedding", shape.reg)
        q = embed(item, n_items, shape.n_factors, "item_embedding", shape.reg)
        both = layers.Concatenate(dtype="float32")([p, q])
        how = {"kernel_regularizer": l2(shape.reg), "dtype": "float32"}
        hidden = layers.Dense(shape.n_hidden, activation="relu", name="hidden", **how)(both)
        branches.append(layers.Dense(1, name="output", **how)(hidden))
    out = branches[0] if len(branches) == 1 else layers.Add(dtype="float32")(branches)
    return keras.Model([user, item], out)
