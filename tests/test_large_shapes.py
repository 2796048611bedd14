"""What is judged of 200,000 users and 50,000 items: in blocks, never a table of all cells."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
MEGABYTES = 1_500
"""Bound on the peak of the process; a table of all cells has 40,000 MB in single precision."""
CODE = """
import tempfile
from pathlib import Path

import numpy as np

import bayesmf

rng = np.random.default_rng(1)
n_users, n_items, n = 200_000, 50_000, 300_000
users = np.concatenate([np.arange(n_users), rng.integers(0, n_users, n - n_users)])
items = np.concatenate([rng.permutation(n_items), rng.integers(0, n_items, n - n_items)])
cells = np.unique(users * n_items + items)
ratings = bayesmf.Ratings((cells // n_items, cells % n_items, rng.integers(1, 6, len(cells)) * 1.0))
assert (ratings.n_users, ratings.n_items) == (n_users, n_items)
train, test = bayesmf.train_test_split(ratings, test_size=0.01, random_seed=1)
post = bayesmf.fit_bpmf(
    train, n_factors=2, tune=2, draws=20, chains=2, random_seed=1, progressbar=False
)
assert post.diagnose().verdict.status == "not converged"
assert post.align(draws=6).item_loadings.sizes["item"] == train.n_items
assert post.loo(n_ratings=200, draws=30).n_ratings == 200
als = bayesmf.fit_bias(train, reg_bias=1.0, random_seed=1, progressbar=False)
with tempfile.TemporaryDirectory() as folder:
    path = post.report(Path(folder, "page.html"), test=test, models={"bias": als})
    assert path.stat().st_size > 100_000
# Of this program alone: getrusage begins with the size of the process that started it.
status = Path("/proc/self/status").read_text().splitlines()
print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024)
"""


def test_a_large_table_is_judged_in_bounded_memory(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, cwd=ROOT, check=False,
        timeout=280,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert int(run.stdout.split()[-1]) < MEGABYTES
