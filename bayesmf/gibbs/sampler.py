"""One sweep: `step(state, streams) -> (state, info)`, a pure function of both, made of blocks.

The scan of a sweep, each block given the newest value of all others:

    (mu_U, Lambda_U, w_U) | U,   U | V, mu_U, Lambda_U, alpha, y,
    (mu_V, Lambda_V, w_V) | V,   V | U, mu_V, Lambda_V, alpha, y,   alpha | U, V, y

and before alpha, in two of four sweeps, the moves of one side (`moves.py`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from bayesmf.gibbs import moves
from bayesmf.gibbs.conditionals import Hyper, draw_alpha, draw_hyper, draw_strength
from bayesmf.gibbs.engines import Residuals, RowTask
from bayesmf.kernels.residuals import sum_products
from bayesmf.kernels.streams import Purpose, Streams
from bayesmf.model import FAR, GammaPrior

if TYPE_CHECKING:
    from bayesmf.gibbs.conditionals import Moments
    from bayesmf.gibbs.engines import Engine
    from bayesmf.kernels.blocks import Data
    from bayesmf.model import BPMF, SidePrior


class State(NamedTuple):
    """Everything that a chain is, on the working scale.

    Attributes
    ----------
    sweep : int
        Sweeps done; the next one's random streams are addressed by it.
    user_rows, item_rows : ndarray, shapes (n_users, D) and (n_items, D)
        Factors, and the bias as last coordinate where the model has biases, in the type that rows
        are computed in.
    user_hyper, item_hyper : Hyper
        Mean, precision and prior strength of the rows on each side.
    alpha : float
        Noise precision.
    squared_error : float
        Sum of squared residuals of the rows, or NaN where it is not known.
    user_moments, item_moments : (mean, scatter), optional
        Mean (D,) and centred scatter (D, D) of the rows, where a sweep has left them for the next.
        What is not known is worked out when it is needed; whoever replaces rows clears it.
    """

    sweep: int
    user_rows: np.ndarray
    item_rows: np.ndarray
    user_hyper: Hyper
    item_hyper: Hyper
    alpha: float
    squared_error: float = math.nan
    user_moments: Moments | None = None
    item_moments: Moments | None = None

    def rows(self, side: str) -> np.ndarray:
        """Rows of one side, "user" or "item"."""
        return self.user_rows if side == "user" else self.item_rows

    def hyper(self, side: str) -> Hyper:
        """Hyperparameters of one side."""
        return self.user_hyper if side == "user" else self.item_hyper

    def moments(self, side: str) -> Moments | None:
        """Moments of one side's rows, where they are known."""
        return self.user_moments if side == "user" else self.item_moments

    def with_side(self, side: str, rows: np.ndarray, hyper: Hyper | None = None) -> State:
        """Return the state with one side's rows, and hyperparameters if they are given, new."""
        hyper = hyper or self.hyper(side)
        if side == "user":
            new = self._replace(user_rows=rows, user_hyper=hyper, user_moments=None)
        else:
            new = self._replace(item_rows=rows, item_hyper=hyper, item_moments=None)
        return new._replace(squared_error=math.nan)


class Info(NamedTuple):
    """What a sweep finds out on its way, on the working scale.

    Attributes
    ----------
    squared_error : float
        Sum of squared residuals of the state's rows.
    log_likelihood : float
        Log density of the ratings (on the working scale) under the state.
    """

    squared_error: float
    log_likelihood: float


class Block(Protocol):
    """A draw of one part of the state given all others, on the streams of `state.sweep`."""

    def __call__(self, state: State, streams: Streams) -> State:
        """Return the state with that part new."""


class Step(Protocol):
    """A transition that leaves the posterior invariant."""

    def __call__(self, state: State, streams: Streams) -> tuple[State, Info]:
        """Return the next state."""


SIDES = ("user", "item")
MOVES_EVERY, TURNS = 4, {1: "user", 2: "item"}
"""Whose moves belong to a sweep, by its number modulo four; each takes a sum of squares."""

MOST_SPREAD = 0.15
"""Most that factors are spread at the start. From a wide start a chain first explains noise by
factors and takes long to unlearn it; a start at zero would be a saddle."""


