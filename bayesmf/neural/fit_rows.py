"""The front of autoencoders of rows: `fit_autorec`. Validate, train, wrap."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bayesmf.checks import check_data
from bayesmf.neural.autoencoder import ACTIVATIONS, AutoRec, Shape
from bayesmf.neural.backend import need_keras
from bayesmf.neural.wrapping import (
    check_pace,
    common_fields,
    network_estimate,
    trained_with_progress,
)
from bayesmf.seeds import fresh_seed
from bayesmf.validation import (
    check_bool,
    check_choice,
    check_integer,
    check_number,
    check_seed,
)

if TYPE_CHECKING:
    from bayesmf.results.network_estimate import NetworkEstimate


def fit_autorec(
    ratings: object,
    *,
    by: str = "item",
    n_hidden: int = 300,
    activation: str = "sigmoid",
    dropout: float = 0.1,
    reg: float = 50.0,
    learning_rate: float = 0.003,
    batch_size: int = 256,
    max_epochs: int = 200,
    patience: int | None = 5,
    n_members: int = 1,
    validation_size: float = 0.1,
    random_seed: int | None = None,
    progressbar: bool = True,
) -> NetworkEstimate:
    """AutoRec: an autoencoder of the rows of the rating matrix.

    Needs Keras: ``pip install 'bayesmf[neural]'``.

    Parameters
    ----------
    ratings : DataFrame, Ratings, scipy sparse array, or tuple of arrays
        Observed ratings, one row each; see `Ratings`. Not changed.
    by : {"item", "user"}, default "item"
        Whose rows go through the network: an item's ratings by all users, or a user's ratings of
        all items. The first is the better one, in the paper too.
    n_hidden : int, default 300
        Units of the hidden layer.
    activation : {"sigmoid", "identity"}, default "sigmoid"
        Of the hidden layer. That of the output is the identity.
    dropout : float, default 0.1
        Share of the ratings of a row that are hidden from it, others drawn in each epoch.
    reg : float, default 50.0
        Penalty of the squared weights of both layers, for ratings in units of their sd. Half of
        the paper's lambda.
    learning_rate : float, default 0.003
        Rate of Adam in the first epoch. It is halved after every second epoch in a row that gains
        nothing on the validation part.
    batch_size : int, default 256
        Rows of a step; so many are dense at a time.
    max_epochs, patience, n_members, validation_size, random_seed, progressbar
        As in `fit_neural_mf`.

    Returns
    -------
    NetworkEstimate
        Its predictions have the training ratings as input.

    Raises
    ------
    ImportError
        Without Keras.
    ValueError, TypeError
        For wrong arguments or data before any work starts; and for a `learning_rate` at which the
        weights grow without bound.

    Notes
    -----
    Sedhain, Menon, Sanner & Xie (2015), "AutoRec: Autoencoders meet collaborative filtering", WWW,
    eq. 1-3. Ratings are first moved to a mean of 3 and an sd of 1, so that a missing one, which is
    zero, is unlike all others on any scale.

    A user without ratings is predicted, for an item, what users are on average; an item without
    ratings is an empty row.

    Examples
    --------
    >>> import bayesmf
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> auto = bayesmf.neural.fit_autorec(ratings, n_hidden=5, max_epochs=3, random_seed=1,
    ...                                   progressbar=False)
    >>> len(auto.loss), auto.predict([(0, 1), (0, 999)]).columns.tolist()
    (4, ['user', 'item', 'mean'])
    """
    function = "fit_autorec"
    check_choice(by, "by", function, ("item", "user"))
    units = check_integer(n_hidden, "n_hidden", function, minimum=1)
    check_choice(activation, "activation", function, ACTIVATIONS)
    dropout = check_number(dropout, "dropout", function, at_least=0, below=1)
    reg = check_number(reg, "reg", function, at_least=0)
    pace = check_pace(learning_rate, batch_size, max_epochs, patience, function)
    members = check_integer(n_members, "n_members", function, minimum=1)
    share = check_number(validation_size, "validation_size", function, above=0, below=1)
    seed = fresh_seed(check_seed(random_seed, function))
    check_bool(progressbar, "progressbar", function)
    data, _ = check_data(ratings, None, function)
    keras = need_keras(function)

    started = time.perf_counter()
    network = AutoRec(keras, data, Shape(by, units, activation, dropout, reg), pace.batch_size)
    trained = trained_with_progress(
        network, pace, n_members=members, validation_size=share, seed=seed, show=progressbar,
        function=function,
    )  # fmt: skip
    settings = {
        "by": by, "n_hidden": units, "activation": activation, "dropout": dropout, "reg": reg,
        "n_members": members, "validation_size": share, "random_seed": seed, **pace._asdict(),
    }  # fmt: skip
    return network_estimate(
        network, "autorec", trained, common_fields(network, trained, settings, "Adam", started)
    )
