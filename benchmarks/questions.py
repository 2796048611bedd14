"""ML-1M: how well newcomers are known after a few questions, by how these are chosen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.common import Bar, limited, progress, prose, run, table
from benchmarks.newcomers import Learner, newcomers

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.common import Numbers, Settings
    from benchmarks.newcomers import Prior

TITLE = "ML-1M: what to ask newcomers"
SETTINGS = {
    "rank": 10,
    "tune": 200,
    "draws": 1000,
    "kept": 100,
    "users": 2000,
    "least_ratings": 100,
    "questions": 20,
    "shown": [1, 3, 5, 10, 20],
    "threads": 2,
}
QUICK = {"tune": 3, "draws": 10, "kept": 5, "users": 12}

CHOICES: dict[str, Callable[[Asker, np.random.Generator], np.ndarray]] = {
    "next_to_ask": lambda known, _: known.reductions(),
    "largest sd": lambda known, _: known.sd(),
    "most often rated": lambda known, _: known.popularity,
    "greedy": lambda known, _: known.mean(),
    "random": lambda known, rng: rng.random(known.means.shape[1]),
}


class Asker(Learner):
    """A learner that knows what each answer would tell about some of the items (a mask)."""

    def __init__(
        self, prior: Prior, items: np.ndarray, about: np.ndarray, counts: np.ndarray
    ) -> None:
        super().__init__(prior, items)
        self.popularity = counts[items].astype(np.float64)
        target = self.x[:, about]
        self._scatter = target.transpose(0, 2, 1) @ target

    def reductions(self) -> np.ndarray:
        """Variance that each answer takes away (n_items,)."""
        shared = self.x @ self.covariance
        removed = np.einsum("snd,snd->sn", shared @ self._scatter, shared)
        weight = self.alpha[:, None]
        return (removed * weight / (1 + weight * self.variances)).mean(axis=0)


def squared_errors(
    known: Asker, ratings: np.ndarray, judged: np.ndarray, questions: int, choice: str, seed: int
) -> np.ndarray:
    """Mean squared error of the judged ratings after 0, 1, ... questions."""
    rng, left = np.random.default_rng(seed), ~judged
    found = []
    for _ in range(questions + 1):
        found.append(np.mean((known.mean()[judged] - ratings[judged]) ** 2))
        best = int(np.where(left, CHOICES[choice](known, rng), -np.inf).argmax())
        left[best] = False
        known.answer(best, ratings[best])
    return np.array(found)


def measure(settings: Settings) -> Numbers:
    """Error of the half that is never asked for, by choice and number of answers."""
    train, prior, users = newcomers(settings)
    counts, questions = np.diff(train.by_item.indptr), settings["questions"]
    errors = {}
    for choice in CHOICES:

        def one(user: int, choice: str = choice) -> np.ndarray:
            items, ratings = users[user]
            judged = np.random.default_rng(user).random(len(items)) < 0.5
            known = Asker(prior, items, judged, counts)
            return squared_errors(known, ratings, judged, questions, choice, user)

        with limited(1), ThreadPoolExecutor(settings["threads"]) as pool:
            errors[choice] = np.array(list(pool.map(one, range(len(users)))))
        progress(choice, np.sqrt(errors[choice].mean(axis=0)[settings["shown"]]).round(4))
    first = errors["next_to_ask"]
    return {
        "users": len(users),
        "rmse": {name: np.sqrt(found.mean(axis=0)).tolist() for name, found in errors.items()},
        "worse": {
            name: {
                "mean": (found - first).mean(axis=0).tolist(),
                "error": ((found - first).std(axis=0, ddof=1) / np.sqrt(len(users))).tolist(),
            }
            for name, found in errors.items()
            if name != "next_to_ask"
        },
    }


def bars(numbers: Numbers) -> list[Bar]:
    """Questions must be better than random ones."""
    worse = numbers["worse"]["random"]
    z = worse["mean"][5] / worse["error"][5]
    what = "squared error after 5 random questions over that of next_to_ask, in standard errors"
    return [Bar(what, "> 2", f"{z:.1f}", z > 2)]


def text(numbers: Numbers, settings: Settings) -> str:
    """Errors by choice and number of answers, and differences in pairs."""
    shown = settings["shown"]
    protocol = f"""The same {numbers["users"]} newcomers and the same fit as in the bandit. Of each
        user's ratings a random half is judged and never asked for; questions come from the other
        half, and answers update the user's row exactly. RMSE of the judged half by posterior means,
        over users alike. *next_to_ask*: the rule of `Posterior.next_to_ask` about the judged items,
        one question after another. *largest sd*: the least certain expected rating. *greedy*: what
        one would recommend."""
    header = ["RMSE after", "0 questions", *(f"{t}" for t in shown)]
    rows = [
        [name, *(f"{found[t]:.4f}" for t in (0, *shown))] for name, found in numbers["rmse"].items()
    ]
    header_2 = ["squared error less that of next_to_ask, in pairs", *(f"{t}" for t in shown)]
    rows_2 = [
        [name, *(f"{found['mean'][t]:+.4f} ± {found['error'][t]:.4f}" for t in shown)]
        for name, found in numbers["worse"].items()
    ]
    return "\n\n".join((prose(protocol), table(header, rows), table(header_2, rows_2)))


if __name__ == "__main__":
    run("questions")
