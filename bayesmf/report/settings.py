"""The exact settings of a fit: the call that makes it anew, and the versions it was made with."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any, Protocol

from bayesmf.diagnostics.identified import Kept
from bayesmf.model import BPMF

PACKAGES = ("arviz", "xarray", "scipy", "pandas")
"""Whose versions are those of the machine that writes the page; others come with the draws."""


class Fitted(Kept, Protocol):
    """What is asked of a posterior."""

    model: BPMF


def call_text(posterior: Fitted) -> str:
    """Write the call of `fit_bpmf` that makes this fit anew, by what the draws keep of it.

    What is not kept, since the posterior does not depend on it: `probe`, `memory_budget`, and when
    ADVI ends.
    """
    attributes, model, usual = posterior.data.attrs, posterior.model, BPMF()
    method, _, backend = str(attributes["engine"]).partition("/")
    given: dict[str, Any] = {"n_factors": model.n_factors, "biases": model.biases}
    given |= {"method": method}
    if method == "gibbs":
        given |= {"backend": backend, "dtype": attributes["dtype"]}
    for name in ("prior", "alpha", "center", "scale"):
        if getattr(model, name) != getattr(usual, name):
            given[name] = getattr(model, name)
    sizes = posterior.data["posterior"].sizes
    if "advi" not in method:
        given |= {"tune": int(attributes["tune"]), "chains": sizes["chain"]}
    given |= {"draws": sizes["draw"], "random_seed": int(attributes["random_seed"])}
    for name in ("target_accept", "batch_size"):
        if attributes.get(name):
            given[name] = attributes[name]
    lines = ",\n".join(f"    {name}={value!r}" for name, value in given.items())
    return f"bayesmf.fit_bpmf(\n    ratings,\n{lines},\n)"


def versions(posterior: Fitted) -> list[tuple[str, str]]:
    """List the versions, the fingerprint of the data, and how long the fit took."""
    attributes = posterior.data.attrs
    kept = {
        name.removesuffix("_version"): str(attributes[name])
        for name in ("bayesmf_version", "numpy_version", "numba_version")
    }
    kept |= {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    prior = posterior.model.prior
    return [
        *kept.items(),
        ("ratings", f"{len(posterior.ratings):,}, fingerprint {attributes['data_fingerprint']}"),
        ("prior", repr(prior)),
        ("sampling", f"{float(attributes['sampling_time']):.1f} s"),
    ]
