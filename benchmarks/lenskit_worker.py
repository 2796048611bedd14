"""LensKit's ALS on request, by the Python that has it: started by `benchmarks.models.LensKit`.

A line of JSON in, a line of JSON out. It imports nothing of this project.
"""

import json
import sys
import time

import lenskit
import numpy as np
import pandas as pd
from lenskit.als import BiasedMFScorer
from lenskit.data import from_interactions_df
from lenskit.training import TrainingOptions


def main() -> None:
    """Read the table, then serve until the input ends."""
    # What LensKit prints must not get between the replies.
    replies, sys.stdout = sys.stdout, sys.stderr

    def reply(**what: object) -> None:
        print(json.dumps(what), file=replies, flush=True)

    names = {"user_id": "users", "item_id": "items", "rating": "ratings"}
    with np.load(sys.argv[1]) as table:
        data = from_interactions_df(pd.DataFrame({name: table[k] for name, k in names.items()}))
    reply(version=lenskit.__version__)
    trainer = None
    for line in sys.stdin:
        asked = json.loads(line)
        if "n_factors" in asked:
            model = BiasedMFScorer(embedding_size=asked["n_factors"], epochs=1)
            trainer = model.create_trainer(data, TrainingOptions(rng=1))
            reply()
            continue
        seconds = []
        for _ in range(asked["sweeps"]):
            start = time.perf_counter()
            trainer.train_epoch()
            seconds.append(time.perf_counter() - start)
        reply(seconds=seconds)


if __name__ == "__main__":
    main()
