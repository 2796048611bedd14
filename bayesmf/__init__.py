"""Bayesian matrix factorization: predictions with calibrated intervals from a table of ratings.

    import bayesmf
    train, test = bayesmf.train_test_split(ratings, random_seed=1)
    als, post = bayesmf.fit_als(train), bayesmf.fit_bpmf(train)
    print(bayesmf.compare({"ALS": als, "BPMF": post}, test))

Names are imported when they are first used, so that `import bayesmf` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bayesmf import neural as neural
    from bayesmf.choose import choose_rank as choose_rank
    from bayesmf.datasets import load_flixster as load_flixster
    from bayesmf.datasets import load_insteval as load_insteval
    from bayesmf.datasets import load_movielens as load_movielens
    from bayesmf.datasets import load_movielens_users as load_movielens_users
    from bayesmf.datasets import load_ratings as load_ratings
    from bayesmf.diagnostics.ranks import RankChoice as RankChoice
    from bayesmf.evaluation import Comparison as Comparison
    from bayesmf.evaluation import compare as compare
    from bayesmf.fit import fit_bpmf as fit_bpmf
    from bayesmf.fit_descent import fit_sgd as fit_sgd
    from bayesmf.fit_map import fit_pmf as fit_pmf
    from bayesmf.fit_nonnegative import fit_nmf as fit_nmf
    from bayesmf.fit_point import fit_als as fit_als
    from bayesmf.fit_point import fit_bias as fit_bias
    from bayesmf.fit_simple import fit_mean as fit_mean
    from bayesmf.fit_simple import fit_neighbors as fit_neighbors
    from bayesmf.fit_spectral import fit_svd as fit_svd
    from bayesmf.gradients import GradientCheck as GradientCheck
    from bayesmf.gradients import SquaredLoss as SquaredLoss
    from bayesmf.gradients import check_gradient as check_gradient
    from bayesmf.model import GammaPrior as GammaPrior
    from bayesmf.model import NormalWishart as NormalWishart
    from bayesmf.model import published_2008 as published_2008
    from bayesmf.pymc_models import bpmf_model as bpmf_model
    from bayesmf.pymc_models import pmf_model as pmf_model
    from bayesmf.ratings import Ratings as Ratings
    from bayesmf.results import FactorEstimate as FactorEstimate
    from bayesmf.results import MapEstimate as MapEstimate
    from bayesmf.results import NeighborEstimate as NeighborEstimate
    from bayesmf.results import NetworkEstimate as NetworkEstimate
    from bayesmf.results import PointEstimate as PointEstimate
    from bayesmf.results import Posterior as Posterior
    from bayesmf.simulation import Simulation as Simulation
    from bayesmf.simulation import simulate as simulate
    from bayesmf.splits import kfold as kfold
    from bayesmf.splits import leave_out_per_user as leave_out_per_user
    from bayesmf.splits import split_by_time as split_by_time
    from bayesmf.splits import train_test_split as train_test_split
    from bayesmf.stores import load as load
    from bayesmf.stores import resume as resume

_HOMES = {
    "choose": ("choose_rank",),
    "datasets": (
        "load_flixster",
        "load_insteval",
        "load_movielens",
        "load_movielens_users",
        "load_ratings",
    ),
    "diagnostics.ranks": ("RankChoice",),
    "evaluation": ("Comparison", "compare"),
    "fit": ("fit_bpmf",),
    "fit_descent": ("fit_sgd",),
    "fit_map": ("fit_pmf",),
    "fit_nonnegative": ("fit_nmf",),
    "fit_point": ("fit_als", "fit_bias"),
    "fit_simple": ("fit_mean", "fit_neighbors"),
    "fit_spectral": ("fit_svd",),
    "gradients": ("GradientCheck", "SquaredLoss", "check_gradient"),
    "model": ("GammaPrior", "NormalWishart", "published_2008"),
    "pymc_models": ("bpmf_model", "pmf_model"),
    "ratings": ("Ratings",),
    "results": (
        "FactorEstimate",
        "MapEstimate",
        "NeighborEstimate",
        "NetworkEstimate",
        "PointEstimate",
        "Posterior",
    ),
    "simulation": ("Simulation", "simulate"),
    "splits": ("kfold", "leave_out_per_user", "split_by_time", "train_test_split"),
    "stores": ("load", "resume"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605 - one list, kept in _HOMES
__version__ = version("bayesmf")


def __getattr__(name: str) -> Any:
    if name == "neural":
        return import_module("bayesmf.neural")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'bayesmf' has no attribute {name!r}")
    value = getattr(import_module(f"bayesmf.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__", "neural"]