def side_priors(data: Data, model: BPMF) -> tuple[SidePrior, SidePrior]:
    """Priors of the rows of users and of items."""
    users, items = (
        model.prior.resolve(side.side.n_rows, model.n_factors, model.biases)
        for side in (data.users, data.items)
    )
    return users, items


def initial_state(data: Data, model: BPMF, streams: Streams) -> State:
    """Start a chain: factors near zero, no biases, precisions to match."""
    rng = streams.generator(0, Purpose.INITIAL)
    rows, hypers = [], []
    for side, prior in zip((data.users, data.items), side_priors(data, model), strict=True):
        spread = np.minimum(0.5 * np.sqrt(prior.strength / prior.dof), MOST_SPREAD)
        side_rows = rng.standard_normal((side.side.n_rows, len(spread))) * spread
        if model.biases:
            side_rows[:, -1] = 0.0
        rows.append(side_rows.astype(data.dtype, copy=False))
        hypers.append(Hyper(prior.mu0, np.diag(1 / spread**2), prior.strength))
    alpha = 1.0 if isinstance(model.alpha, GammaPrior) else float(model.alpha)
    return State(0, rows[0], rows[1], hypers[0], hypers[1], alpha)


def build_blocks(data: Data, model: BPMF, engine: Engine) -> dict[str, Block]:
    """Make the blocks of all sweeps, by name, in the order of the scan.

    Each leaves the posterior invariant by itself, whatever the order.
    """
    user_prior, item_prior = side_priors(data, model)

    def user_hyper(state: State, streams: Streams) -> State:
        rng, n = streams.generator(state.sweep, Purpose.USER_HYPER), len(state.user_rows)
        moments = state.user_moments or engine.moments(state.user_rows)
        drawn = draw_hyper(moments, n, state.user_hyper, user_prior, rng)
        return state._replace(user_hyper=drawn)

    def user_rows(state: State, streams: Streams) -> State:
        task = RowTask(data.users, state.item_rows, data.has_bias, state.alpha, state.user_hyper)
        drawn = engine.draw_rows(task, streams, state.sweep, Purpose.USER_ROWS)
        return state.with_side("user", drawn)

    def item_hyper(state: State, streams: Streams) -> State:
        rng, n = streams.generator(state.sweep, Purpose.ITEM_HYPER), len(state.item_rows)
        moments = state.item_moments or engine.moments(state.item_rows)
        drawn = draw_hyper(moments, n, state.item_hyper, item_prior, rng)
        return state._replace(item_hyper=drawn)

    def item_rows(state: State, streams: Streams) -> State:
        task = RowTask(data.items, state.user_rows, data.has_bias, state.alpha, state.item_hyper)
        drawn = engine.draw_rows(task, streams, state.sweep, Purpose.ITEM_ROWS)
        return state.with_side("item", drawn)

    def noise(state: State, streams: Streams) -> State:
        error = state.squared_error
        if math.isnan(error):
            error = squared_error(data, state, engine)
        rng = streams.generator(state.sweep, Purpose.ALPHA)
        alpha = draw_alpha(error, data.n_ratings, model.alpha, rng)
        return state._replace(alpha=alpha, squared_error=error)

    own = {block.__name__: block for block in (user_hyper, user_rows, item_hyper, item_rows)}
    return own | build_moves(data, model, engine) | {"noise": noise}


