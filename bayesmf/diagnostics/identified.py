"""What may be judged: quantities that ratings identify, and why the others are refused.

The likelihood does not change under u -> A u, v -> A^-T v, nor when a constant moves between
factors and biases. Chains wander along these directions for ever, each its own way, and R-hat of
what changes with them says nothing about convergence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from bayesmf.validation import Described, fail

if TYPE_CHECKING:
    from collections.abc import Iterable

    import xarray as xr

    from bayesmf.ratings import Ratings

SCALARS = ("alpha", "total_log_likelihood", "train_rmse", "intercept", "interaction_sd")
MANY = ("singular_value", "user_effect", "item_effect", "probe")
IDENTIFIED = (*SCALARS, *MANY)
"""Names of what is judged, numbers first; `interaction_sd` follows from the singular values."""

_ROTATES = "it changes with every rotation or stretch of the factors, which no rating sees"
_SHIFTS = "a constant moves freely between biases and factors, which no rating sees"
REFUSED = {
    **dict.fromkeys(("user_factors", "item_factors", "user_center", "item_center"), _ROTATES),
    **dict.fromkeys(("precision_user", "precision_item"), _ROTATES),
    **dict.fromkeys(("user_bias", "item_bias", "mu_user", "mu_item"), _SHIFTS),
}
"""Names in the group `factors` that are never judged, and why."""
_INSTEAD = {
    "user_bias": "user_effect", "item_bias": "item_effect", "mu_user": "intercept",
    "mu_item": "intercept",
}  # fmt: skip


class Kept(Protocol):
    """Draws, and what they are of."""

    data: xr.DataTree
    ratings: Ratings


class Judged(Kept, Protocol):
    """What this room needs of a posterior: draws, and threads to work on them."""

    cores: int


class Group(NamedTuple):
    """Draws (chain, draw, n) of one kind of quantity, and a label for each of the n."""

    draws: np.ndarray
    labels: tuple[str, ...]


def check_identified(names: object, function: str, argument: str = "var_names") -> tuple[str, ...]:
    """Return names of identified quantities, all of them for None; refuse the others.

    Raises
    ------
    ValueError
        For a name that is not identified, with the reason and what to use, or that does not exist.
    TypeError
        For what is not a name or a sequence of names.
    """
    if names is None:
        return IDENTIFIED
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, (list, tuple)) or not all(isinstance(one, str) for one in listed):
        fail(argument, function, "None, a name or a list of names", names, TypeError)
    chosen: Iterable[str] = listed
    for name in chosen:
        if name in REFUSED:
            use = _INSTEAD.get(name, "singular_value")
            message = (
                f"{function} does not judge {name!r}: {REFUSED[name]}, so that its R-hat says "
                f"nothing about convergence. Use {use!r}, or align the factors: posterior.align()."
            )
            raise ValueError(message)
        if name not in IDENTIFIED:
            fail(argument, function, f"among {', '.join(IDENTIFIED)}", name)
    if not listed:
        fail(argument, function, "at least one name", names)
    return tuple(dict.fromkeys(chosen))


def identified_groups(posterior: Kept, names: tuple[str, ...], function: str) -> dict[str, Group]:
    """Draws of identified quantities by name, those that the model has; an error if it has none."""
    kept = posterior.data["posterior"]
    found = {}
    for name in names:
        if name == "interaction_sd":
            if kept.sizes.get("component", 0):
                found[name] = Group(interaction_sd(posterior)[..., None], (name,))
        elif kept[name].ndim == 2:
            found[name] = Group(kept[name].to_numpy()[..., None], (name,))
        elif kept[name].shape[-1]:
            found[name] = Group(kept[name].to_numpy(), labels(posterior, name))
    if not found:
        must = "of a model with factors, which this is not"
        fail("var_names", function, must, Described(", ".join(names)))
    return found


def interaction_sd(posterior: Kept) -> np.ndarray:
    """Standard deviation (chain, draw) of the interaction over all cells, rated or not."""
    values = posterior.data["posterior"]["singular_value"].to_numpy()
    cells = posterior.ratings.n_users * posterior.ratings.n_items
    found: np.ndarray = np.sqrt(np.einsum("cdk,cdk->cd", values, values) / cells)
    return found


def labels(posterior: Kept, name: str) -> tuple[str, ...]:
    """Each member of a group by the ids of its rows."""
    kept, constant = posterior.data["posterior"], posterior.data["constant_data"]
    if name == "probe":
        users, items = (constant[f"probe_{side}"].to_numpy() for side in ("user", "item"))
        return tuple(f"user {u}, item {i}" for u, i in zip(users, items, strict=True))
    if name == "singular_value":
        return tuple(f"singular value {k + 1}" for k in range(kept.sizes["component"]))
    side = name.removesuffix("_effect")
    return tuple(f"effect of {side} {one}" for one in kept[f"effect_{side}"].to_numpy())
