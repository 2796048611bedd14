"""What networks say of cells: their forward passes in plain NumPy, on the working scale.

Weights are a dictionary of arrays under the names that the layers of `bayesmf.neural` have. A row
that was never seen has code -1, which finds what stands for it after the last row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from scipy.special import expit

from bayesmf.indexing import chunks

if TYPE_CHECKING:
    from bayesmf.ratings import Ratings

type Weights = dict[str, np.ndarray]

AT_ONCE = 2_000_000
"""Numbers in the largest intermediate array."""


def embedding_means(weights: Weights, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Sum of the branches that there are: u_i . v_j + b_i + c_j, and a network of embeddings.

    An unknown row has the mean of the known ones' factors and embeddings, and no bias.
    """
    means = np.zeros(len(users))
    if "user_factors" in weights:
        left, right = _rows(weights, "user_factors"), _rows(weights, "item_factors")
        for part in chunks(len(users), max(1, AT_ONCE // left.shape[1])):
            means[part] += np.einsum("nk,nk->n", left[users[part]], right[items[part]])
        for name, codes in (("user_bias", users), ("item_bias", items)):
            means += np.append(weights[name][:, 0].astype(float), 0.0)[codes]
    if "hidden_kernel" in weights:
        # The layer's product with (p_i, q_j) is one with p_i plus one with q_j: each once a row.
        own, partners = _rows(weights, "user_embedding"), _rows(weights, "item_embedding")
        kernel = weights["hidden_kernel"].astype(float)
        left = own @ kernel[: own.shape[1]] + weights["hidden_bias"]
        right = partners @ kernel[own.shape[1] :]
        out = weights["output_kernel"][:, 0].astype(float)
        for part in chunks(len(users), max(1, AT_ONCE // len(out))):
            layer = left[users[part]]
            layer += right[items[part]]
            means[part] += np.maximum(layer, 0.0, out=layer) @ out
        means += weights["output_bias"][0]
    return means


def _rows(weights: Weights, name: str) -> np.ndarray:
    known = weights[name].astype(float)
    return np.concatenate([known, known.mean(axis=0, keepdims=True)])


def rated_rows(
    ratings: Ratings, values: np.ndarray, by: str, part: np.ndarray | None = None
) -> sp.csr_array:
    """Values of ratings, or of a part of them, as a sparse row for each item or user."""
    rows, columns, shape = ratings.users, ratings.items, (ratings.n_users, ratings.n_items)
    if by == "item":
        rows, columns, shape = columns, rows, shape[::-1]
    if part is not None:
        rows, columns, values = rows[part], columns[part], values[part]
    return sp.csr_array((values.astype(np.float32), (rows, columns)), shape=shape)


def encode(weights: Weights, rows: sp.csr_array, activation: str) -> np.ndarray:
    """Hidden layer (n_rows + 1, H) of sparse rows; the last one is that of an empty row."""
    product = rows @ weights["hidden_kernel"]
    product = np.concatenate([product, np.zeros_like(product[:1])]) + weights["hidden_bias"]
    return np.asarray(expit(product) if activation == "sigmoid" else product)


def decode(
    weights: Weights, hidden: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Cells of the output layer, by row and column; an unknown column is the mean of all."""
    kernel, bias = output_columns(weights)
    means = np.empty(len(rows))
    for part in chunks(len(rows), max(1, AT_ONCE // kernel.shape[1])):
        means[part] = np.einsum("nh,nh->n", hidden[rows[part]], kernel[columns[part]])
    return means + bias[columns]


def output_columns(weights: Weights) -> tuple[np.ndarray, np.ndarray]:
    """Output layer by column, (n_columns + 1, H) and (n_columns + 1,): the last, the mean."""
    kernel, bias = weights["output_kernel"].T, weights["output_bias"]
    mean = kernel.mean(axis=0, keepdims=True)
    return np.concatenate([kernel, mean]), np.append(bias, bias.mean())
