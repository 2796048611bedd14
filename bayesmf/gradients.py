"""The loss of least squares as a function of one vector, and a check of any gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from bayesmf.checks import check_data
from bayesmf.point.als import INITIAL_SPREAD, SIDES, Penalty
from bayesmf.seeds import generator
from bayesmf.validation import Described, check_bool, check_integer, check_number, check_seed, fail

if TYPE_CHECKING:
    from collections.abc import Callable


class SquaredLoss:
    """Penalised squared error of a table of ratings, and its gradient.

    Parameters
    ----------
    ratings : DataFrame, Ratings, or other table of ratings
    n_factors : int, default 2
    biases : bool, default True
    reg, reg_bias : float, default 0
        Penalties of squared factors and squared biases.
    weighted : bool, default False
        Multiply each row's penalty by its number of ratings.
    center : bool, default True
        Take the mean rating out first.

    Attributes
    ----------
    size : int
        Length of the vector: user factors, item factors, user biases, item biases, end to end.

    Raises
    ------
    ValueError, TypeError
        For wrong arguments or data.

    Notes
    -----
    The loss is that of `fit_als` and `fit_sgd` (Koren, Bell & Volinsky 2009, eq. 5), on centred
    ratings::

        sum (r_ij - u_i.v_j - b_i - c_j)^2 + reg (sum |u_i|^2 + sum |v_j|^2)
            + reg_bias (sum b_i^2 + sum c_j^2)

    Examples
    --------
    >>> import bayesmf
    >>> ratings = bayesmf.simulate(20, 15, 100, random_seed=1).ratings
    >>> loss = bayesmf.SquaredLoss(ratings, n_factors=2, reg=1.0)
    >>> value, gradient = loss(loss.start(random_seed=1))
    >>> gradient.shape == (loss.size,)
    True
    """

    def __init__(
        self,
        ratings: object,
        n_factors: int = 2,
        *,
        biases: bool = True,
        reg: float = 0.0,
        reg_bias: float = 0.0,
        weighted: bool = False,
        center: bool = True,
    ) -> None:
        function = "SquaredLoss"
        k = check_integer(n_factors, "n_factors", function)
        check_bool(biases, "biases", function)
        check_bool(weighted, "weighted", function)
        check_bool(center, "center", function)
        self._penalty = Penalty(
            check_number(reg, "reg", function, at_least=0),
            check_number(reg_bias, "reg_bias", function, at_least=0),
            weighted,
        )
        data, _ = check_data(ratings, None, function)
        self._targets = data.values - (data.mean if center else 0.0)
        self._codes = {"user": data.users, "item": data.items}
        self._sd = data.sd
        self._shapes: dict[str, tuple[int, ...]] = {
            "user_factors": (data.n_users, k),
            "item_factors": (data.n_items, k),
        }
        if biases:
            self._shapes |= {"user_bias": (data.n_users,), "item_bias": (data.n_items,)}
        self.size = sum(int(np.prod(shape)) for shape in self._shapes.values())

    def start(self, *, random_seed: int | None = None) -> np.ndarray:
        """Random vector (size,) to start from; the same for the same seed."""
        seed = check_seed(random_seed, "start")
        rng = np.random.default_rng() if seed is None else generator(seed, "loss")
        return INITIAL_SPREAD * np.sqrt(self._sd) * rng.standard_normal(self.size)

    def split(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        """Parts of a vector by name: `user_factors` (n_users, K), `user_bias` (n_users,), ..."""
        flat = np.asarray(vector, dtype=np.float64)
        if flat.shape != (self.size,):
            must = f"a vector of length {self.size}"
            fail("vector", "SquaredLoss", must, Described(f"shape {flat.shape}"))
        ends = np.cumsum([int(np.prod(shape)) for shape in self._shapes.values()])[:-1]
        parts = np.split(flat, ends)
        return {
            name: part.reshape(shape)
            for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }

    def __call__(self, vector: np.ndarray) -> tuple[float, np.ndarray]:
        """Loss, and its gradient (size,), at a vector (size,)."""
        parts = self.split(vector)
        users, items = self._codes["user"], self._codes["item"]
        U, V = parts["user_factors"], parts["item_factors"]
        errors = self._targets - np.einsum("nk,nk->n", U[users], V[items])
        if "user_bias" in parts:
            errors -= parts["user_bias"][users] + parts["item_bias"][items]
        loss, gradients = float(errors @ errors), []
        for side, others in zip(SIDES, (V[items], U[users]), strict=True):
            gradients.append(self._toward(side, others * errors[:, None]))
        gradients += [self._toward(side, errors) for side in SIDES if "user_bias" in parts]
        for gradient, (name, part) in zip(gradients, parts.items(), strict=True):
            side, kind = name.split("_")
            penalty = self._penalty.reg_bias if kind == "bias" else self._penalty.of(side)
            weight = np.bincount(self._codes[side]) if self._penalty.weighted else 1.0
            scaled = penalty * (part.T * weight).T
            loss += float((scaled * part).sum())
            np.add(gradient, 2 * scaled, out=gradient)
        return loss, np.concatenate([one.ravel() for one in gradients])

    def _toward(self, side: str, pull: np.ndarray) -> np.ndarray:
        # Minus twice the sum over each row's ratings.
        n = self._shapes[f"{side}_factors"][0]
        total = np.zeros((n, *pull.shape[1:]))
        np.add.at(total, self._codes[side], pull)
        return -2 * total


class GradientCheck(NamedTuple):
    """What `check_gradient` found.

    Attributes
    ----------
    relative_error : float
        Length of the difference between both gradients, over the greater of their lengths.
    table : DataFrame
        `analytic` and `numeric` by `coordinate`, for those that were looked at.
    """

    relative_error: float
    table: pd.DataFrame

    def __repr__(self) -> str:
        return f"<GradientCheck of {len(self.table)} coordinates: {self.relative_error:.1e}>"


def check_gradient(
    loss: Callable[[np.ndarray], tuple[float, np.ndarray]],
    at: object,
    *,
    n_coordinates: int = 200,
    step: float = 1e-5,
    random_seed: int = 0,
) -> GradientCheck:
    """Compare a gradient with central differences of its function.

    Parameters
    ----------
    loss : callable
        Of a vector (n,), giving the function's value and its gradient (n,); `SquaredLoss` is one.
    at : array of float, shape (n,)
        Where to look.
    n_coordinates : int, default 200
        Coordinates to look at, chosen at random if there are more.
    step : float, default 1e-5
        Half the distance of a difference, times the size of the coordinate where it exceeds 1.
    random_seed : int, default 0

    Returns
    -------
    GradientCheck

    Raises
    ------
    ValueError, TypeError
        For wrong arguments, and a function that gives something else.

    Notes
    -----
    (f(x + h) - f(x - h)) / 2h errs by h^2 f''' / 6, and by rounding of f over h.

    Examples
    --------
    >>> import bayesmf
    >>> ratings = bayesmf.simulate(20, 15, 100, random_seed=1).ratings
    >>> loss = bayesmf.SquaredLoss(ratings, n_factors=2, reg=1.0, reg_bias=0.5)
    >>> bayesmf.check_gradient(loss, loss.start(random_seed=1)).relative_error < 1e-7
    True
    """
    function = "check_gradient"
    if not callable(loss):
        fail("loss", function, "callable", Described(type(loss).__name__), TypeError)
    try:
        x = np.asarray(at, dtype=np.float64)
    except (TypeError, ValueError):
        fail("at", function, "a vector of finite numbers", Described(type(at).__name__), TypeError)
    if x.ndim != 1 or not x.size or not np.isfinite(x).all():
        fail("at", function, "a vector of finite numbers", Described(f"shape {x.shape}"))
    many = check_integer(n_coordinates, "n_coordinates", function, minimum=1)
    half = check_number(step, "step", function, above=0)
    seed = check_seed(random_seed, function)
    rng = np.random.default_rng(seed)
    value, found = _both(loss(x.copy()), function)
    if found.shape != x.shape:
        must = f"a function whose gradient has the shape {x.shape} of 'at'"
        fail("loss", function, must, Described(f"one of shape {found.shape}"))
    if not (np.isfinite(value) and np.isfinite(found).all()):
        must = "a function that is finite, with its gradient, at 'at'"
        fail("loss", function, must, Described("NaN or infinity"))
    looked = np.sort(rng.permutation(x.size)[:many])
    numeric = np.empty(len(looked))
    for place, one in enumerate(looked):
        values, h = [], half * max(1.0, abs(x[one]))
        for sign in (1, -1):
            moved = x.copy()
            moved[one] += sign * h
            values.append(float(loss(moved)[0]))
        numeric[place] = (values[0] - values[1]) / (2 * h)
    analytic = found[looked]
    size = max(np.linalg.norm(analytic), np.linalg.norm(numeric))
    error = float(np.linalg.norm(analytic - numeric) / size) if size > 0 else 0.0
    columns = {"coordinate": looked, "analytic": analytic, "numeric": numeric}
    return GradientCheck(error, pd.DataFrame(columns))


def _both(given: Any, function: str) -> tuple[float, np.ndarray]:
    try:
        value, gradient = given
        return float(value), np.asarray(gradient, dtype=np.float64)
    except (TypeError, ValueError):
        must = "a function that gives its value, a number, and its gradient, an array of numbers"
        fail("loss", function, must, Described(f"one that gives {type(given).__name__}"), TypeError)