def build_moves(data: Data, model: BPMF, engine: Engine) -> dict[str, Block]:
    """Make the moves of a model's biases, by name: a shift and a scale of each side.

    None where a careless centre makes biases so large that constants cannot be moved between them
    and factors without a loss of digits.
    """
    if not model.biases or far_from_centre(data):
        return {}
    priors = dict(zip(SIDES, side_priors(data, model), strict=True))

    def shift_of(own: str, other: str) -> Block:
        def shift(state: State, streams: Streams) -> State:
            rng = streams.generator(state.sweep, Purpose[f"{own}_shift".upper()])
            given = state.hyper(own), state.hyper(other)
            drawn = moves.draw_shift(*given, priors[own], priors[other], rng)
            rows = moves.shift_rows(drawn, state.rows(own), state.rows(other))
            hypers = moves.shift_hypers(drawn, *given)
            return state.with_side(own, rows[0], hypers[0]).with_side(other, rows[1], hypers[1])

        return shift

    def scale_of(own: str, other: str) -> Block:
        def scale(state: State, streams: Streams) -> State:
            rng = streams.generator(state.sweep, Purpose[f"{own}_scale".upper()])
            hyper, prior, rows = state.hyper(own), priors[own], state.rows(own)
            moments = state.moments(other) or engine.moments(state.rows(other))
            direction = moves.constant_direction(len(state.rows(other)), moments)
            mean = float(hyper.mean[-1])
            weights = moves.levers(rows, mean, state.rows(other), direction)
            by_user = weights if own == "user" else weights[::-1]
            side = data.users.side
            curve = sum_products(side.indptr, side.partners, *(w * w for w in by_user))

            doubled = state.with_side(own, moves.scale_rows(2.0, rows, mean, direction))
            error = squared_error(data, state, engine)
            parabola = moves.Parabola.through(curve, error, squared_error(data, doubled, engine))
            scaled = moves.ScaledPrecision(hyper.precision, direction)
            density = moves.log_scale_density(state.alpha, parabola, scaled, hyper, prior)
            s = math.exp(moves.draw_slice(density, rng))
            hyper = hyper._replace(precision=scaled.at(s))
            if prior.learned:
                strength = draw_strength(hyper.precision, prior, rng)
                hyper = hyper._replace(strength=strength)
            moved = state.with_side(own, moves.scale_rows(s, rows, mean, direction), hyper)
            return moved._replace(squared_error=error + parabola.at(s))

        return scale

    pairs = (SIDES, SIDES[::-1])
    shifts = {f"{own}_shift": shift_of(own, other) for own, other in pairs}
    return shifts | {f"{own}_scale": scale_of(own, other) for own, other in pairs}


def far_from_centre(data: Data) -> bool:
    """Whether the targets' mean is so many of their sds from zero that rounding would show."""
    targets = data.users.targets
    # einsum: no copy of all ratings.
    mean = float(np.einsum("n->", targets, dtype=np.float64)) / len(targets)
    square = float(np.einsum("n,n->", targets, targets, dtype=np.float64)) / len(targets)
    return mean**2 > FAR**2 * max(square - mean**2, 0.0)


def squared_error(data: Data, state: State, engine: Engine) -> float:
    """Sum of squared residuals of a state's rows."""
    return engine.squared_error(
        Residuals(data.users, state.user_rows, state.item_rows, data.has_bias)
    )


def scan(blocks: dict[str, Block], sweep: int) -> list[Block]:
    """List the blocks of one sweep, in their order: all but the moves of other sweeps.

    The same for sweeps whose numbers are alike modulo `MOVES_EVERY`.
    """
    turn = TURNS.get(sweep % MOVES_EVERY)
    resting = {name for side in SIDES if side != turn for name in moves_of(side)}
    return [block for name, block in blocks.items() if name not in resting]


def moves_of(side: str) -> tuple[str, str]:
    """Names of the moves of one side."""
    return f"{side}_shift", f"{side}_scale"


def build_step(data: Data, model: BPMF, engine: Engine) -> Step:
    """Make the sweep of a model on data with an engine."""
    every = build_blocks(data, model, engine)
    scans = [scan(every, sweep) for sweep in range(MOVES_EVERY)]
    n = data.n_ratings

    def step(state: State, streams: Streams) -> tuple[State, Info]:
        state = state._replace(sweep=state.sweep + 1)
        blocks = scans[state.sweep % MOVES_EVERY]
        for block in blocks:
            state = block(state, streams)
        info = inspect(state, n)
        state = state._replace(
            user_moments=engine.moments(state.user_rows),
            item_moments=engine.moments(state.item_rows),
        )
        return state, info

    return step


def inspect(state: State, n_ratings: int) -> Info:
    """Look at a state whose squared error is that of its rows.

    Raises
    ------
    FloatingPointError
        If it is not finite.
    """
    alpha, error = state.alpha, state.squared_error
    # Every row has a rating, so that the squared error is finite only if all rows are.
    if not (math.isfinite(error) and 0 < alpha < math.inf):
        raise FloatingPointError(
            f"The draws of sweep {state.sweep} are not finite (squared error {error:g}, noise "
            f"precision {alpha:g}): the prior, the centre or the scale is too extreme."
        )
    return Info(error, 0.5 * (n_ratings * math.log(alpha / (2 * math.pi)) - alpha * error))
