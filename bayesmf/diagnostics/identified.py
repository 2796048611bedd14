"""Which quantities of a posterior the likelihood identifies, and what to say of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayesmf.validation import Described, fail

if TYPE_CHECKING:
    from collections.abc import Sequence

IDENTIFIED = (
    "alpha",
    "total_log_likelihood",
    "train_rmse",
    "intercept",
    "singular_value",
    "probe",
    "user_effect",
    "item_effect",
)
"""Variables of `post.data["posterior"]`."""

REFUSED = {
    "user_factors": "singular_value or probe",
    "item_factors": "singular_value or probe",
    "user_bias": "user_effect",
    "item_bias": "item_effect",
    "mu_user": "intercept or user_effect",
    "mu_item": "intercept or item_effect",
    "precision_user": "singular_value or user_effect",
    "precision_item": "singular_value or item_effect",
}
"""Variables whose draws have no meaning of their own, and what to look at instead."""


def check_identified(names: str | Sequence[str], function: str) -> tuple[str, ...]:
    """Return names of identified variables; others are refused with the reason."""
    listed = (names,) if isinstance(names, str) else tuple(names)
    if not listed:
        fail("names", function, f"one or more of {', '.join(IDENTIFIED)}", Described("none"))
    for name in listed:
        if name in REFUSED:
            message = (
                f"{function} does not show {name}: the likelihood does not identify it, since "
                "factors can be turned, and biases moved, without changing a prediction, and "
                f"chains that agree need not agree in it. Use {REFUSED[name]}."
            )
            raise ValueError(message)
        if name not in IDENTIFIED:
            fail("names", function, f"one or more of {', '.join(IDENTIFIED)}", name)
    return listed
