"""Stochastic gradient descent on squared error: batches of ratings, one epoch a call."""

from __future__ import annotations

import numpy as np

from bayesmf.kernels.compiling import compiled, inner


@inner
def move(row, rows, pull, count, decay, rate):
    """Move a row as the batch asks, and forget the batch: a second time it has none."""
    if count[row] == 0:
        return
    for a in range(rows.shape[1]):
        shrunk = 1 + rate * count[row] * decay[row, a]
        rows[row, a] = (rows[row, a] + rate * pull[row, a]) / shrunk
        pull[row, a] = 0.0
    count[row] = 0


@compiled
def descend(
    order, batch_size, users, items, targets, user_rows, item_rows, k, has_bias,
    user_decay, item_decay, rates,
):  # fmt: skip
    """Go through the ratings once in this order, a batch at a time; rows are changed in place.

    With e = y - u.v - b - c in the rows as they are before a batch, its ratings pull u by the sum
    of e v, v by that of e u, b and c by that of e. `user_decay` (n_users, D) and `item_decay`
    (n_items, D) are a rating's share of the penalties, of which a row bears as many as it has
    ratings in the batch. It moves to (row + rate pull) / (1 + rate decay): the penalty is that of
    where it arrives, so that none is too strong for a rate. `rates` has one for each batch.
    """
    n = order.size
    user_pull, item_pull = np.zeros_like(user_rows), np.zeros_like(item_rows)
    user_count = np.zeros(len(user_rows), np.int64)
    item_count = np.zeros(len(item_rows), np.int64)
    for batch in range(rates.size):
        lo, hi, rate = batch * batch_size, min((batch + 1) * batch_size, n), rates[batch]
        for t in range(lo, hi):
            i, j = users[order[t]], items[order[t]]
            e = targets[order[t]]
            for a in range(k):
                e -= user_rows[i, a] * item_rows[j, a]
            if has_bias:
                e -= user_rows[i, k] + item_rows[j, k]
                user_pull[i, k] += e
                item_pull[j, k] += e
            for a in range(k):
                user_pull[i, a] += e * item_rows[j, a]
                item_pull[j, a] += e * user_rows[i, a]
            user_count[i] += 1
            item_count[j] += 1
        for t in range(lo, hi):
            move(users[order[t]], user_rows, user_pull, user_count, user_decay, rate)
            move(items[order[t]], item_rows, item_pull, item_count, item_decay, rate)
