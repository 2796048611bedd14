"""How a side is cut up: blocks, segments of heavy rows, the way each row is drawn, threads."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import bayesmf
from bayesmf.gibbs.chains import worker_threads
from bayesmf.kernels import blocks
from bayesmf.kernels.blocks import (
    SideData,
    heavy_segments,
    low_degree_limit,
    over_blocks,
    row_blocks,
)
from bayesmf.ratings import Side


def side(degrees) -> Side:
    indptr = np.concatenate([[0], np.cumsum(degrees)]).astype(np.int64)
    return Side(indptr, np.zeros(indptr[-1], np.int32))


def test_rows_go_through_their_ratings_where_it_saves_work():
    few = np.full(10_000, 20)
    # 20 ratings are less than a third of 65 coordinates, and more than a third of 49.
    assert low_degree_limit(few, 65, 3000, np.dtype(np.float32)) == 20
    assert low_degree_limit(few, 49, 3000, np.dtype(np.float32)) == 0
    data = SideData.build(side(few), np.zeros(200_000, np.float32), 33, 3000)
    assert data.normals_of(range(10_000)) == (0, 33 * 10_000)
    # Small systems are solved side by side all the same.
    assert low_degree_limit(np.full(10_000, 2), 33, 3000, np.dtype(np.float32)) == 0


def test_whitening_must_pay():
    few = np.full(10, 5)
    assert low_degree_limit(few, 65, 100, np.dtype(np.float64)) == 5
    assert low_degree_limit(few, 65, 100_000, np.dtype(np.float64)) == 0


def test_normals_are_counted_by_the_way_a_row_is_drawn():
    degrees = np.array([3, 200, 0, 40, 2] * 500)
    data = SideData.build(side(degrees), np.zeros(degrees.sum()), 61, 50)
    expected = 61 + np.where(degrees <= 30, degrees, 0)
    np.testing.assert_array_equal(np.diff(data.normal_starts), expected)
    assert data.normals_of(range(3, 8)) == (expected[:3].sum(), expected[:8].sum())


def test_heavy_rows_are_few_and_their_segments_cover_them():
    degrees = np.array([100, 50_000, 7, 20_000, 8_192, 9_000])
    segments = heavy_segments(side(degrees))
    assert {segment.row for segment in segments} == {1, 3, 5}
    for row in (1, 3, 5):
        own = [segment for segment in segments if segment.row == row]
        assert sum(segment.hi - segment.lo for segment in own) == degrees[row]
        assert max(segment.hi - segment.lo for segment in own) <= 8_192
    # In a large table a row must hold a share of the ratings to be heavy.
    assert heavy_segments(side(np.full(1000, 9_000))) == ()


def test_blocks_are_of_even_work():
    rng = np.random.default_rng(0)
    degrees = rng.geometric(1 / 100, 10_000)
    work = degrees + blocks.ROW_WORK
    found = row_blocks(side(degrees))
    assert [row for block in found for row in block] == list(range(10_000))
    shares = np.array([work[block.start : block.stop].sum() for block in found])
    assert len(found) == round(work.sum() / blocks.RATINGS_PER_BLOCK)
    assert shares.max() < shares.mean() + 2 * work.max()


def test_a_small_table_is_cut_too_but_not_into_crumbs():
    assert len(row_blocks(side(np.full(1000, 100)))) == blocks.FEW_BLOCKS
    assert len(row_blocks(side(np.full(50, 10)))) == 1


@pytest.mark.parametrize("threads", [None, 1, 4])
def test_results_come_in_the_order_of_blocks(threads):
    items = list(range(57))
    if threads is None:
        assert over_blocks(lambda n, b: (n, b * b), items, None) == [(n, n * n) for n in items]
        return
    with ThreadPoolExecutor(threads) as pool:
        assert over_blocks(lambda n, b: (n, b * b), items, pool) == [(n, n * n) for n in items]
        assert over_blocks(lambda n, b: b, [], pool) == []


def test_an_error_in_any_thread_comes_out_and_nothing_goes_on():
    running = []
    lock = threading.Lock()

    def work(number, _):
        with lock:
            running.append(number)
        if number == 5:
            raise ArithmeticError("block 5")
        time.sleep(0.001)

    with ThreadPoolExecutor(3) as pool:
        with pytest.raises(ArithmeticError, match="block 5"):
            over_blocks(work, list(range(1000)), pool)
        ended = len(running)
        time.sleep(0.05)
        # The others stop when they ask for their next block, and none is left running.
        assert ended == len(running) < 1000


def test_a_pool_that_others_use_is_not_waited_for():
    free = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(free.wait)
        assert over_blocks(lambda number, _: number, list(range(20)), pool) == list(range(20))
        free.set()


@pytest.mark.parametrize(
    ("chains", "cores", "threads"), [(1, 1, (1, 0)), (1, 2, (1, 1)), (2, 3, (2, 1)), (4, 2, (2, 0))]
)
def test_no_more_threads_than_cores(chains, cores, threads):
    assert worker_threads(chains, cores) == threads


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threads_change_no_bit_on_any_path(monkeypatch, dtype):
    """Heavy rows, rows drawn in the space of their ratings, many blocks: 1, 2 and 5 threads."""
    monkeypatch.setattr(blocks, "RATINGS_PER_BLOCK", 700)
    monkeypatch.setattr(blocks, "HEAVY_RATINGS", 150)
    monkeypatch.setattr(blocks, "HEAVY_SHARE", 0.0)
    ratings = bayesmf.simulate(300, 80, 6000, activity_sd=1.2, random_seed=3).ratings
    degrees = np.diff(ratings.by_item.indptr)
    assert degrees.max() > 150
    data = SideData.build(ratings.by_user, np.zeros(len(ratings), dtype), 65, ratings.n_items)
    assert data.normal_starts[-1] > 65 * ratings.n_users  # some rows are drawn the other way
    trees = [
        bayesmf.fit_bpmf(
            ratings, n_factors=64, chains=1, tune=2, draws=4, cores=cores, random_seed=2,
            dtype=dtype, progressbar=False,
        ).data
        for cores in (1, 2, 5)
    ]  # fmt: skip
    first = trees[0]["factors"].to_dataset()
    assert first["user_factors"].notnull().all()
    for tree in trees[1:]:
        assert tree["factors"].to_dataset().equals(first)
        assert tree["posterior"].to_dataset().equals(trees[0]["posterior"].to_dataset())
