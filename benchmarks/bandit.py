"""ML-1M as a bandit, offline: users never seen are shown what they have rated, one at a time.

A replay (Li et al. 2011): at each round a policy chooses among the items that the user has really
rated and was not yet shown, and sees that rating. The user's row is updated by its exact Gaussian
conditional in each draw of the items; items and hyperparameters stay as the other users' ratings
have them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.common import Bar, Points, limited, progress, prose, run, table
from benchmarks.newcomers import Learner, newcomers

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.common import Numbers, Settings
    from benchmarks.newcomers import Prior

TITLE = "ML-1M as a bandit: what exploring is worth"
SETTINGS = {
    "rank": 10,
    "tune": 200,
    "draws": 1000,
    "kept": 100,
    "users": 2000,
    "least_ratings": 100,
    "rounds": 50,
    "shown": [5, 10, 20, 50],
    "threads": 2,
    "resume": True,
}
QUICK = {"tune": 3, "draws": 10, "kept": 5, "users": 12, "resume": False}


POLICIES: dict[str, Callable[[Learner, np.random.Generator], np.ndarray]] = {
    "greedy": lambda known, _: known.mean(),
    "UCB, width 0.5": lambda known, _: known.mean() + 0.5 * known.sd(),
    "UCB, width 1": lambda known, _: known.mean() + known.sd(),
    "UCB, width 2": lambda known, _: known.mean() + 2 * known.sd(),
    "Thompson": lambda known, rng: known.drawn(rng),
    "random": lambda known, rng: rng.random(known.means.shape[1]),
}


def replay(
    prior: Prior, items: np.ndarray, ratings: np.ndarray, rounds: int, policy: str, seed: int
) -> np.ndarray:
    """Ratings that a policy is given, round after round (rounds,)."""
    known, rng = Learner(prior, items), np.random.default_rng(seed)
    left, rewards = np.ones(len(items), dtype=bool), np.empty(rounds)
    for t in range(rounds):
        best = int(np.where(left, POLICIES[policy](known, rng), -np.inf).argmax())
        left[best] = False
        rewards[t] = ratings[best]
        if policy != "random":
            known.answer(best, ratings[best])
    return rewards


def measure(settings: Settings) -> Numbers:
    """Cumulative regret by policy and round, over users; differences from greedy, in pairs."""
    train, prior, users = newcomers(settings)
    rounds, points = settings["rounds"], Points("bandit", settings)
    rewards = {}
    for policy in POLICIES:

        def one(user: int, policy: str = policy) -> list[float]:
            items, ratings = users[user]
            return replay(prior, items, ratings, rounds, policy, user).tolist()

        def all_users(one: Callable[[int], list[float]] = one) -> Numbers:
            with limited(1), ThreadPoolExecutor(settings["threads"]) as pool:
                return {"rewards": list(pool.map(one, range(len(users))))}

        rewards[policy] = np.array(points.get(policy, all_users)["rewards"])
        progress(policy, f"mean of {rounds} rounds: {rewards[policy].mean():.3f}")
    points.clear()
    best = np.array([np.sort(ratings)[::-1][:rounds] for _, ratings in users])
    regret = {name: (best - got).cumsum(axis=1) for name, got in rewards.items()}
    return {
        "train": len(train),
        "users": len(users),
        "median_ratings": float(np.median([len(items) for items, _ in users])),
        "best": best.mean(axis=0).tolist(),
        "regret": {name: _summary(found) for name, found in regret.items()},
        "against_greedy": {
            name: _summary(found - regret["greedy"])
            for name, found in regret.items()
            if name != "greedy"
        },
    }


def _summary(found: np.ndarray) -> Numbers:
    """Mean over users and its standard error, by round."""
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    return {"mean": found.mean(axis=0).tolist(), "error": error.tolist()}


def bars(numbers: Numbers) -> list[Bar]:
    """What is learned from answers must beat chance; nothing is asked of exploring."""
    against = numbers["against_greedy"]["random"]
    gap = (against["mean"][-1] - 1.96 * against["error"][-1]) / len(against["mean"])
    what = "regret a round that greedy saves over random, lower end of 95%"
    return [Bar(what, "> 0", f"{gap:.2f}", gap > 0)]


def text(numbers: Numbers, settings: Settings) -> str:
    """Regret by policy and round, and differences from greedy."""
    shown = settings["shown"]
    protocol = f"""{numbers["users"]} users of at least {settings["least_ratings"]} ratings (median
        {numbers["median_ratings"]:.0f}) are held out of a fit to the other {numbers["train"]:,}
        ratings: K={settings["rank"]}, one chain of {settings["tune"]} + {settings["draws"]:,},
        {settings["kept"]} draws. Each starts with no ratings and is shown one item a round, out of
        those that the user has really rated and was not yet shown; the rating is the reward, and
        the user's row is updated exactly in each draw. Regret: ratings of the best order in
        hindsight, less those given, added up over rounds; mean over users ± standard error.
        *greedy*: the largest posterior mean. *UCB*: mean plus width times sd of the expected
        rating. *Thompson*: one draw of the items and of the user's row, anew in each round. A
        replay
        is hard on exploring: an item is shown once, users have chosen what they rated, and what
        was learned has at most {settings["rounds"]} rounds to pay."""
    header = ["regret after", *(f"{t} rounds" for t in shown)]
    found = numbers["regret"]
    rows = [[name, *(_shown(found[name], t, sign="") for t in shown)] for name in found]
    differences = numbers["against_greedy"]
    header_2 = ["less that of greedy, in pairs", *header[1:]]
    rows_2 = [
        [name, *(_shown(differences[name], t, sign="+") for t in shown)] for name in differences
    ]
    image = "![Cumulative regret by round, and its difference from greedy](images/bandit.png)"
    return "\n\n".join(
        (
            prose(protocol),
            table(header, rows),
            table(header_2, rows_2),
            image,
            _verdict(differences),
        )
    )


def _shown(found: Numbers, rounds: int, *, sign: str) -> str:
    return f"{found['mean'][rounds - 1]:{sign}.2f} ± {found['error'][rounds - 1]:.2f}"


def _verdict(differences: Numbers) -> str:
    """Say who wins at the end, by twice the standard error."""
    better, worse, level = [], [], []
    for name, found in differences.items():
        z = found["mean"][-1] / found["error"][-1]
        (level if abs(z) < 2 else better if z < 0 else worse).append(name)
    said = [
        f"{what}: {', '.join(names)}."
        for what, names in (
            ("Less regret than greedy in the end", better),
            ("No difference from it beyond two standard errors", level),
            ("More regret", worse),
        )
        if names
    ]
    return prose(" ".join(said))


if __name__ == "__main__":
    run("bandit")
