"""The example of a server (docs/serving/app.py), over a real port."""

import importlib.util
import pathlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pandas as pd
import pytest
import uvicorn

import bayesmf

APP = pathlib.Path(__file__).parent.parent / "docs" / "serving" / "app.py"


def import_app():
    spec = importlib.util.spec_from_file_location("serving_app", APP)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def served(split, tmp_path_factory):
    """A client of a server, and the posterior that it serves: users are texts, items integers."""
    train = split[0].to_frame()
    train["user"] = "u" + train["user"].astype(str)
    store = tmp_path_factory.mktemp("serving") / "run.zarr"
    bayesmf.fit_bpmf(
        train, n_factors=2, tune=50, draws=100, chains=2, random_seed=1, progressbar=False,
        store=store,
    )  # fmt: skip
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    with pytest.MonkeyPatch.context() as patch, socket.socket() as loopback:
        patch.setenv("BAYESMF_STORE", str(store))
        loopback.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(import_app().app, log_level="warning", ws="none"))
        thread = threading.Thread(target=server.run, args=([loopback],))
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            host, port = loopback.getsockname()
            with httpx.Client(base_url=f"http://{host}:{port}", timeout=60) as client:
                yield client, bayesmf.load(store)
        finally:
            server.should_exit = True
            thread.join(timeout=20)
        assert not thread.is_alive()
    # Serving writes nothing.
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before


def records(frame):
    return frame.to_dict("records")


def folded(post, user, ratings, n):
    rows = pd.DataFrame({"user": user, "item": list(ratings), "rating": list(ratings.values())})
    return records(post.fold_in(rows, draws=200, random_seed=1).recommend(user, n))


def test_answers_are_the_librarys(served):
    client, post = served
    answer = client.get("/predict", params={"user": "u3", "item": 4})
    assert answer.status_code == 200
    assert answer.json() == records(post.predict([("u3", 4)]))[0]
    answer = client.get("/recommend/u3", params={"n": 4})
    assert answer.json() == records(post.recommend("u3", 4))
    rated = {1: 4.0, 2: 3.5, 3: 5.0}
    for user in ("u3", "nobody"):
        answer = client.post("/fold_in?n=5", json={"user": user, "ratings": rated})
        assert answer.status_code == 200
        assert answer.json() == folded(post, user, rated, 5)
        assert not {row["item"] for row in answer.json()} & set(rated)


def test_twenty_at_once_are_answered_as_one_is(served):
    client, post = served
    users, rated = post.ratings.user_ids[:20].tolist(), {1: 3.0, 2: 4.0}

    def ask(user):
        return (
            client.get("/predict", params={"user": user, "item": 1}).json(),
            client.get(f"/recommend/{user}", params={"n": 3}).json(),
            client.post("/fold_in?n=2", json={"user": user, "ratings": rated}).json(),
        )

    with ThreadPoolExecutor(20) as pool:
        together = list(pool.map(ask, users))
    for user, (predicted, recommended, again) in zip(users, together, strict=True):
        assert predicted == records(post.predict([(user, 1)]))[0]
        assert recommended == records(post.recommend(user, 3))
        assert again == folded(post, user, rated, 2)


def test_strangers_get_wide_intervals(served):
    client, post = served

    def width(user, item):
        answer = client.get("/predict", params={"user": user, "item": item})
        assert answer.status_code == 200
        return answer.json()["upper"] - answer.json()["lower"]

    known = [width(user, 1) for user in post.ratings.user_ids[:20]]
    assert sum(known) / len(known) < width("nobody", 1) < width("nobody", 999)
    for stranger in ("nobody", "no/body", "ñ%20"):
        answer = client.get(f"/recommend/{stranger}")
        assert answer.status_code == 200
        assert len(answer.json()) == 10


BAD = {
    "no ratings": '{"user": "u3", "ratings": {}}',
    "no user": '{"ratings": {"1": 4}}',
    "a user of another kind": '{"user": 3, "ratings": {"1": 4}}',
    "an unknown item": '{"user": "u3", "ratings": {"777": 4}}',
    "an item that cannot be": '{"user": "u3", "ratings": {"ann": 4}}',
    "an item beyond 64 bits": f'{{"user": "u3", "ratings": {{"{10**30}": 4}}}}',
    "not a number": '{"user": "u3", "ratings": {"1": NaN}}',
    "infinite": '{"user": "u3", "ratings": {"1": 1e999}}',
    "far beyond all ratings": '{"user": "u3", "ratings": {"1": 1e300}}',
    "a text": '{"user": "u3", "ratings": {"1": "good"}}',
    "a list": '{"user": "u3", "ratings": [1, 4]}',
    "no object": "[1, 2, 3]",
    "no JSON": "{",
    "nothing": "",
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_folded_in_is_refused(served, case):
    kind = {"Content-Type": "application/json"}
    answer = served[0].post("/fold_in", content=BAD[case], headers=kind)
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    "path",
    [
        *("/predict", "/predict?user=u3", "/predict?user=u3&item=ann", "/recommend/u3?n=0"),
        *("/recommend/u3?n=1e9", f"/predict?user=u3&item={10**30}"),
    ],
)
def test_what_cannot_be_asked_is_refused(served, path):
    answer = served[0].get(path)
    assert answer.status_code == 422, answer.text
