"""A recommender over HTTP: BAYESMF_STORE=run.zarr uvicorn app:app (docs/guide/serving.md)."""

import os
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

import bayesmf

# Once, before the first request, and never written to. Requests come in threads, one core each.
post = bayesmf.load(os.environ["BAYESMF_STORE"], cores=1)
post.recommend(post.ratings.user_ids[0], n=1)  # compiled and read now, not while somebody waits

ids = post.ratings.user_ids, post.ratings.item_ids
User, Item = (int if side.dtype.kind == "i" else str for side in ids)
Length = Annotated[int, Query(ge=1, le=1000)]
app = FastAPI(title="bayesmf")


class NewRatings(BaseModel):
    """Ratings of one user, by item: {"user": 42, "ratings": {"1": 5, "364": 4.5}}."""

    user: User
    ratings: dict[Item, float]


@app.exception_handler(ValueError)
@app.exception_handler(TypeError)
@app.exception_handler(ArithmeticError)
def refuse(_: Request, error: Exception) -> JSONResponse:
    """What the library refuses, it says in one sentence, which the client may read."""
    return JSONResponse({"detail": str(error)}, status_code=422)


@app.get("/predict")
def predict(user: User, item: Item) -> dict[str, Any]:
    """Mean, sd and 90% interval of a rating."""
    return post.predict([(user, item)]).to_dict("records")[0]


@app.get("/recommend/{user:path}")
def recommend(user: User, n: Length = 10) -> list[dict[str, Any]]:
    """The best items that the user has not rated."""
    return post.recommend(user, n).to_dict("records")


@app.post("/fold_in")
def fold_in(new: NewRatings, n: Length = 10) -> list[dict[str, Any]]:
    """The best items for a user, new or known, who has rated more since the fit."""
    items, ratings = list(new.ratings), list(new.ratings.values())
    table = ([new.user] * len(items), items, ratings)
    folded = post.fold_in(table, side="user", draws=200, random_seed=1)
    return folded.recommend(new.user, n).to_dict("records")
