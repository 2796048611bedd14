"""The models for people who use PyMC themselves: `bpmf_model`, `pmf_model`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayesmf.checks import check_data
from bayesmf.model import BPMF
from bayesmf.pmf import Spreads, check_pmf, check_spread
from bayesmf.pymc_engine.models import build_bpmf, build_pmf

if TYPE_CHECKING:
    import pymc as pm

    from bayesmf.model import GammaPrior, NormalWishart


def bpmf_model(
    ratings: object,
    *,
    n_factors: int = 10,
    biases: bool = True,
    prior: NormalWishart | None = None,
    alpha: float | GammaPrior | None = None,
    center: str | float = "mean",
    scale: str | float = "sd",
) -> pm.Model:
    """Bayesian matrix factorization as a PyMC model, with exactly the priors of `fit_bpmf`.

    Parameters
    ----------
    ratings : DataFrame, Ratings, scipy sparse array, or tuple of arrays
        Observed ratings, one row each; see `Ratings`. Not changed.
    n_factors, biases, prior, alpha, center, scale
        As in `fit_bpmf`.

    Returns
    -------
    pymc.Model
        `user_rows` and `item_rows` (n, D) hold factors and, as last coordinate, biases;
        `user_factors`, `user_bias` and so on are their parts. Above them stand `mu_user`,
        `precision_user`, `strength_user` and the two parts of Bartlett's decomposition of the
        Wishart. All are on the working scale, (rating - center) / scale; `rating`, which is
        observed, is on its own. Dimensions are named `user`, `item`, `factor`, `coordinate`, with
        the ids as coordinates.

    Raises
    ------
    ValueError, TypeError
        For wrong arguments or data.

    Notes
    -----
    The Wishart enters by its Bartlett decomposition (Smith & Hocking 1972, AS 53), so that NUTS and
    ADVI move without constraints. Rows have a log density of their own, for the same reason: with
    Lambda = B B' it needs no inverse.

    Examples
    --------
    >>> import bayesmf
    >>> ratings = bayesmf.simulate(20, 15, 120, random_seed=1).ratings
    >>> model = bayesmf.bpmf_model(ratings, n_factors=2)
    >>> model.named_vars_to_dims["user_factors"]
    ('user', 'factor')
    """
    function = "bpmf_model"
    data, _ = check_data(ratings, None, function)
    model = BPMF.checked(
        function, n_factors=n_factors, biases=biases, prior=prior, alpha=alpha, center=center,
        scale=scale,
    )  # fmt: skip
    return build_bpmf(data, model)


def pmf_model(
    ratings: object,
    *,
    n_factors: int = 10,
    biases: bool = True,
    link: str = "identity",
    sigma: float | None = None,
    sigma_user: float | None = None,
    sigma_item: float | None = None,
    sigma_bias: float | None = None,
    center: bool = True,
    learn_means: bool = False,
    rating_range: tuple[float, float] | None = None,
) -> pm.Model:
    """Probabilistic matrix factorization (Salakhutdinov & Mnih 2007) as a PyMC model.

    Parameters
    ----------
    ratings : DataFrame, Ratings, scipy sparse array, or tuple of arrays
        Observed ratings, one row each; see `Ratings`. Not changed.
    n_factors : int, default 10
        Rank of the interaction; 0 leaves the bias-only model.
    biases : bool, default True
        Whether users and items have biases. The model as published has none.
    link : {"identity", "logistic"}, default "identity"
        Whether a cell's expected rating is u.v + b + c, or that squashed into `rating_range`.
    sigma, sigma_user, sigma_item, sigma_bias : float, optional
        Standard deviations of the noise, of users' factors, items' factors and biases. One that is
        not given is learned, with a half-normal prior: by NUTS or ADVI, but never by MAP, whose
        density grows without bound as a spread and all that it is the spread of go to zero.
    center : bool, default True
        Take the mean rating (on the link's scale) out first.
    learn_means : bool, default False
        Whether the means of the factors' priors are free, as in the paper's adaptive priors, and
        not zero: normal, with the root of the ratings' sd (of 1 with the logistic link) as theirs.
        Then factors can do what biases do.
    rating_range : (low, high), optional
        What the logistic link squashes into; by default the range of the ratings.

    Returns
    -------
    pymc.Model
        With `user_factors`, `item_factors`, `user_bias`, `item_bias` and the observed `rating`, in
        dimensions `user`, `item`, `factor`. Spreads that are given are data of the model, which
        `pymc.set_data` changes.

    Raises
    ------
    ValueError, TypeError
        For wrong arguments or data.

    Examples
    --------
    >>> import bayesmf
    >>> ratings = bayesmf.simulate(20, 15, 120, random_seed=1).ratings
    >>> model = bayesmf.pmf_model(ratings, n_factors=2, sigma_user=0.5, sigma_item=0.5)
    >>> sorted(variable.name for variable in model.free_RVs)
    ['item_bias', 'item_factors', 'sigma', 'sigma_bias', 'user_bias', 'user_factors']
    """
    function = "pmf_model"
    given = {"sigma": sigma, "sigma_user": sigma_user, "sigma_item": sigma_item}
    given["sigma_bias"] = sigma_bias
    data, _ = check_data(ratings, None, function)
    model = check_pmf(
        data, function, n_factors=n_factors, biases=biases, link=link, center=center,
        learn_means=learn_means, rating_range=rating_range,
    )  # fmt: skip
    spreads = {
        name: None if value is None else check_spread(value, name, function)
        for name, value in given.items()
    }
    return build_pmf(data, model._replace(spreads=Spreads(**spreads)))
