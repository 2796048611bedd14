"""The front of networks of embeddings: `fit_neural_mf`. Validate, train, wrap."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from bayesmf.checks import check_data
from bayesmf.neural.backend import need_keras
from bayesmf.neural.embeddings import KINDS, Embeddings, Shape
from bayesmf.neural.wrapping import (
    check_pace,
    common_fields,
    network_estimate,
    trained_with_progress,
)
from bayesmf.results.factor_estimate import FactorEstimate
from bayesmf.seeds import fresh_seed
from bayesmf.validation import (
    check_bool,
    check_choice,
    check_integer,
    check_number,
    check_seed,
    fail,
)

if TYPE_CHECKING:
    from bayesmf.results.point_estimate import PointEstimate

STRENGTH = 10.0
"""The penalty of factors by default, in sds of the ratings."""


def fit_neural_mf(
    ratings: object,
    *,
    kind: str = "dot",
    n_factors: int = 10,
    n_hidden: int = 400,
    reg: float | None = None,
    reg_bias: float = 4.0,
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    batch_size: int = 256,
    max_epochs: int = 200,
    patience: int | None = 5,
    n_members: int = 1,
    validation_size: float = 0.1,
    random_seed: int | None = None,
    progressbar: bool = True,
) -> PointEstimate:
    """Matrix factorization as a network of embeddings, with or without a network of layers.

    Needs Keras: ``pip install 'bayesmf[neural]'``.

    Parameters
    ----------
    ratings : DataFrame, Ratings, scipy sparse array, or tuple of arrays
        Observed ratings, one row each; see `Ratings`. Not changed.
    kind : {"dot", "deep", "residual"}, default "dot"
        "dot": the dot product of an embedding of the user and one of the item, and two biases,
        which is matrix factorization. "deep": the embeddings, one after the other, through a layer
        of rectified units. "residual": the sum of both, with embeddings of their own.
    n_factors : int, default 10
        Width of the embeddings.
    n_hidden : int, default 400
        Units of the hidden layer of "deep" and "residual".
    reg : float, optional
        Penalty of squared factors; by default 10 sds of the ratings. Networks have the same one, in
        units of the ratings' sd, for their embeddings and kernels.
    reg_bias : float, default 4.0
        Penalty of squared biases of users and items.
    learning_rate : float, default 0.1
        Rate of the first epoch, for ratings in units of their sd. It is halved after every second
        epoch in a row that gains nothing on the validation part.
    momentum : float, default 0.9
        Share of the last step that the next one repeats.
    batch_size : int, default 256
        Ratings of a step.
    max_epochs : int, default 200
        Most times that a fit goes over the ratings.
    patience : int or None, default 5
        Stop after so many epochs without a gain on the validation part. None never stops, and
        never lowers the rate.
    n_members : int, default 1
        Networks from different seeds, whose mean predicts, and whose spread enters the intervals
        (Lakshminarayanan, Pritzel & Blundell 2017). Only 1 for "dot".
    validation_size : float, default 0.1
        Share of the ratings held out to find the number of epochs and to measure `sigma`; then all
        ratings are fitted at the rates that were found.
    random_seed : int, optional
        Non-negative, for the start, the order of the ratings and the held-out part. The same seed
        gives the same result on one machine with one backend.
    progressbar : bool, default True
        Whether to show progress.

    Returns
    -------
    FactorEstimate or NetworkEstimate
        The first for "dot": its embeddings are factors, and it can do what `fit_als` can.

    Raises
    ------
    ImportError
        Without Keras.
    ValueError, TypeError
        For wrong arguments or data before any work starts; and for a `learning_rate` at which the
        weights grow without bound.

    Notes
    -----
    "dot" minimises the loss of `fit_als` with these penalties, by stochastic gradient descent with
    momentum. Networks of embeddings: He et al. (2017), "Neural collaborative filtering", WWW; that
    a dot product is hard to beat: Rendle, Krichene, Zhang & Anderson (2020), RecSys.

    Examples
    --------
    >>> import bayesmf
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> dot = bayesmf.neural.fit_neural_mf(ratings, n_factors=2, max_epochs=3, random_seed=1,
    ...                                    progressbar=False)
    >>> dot.similar_items(3, n=2)["rank"].tolist()
    [1, 2]
    """
    function = "fit_neural_mf"
    check_choice(kind, "kind", function, KINDS)
    rank = check_integer(n_factors, "n_factors", function, minimum=1)
    units = check_integer(n_hidden, "n_hidden", function, minimum=1)
    if reg is not None:
        reg = check_number(reg, "reg", function, at_least=0)
    reg_bias = check_number(reg_bias, "reg_bias", function, at_least=0)
    momentum = check_number(momentum, "momentum", function, at_least=0, below=1)
    pace = check_pace(learning_rate, batch_size, max_epochs, patience, function)
    members = check_integer(n_members, "n_members", function, minimum=1)
    if kind == "dot" and members > 1:
        fail("n_members", function, "1 for kind='dot', which has one set of factors", members)
    share = check_number(validation_size, "validation_size", function, above=0, below=1)
    seed = fresh_seed(check_seed(random_seed, function))
    check_bool(progressbar, "progressbar", function)
    data, _ = check_data(ratings, None, function)
    keras = need_keras(function)

    started = time.perf_counter()
    strength = STRENGTH * data.sd if reg is None else reg
    # A factor is in roots of the unit of ratings, so that its penalty is in that unit.
    shape = Shape(kind, rank, units, strength / data.sd, reg_bias)
    network = Embeddings(keras, data, shape, momentum, pace.batch_size)
    trained = trained_with_progress(
        network, pace, n_members=members, validation_size=share, seed=seed, show=progressbar,
        function=function,
    )  # fmt: skip
    settings = {
        "n_factors": rank, "reg": strength, "reg_bias": reg_bias, "momentum": momentum,
        "n_members": members, "validation_size": share, "random_seed": seed, **pace._asdict(),
    }  # fmt: skip
    common = common_fields(network, trained, settings, "SGD", started)
    if kind != "dot":
        settings["n_hidden"] = units
        return network_estimate(network, kind, trained, common)
    (weights,) = ({name: one.astype(float) for name, one in w.items()} for w in trained.members)
    root = np.sqrt(network.scale)
    factors = [root * weights[f"{side}_factors"] for side in ("user", "item")]
    biases = [network.scale * weights[f"{side}_bias"][:, 0] for side in ("user", "item")]
    return FactorEstimate(
        **common,
        user_factors=factors[0],
        item_factors=factors[1],
        user_bias=biases[0],
        item_bias=biases[1],
        center=network.center,
        reg=strength,
        reg_bias=reg_bias,
        unknown=(factors[0].mean(axis=0), factors[1].mean(axis=0)),
    )
