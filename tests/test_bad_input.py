"""Bad input: one clear sentence that names the argument, before any work starts."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import bayesmf
from bayesmf import GammaPrior, NormalWishart, Ratings, fit_als, fit_bias, fit_bpmf, fit_sgd

GOOD = bayesmf.simulate(20, 15, 120, random_seed=1).ratings.to_frame()
NAN, INF = float("nan"), float("inf")


def changed(column, row, value):
    table = GOOD.astype({column: object})
    table.loc[row, column] = value
    return table


TABLES = {
    "NaN rating": (changed("rating", 3, NAN), ValueError, "Got nan in row 3"),
    "infinite rating": (changed("rating", 5, INF), ValueError, "Got inf in row 5"),
    "missing rating": (changed("rating", 5, None), ValueError, "Got None in row 5"),
    "huge rating": (changed("rating", 2, 1e300), ValueError, "Got 1e[+]300 in row 2"),
    "text rating": (changed("rating", 4, "five"), TypeError, "Got 'five' [(]str[)] in row 4"),
    "numeric text": (GOOD.assign(rating="3"), TypeError, "Got '3' [(]str[)] in row 0"),
    "bool rating": (GOOD.assign(rating=True), TypeError, "Got .*True.* [(]bool.*[)] in row 0"),
    "duplicates": (
        pd.concat([GOOD, GOOD[:5]]),
        ValueError,
        "Got duplicates of [(]0, .*[)] and 2 more",
    ),
    "no user": (GOOD.drop(columns="user"), ValueError, "Got no 'user' column"),
    "no item": (GOOD.drop(columns="item"), ValueError, "Got no 'item' column"),
    "no rating": (GOOD.drop(columns="rating"), ValueError, "Got no 'rating' column"),
    "no columns": (pd.DataFrame(), ValueError, "its columns are none"),
    "empty": (GOOD[:0], ValueError, "at least one rating. Got no rows"),
    "one user": (GOOD.assign(user=1).drop_duplicates("item"), ValueError, "two users. Got 1"),
    "one item": (GOOD.assign(item=1).drop_duplicates("user"), ValueError, "two items. Got 1"),
    "constant": (GOOD.assign(rating=4), ValueError, "two different ratings. Got .* all 4"),
    "float ids": (GOOD.astype({"user": float}), TypeError, "ids are int, str or datetime"),
    "missing id": (changed("item", 7, None), ValueError, "none missing. Got .*None.* in row 7"),
    "NaN id": (changed("item", 7, NAN), ValueError, "none missing. Got .*nan.* in row 7"),
    "mixed ids": (changed("user", 7, "a"), TypeError, "Got .*'a' [(]str[)] in row 7"),
    "list ids": (changed("user", 7, (1, 2)), TypeError, "Got .*[(]1, 2[)] [(]tuple[)] in row 7"),
    "not a table": (3, TypeError, "must be a DataFrame .* Got int"),
    "None": (None, TypeError, "must be a DataFrame .* Got NoneType"),
    "two arrays": (([1], [2]), ValueError, "Got 2 arrays"),
    "ragged arrays": (([1, 2], [2, 3], [1.0]), ValueError, "arrays of one length"),
    "huge ids": (
        GOOD.assign(user=GOOD["user"].to_numpy(np.uint64) + np.uint64(2**63)),
        ValueError,
        "an int within 64 bits",
    ),
    "huger ids": (GOOD.assign(item=[2**70] * len(GOOD)), ValueError, "an int within 64 bits"),
    "time zone": (
        GOOD.assign(user=pd.to_datetime(GOOD["user"], utc=True)),
        TypeError,
        "no time zone",
    ),
    "time zones": (
        GOOD.assign(user=list(pd.to_datetime(GOOD["user"], utc=True).astype(object))),
        TypeError,
        "time zone",
    ),
    "a name twice": (
        GOOD.set_axis(["user", "item", "item"], axis=1),
        ValueError,
        "columns have different names. Got user, item, item",
    ),
    "masked ratings": (
        (GOOD["user"], GOOD["item"], np.ma.masked_less(GOOD["rating"].to_numpy(), 3)),
        ValueError,
        "Got nan in row",
    ),
    "one sparse row": (scipy.sparse.coo_array([1.0, 2.0]), ValueError, "users by items"),
    "two-dimensional": ((np.eye(3), [1, 2, 3], [1, 2, 3]), ValueError, "Got an array of shape"),
}


@pytest.mark.parametrize("fit", [fit_bpmf, fit_als, fit_bias, fit_sgd], ids=lambda f: f.__name__)
@pytest.mark.parametrize("case", TABLES)
def test_tables(case, fit):
    table, error, message = TABLES[case]
    with pytest.raises(error, match=message) as caught:
        fit(table, progressbar=False)
    assert str(caught.value).startswith(f"The 'ratings' argument of {fit.__name__} must be ")


ARGUMENTS = [
    (fit_bpmf, {"n_factors": -3}, ValueError, "a non-negative integer. Got -3"),
    (fit_bpmf, {"n_factors": 2.5}, TypeError, "a non-negative integer. Got 2.5"),
    (fit_bpmf, {"n_factors": "ten"}, TypeError, "a non-negative integer. Got 'ten'"),
    (fit_bpmf, {"n_factors": True}, TypeError, "a non-negative integer. Got True"),
    (fit_bpmf, {"n_factors": 0, "biases": False}, ValueError, "nothing would be left. Got 0"),
    (fit_bpmf, {"biases": 1}, TypeError, "True or False. Got 1"),
    (fit_bpmf, {"draws": 0}, ValueError, "a positive integer. Got 0"),
    (fit_bpmf, {"draws": 10.0}, TypeError, "a positive integer. Got 10.0"),
    (fit_bpmf, {"tune": -1}, ValueError, "a non-negative integer. Got -1"),
    (fit_bpmf, {"chains": 0}, ValueError, "a positive integer. Got 0"),
    (fit_bpmf, {"cores": 0}, ValueError, "a positive integer. Got 0"),
    (fit_bpmf, {"probe": 0}, ValueError, "a positive integer. Got 0"),
    (fit_bpmf, {"random_seed": -1}, ValueError, "None or a non-negative integer. Got -1"),
    (fit_bpmf, {"random_seed": 1.5}, TypeError, "None or a non-negative integer. Got 1.5"),
    (fit_bpmf, {"random_seed": "x"}, TypeError, "None or a non-negative integer. Got 'x'"),
    (fit_bpmf, {"random_seed": True}, TypeError, "None or a non-negative integer. Got True"),
    (fit_bpmf, {"alpha": 0}, ValueError, "greater than 0. Got 0"),
    (fit_bpmf, {"alpha": NAN}, ValueError, "greater than 0. Got nan"),
    (fit_bpmf, {"center": "median"}, ValueError, "one of 'mean'. Got 'median'"),
    (fit_bpmf, {"center": INF}, ValueError, "and less than 1e+30. Got inf"),
    (fit_bpmf, {"scale": 0}, ValueError, "greater than 1e-30 and less than 1e+30. Got 0"),
    (fit_bpmf, {"scale": 1e200}, ValueError, "less than 1e+30. Got 1e+200"),
    (fit_bpmf, {"scale": "iqr"}, ValueError, "one of 'sd'. Got 'iqr'"),
    (fit_bpmf, {"prior": 3}, TypeError, "None or a bayesmf.NormalWishart. Got 3"),
    (fit_bpmf, {"backend": "fortran"}, ValueError, "one of 'numba', 'numpy'. Got 'fortran'"),
    (fit_bpmf, {"memory_budget": "lots"}, ValueError, "a positive number of bytes"),
    (fit_bpmf, {"memory_budget": 0}, ValueError, "a positive number of bytes"),
    (fit_bpmf, {"memory_budget": "1KB"}, ValueError, "at least .*MB, what one draw of each"),
    (fit_bpmf, {"progressbar": "yes"}, TypeError, "True or False. Got 'yes'"),
    (fit_bpmf, {"test": GOOD.drop(columns="user")}, ValueError, "Got no 'user' column"),
    (fit_bpmf, {"test": GOOD.drop(columns="rating")}, ValueError, "Got no 'rating' column"),
    (fit_bpmf, {"test": GOOD[:0]}, ValueError, "at least one rating. Got no rows"),
    (fit_bpmf, {"random_seed": 2**70}, ValueError, "below 2**63. Got 1180591620717411303424"),
    (fit_bpmf, {"memory_budget": None}, TypeError, "a positive number of bytes"),
    (fit_bpmf, {"test": GOOD.astype({"user": str})}, TypeError, "'user' ids that are int"),
    (fit_als, {"n_factors": -1}, ValueError, "a non-negative integer. Got -1"),
    (fit_als, {"n_factors": 0, "biases": False}, ValueError, "nothing would be left. Got 0"),
    (fit_als, {"reg": -1}, ValueError, "at least 0. Got -1"),
    (fit_als, {"reg": "big"}, ValueError, "'auto' or a non-negative number. Got 'big'"),
    (fit_als, {"reg": (1.0,)}, ValueError, "two of them for users and items. Got"),
    (fit_als, {"reg": (1.0, -2.0)}, ValueError, "at least 0. Got -2"),
    (fit_als, {"solve_biases": "last"}, ValueError, "one of 'joint', 'separate'. Got 'last'"),
    (fit_als, {"solve_sides": 1}, ValueError, "one of 'alternating', 'simultaneous'. Got 1"),
    (fit_sgd, {"n_factors": 0, "biases": False}, ValueError, "nothing would be left. Got 0"),
    (fit_sgd, {"learning_rate": 0.0}, ValueError, "greater than 0. Got 0"),
    (fit_sgd, {"schedule": "step"}, ValueError, "one of 'inverse', 'constant', 'cosine'"),
    (fit_sgd, {"batch_size": 0}, ValueError, "a positive integer. Got 0"),
    (fit_sgd, {"patience": 0}, ValueError, "a positive integer. Got 0"),
    (fit_sgd, {"max_epochs": 2.5}, TypeError, "a positive integer. Got 2.5"),
    (fit_sgd, {"reg_bias": "small"}, ValueError, "'auto' or a non-negative number"),
    (fit_als, {"reg_bias": NAN}, ValueError, "at least 0. Got nan"),
    (fit_als, {"max_iter": 0}, ValueError, "a positive integer. Got 0"),
    (fit_als, {"tol": -1.0}, ValueError, "at least 0. Got -1"),
    (fit_als, {"validation_size": 1.0}, ValueError, "less than 1. Got 1"),
    (fit_als, {"random_seed": -1}, ValueError, "None or a non-negative integer. Got -1"),
    (fit_als, {"weighted": None}, TypeError, "True or False. Got None"),
]


@pytest.mark.parametrize(
    ("fit", "arguments", "error", "message"),
    ARGUMENTS,
    ids=[f"{fit.__name__}-{next(iter(a))}-{k}" for k, (fit, a, _, _) in enumerate(ARGUMENTS)],
)
def test_arguments(fit, arguments, error, message):
    with pytest.raises(error) as caught:
        fit(GOOD, **({"progressbar": False} | arguments))
    assert str(caught.value).startswith(f"The '{next(iter(arguments))}' argument of {fit.__name__}")
    assert message.split(".*")[0] in str(caught.value)
    assert message.split(".*")[-1] in str(caught.value)


def test_als_without_penalty_says_what_to_do():
    with pytest.raises(ValueError, match="cannot solve with these penalties.*Give positive 'reg'"):
        fit_als(GOOD, n_factors=15, reg=0, reg_bias=0, progressbar=False)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GammaPrior(0, 1), "'shape' argument of GammaPrior"),
        (lambda: GammaPrior(1, -1), "'rate' argument of GammaPrior"),
        (lambda: NormalWishart(beta0=0), "'beta0' argument of NormalWishart"),
        (lambda: NormalWishart(extra_dof=-1), "'extra_dof' argument of NormalWishart"),
        (lambda: NormalWishart(strength=0), "'strength' argument of NormalWishart"),
        (lambda: NormalWishart(row_share=-1), "'row_share' argument of NormalWishart"),
        (lambda: NormalWishart(interaction_share=0), "'interaction_share' argument"),
        (lambda: NormalWishart(mu0="a"), "'mu0' argument of NormalWishart"),
        (lambda: bayesmf.published_2008(0), "'n_factors' argument of published_2008"),
        (lambda: Ratings(GOOD, duplicates="first"), "'duplicates' argument of Ratings"),
        (lambda: Ratings(GOOD, user_col="who"), "the user column 'who'"),
        (lambda: Ratings(([1], [2], [3]), user_col="x"), "a DataFrame when columns are named"),
        (lambda: bayesmf.simulate(3, 3, 10), "at most the 9 cells. Got 10"),
        (lambda: bayesmf.simulate(0, 3, 1), "'n_users' argument of simulate"),
        (lambda: bayesmf.simulate(3, 3, 3, noise_sd=-1), "'noise_sd' argument of simulate"),
    ],
)
def test_other_arguments(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


PREDICTIONS = [
    ({"prob": 0}, ValueError, "'prob' argument of predict"),
    ({"prob": 90}, ValueError, "'prob' argument of predict"),
    ({"kind": "mean"}, ValueError, "'kind' argument of predict"),
    ({"clip": 5}, TypeError, "'clip' argument of predict"),
    ({"clip": (5, 1)}, ValueError, "'clip' argument of predict"),
    ({"round_to": 0}, ValueError, "'round_to' argument of predict"),
    ({"pairs": [(1, 2, 3)]}, TypeError, "list of [(]user, item[)] tuples. Got .* at position 0"),
    ({"pairs": [("1", 2)]}, TypeError, "'user' ids that are int, as in the training ratings"),
    ({"pairs": pd.DataFrame({"user": [1]})}, ValueError, "no 'item' column"),
    ({"pairs": 5}, TypeError, "'pairs' argument of predict"),
    ({"pairs": ((1, 2), (3, 4))}, TypeError, "list of [(]user, item[)] tuples. Got a tuple"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), PREDICTIONS)
def test_predict(posterior, arguments, error, message):
    pairs = arguments.get("pairs", [(0, 1)])
    rest = {name: value for name, value in arguments.items() if name != "pairs"}
    with pytest.raises(error, match=message):
        posterior.predict(pairs, **rest)


def test_lists(posterior, als):
    for model in (posterior, als):
        with pytest.raises(ValueError, match="'n' argument of recommend"):
            model.recommend([0], n=0)
        with pytest.raises(TypeError, match="'exclude_seen' argument of recommend"):
            model.recommend([0], exclude_seen=None)
        with pytest.raises(TypeError, match="'user' ids that are int"):
            model.recommend(["0"])
        with pytest.raises(ValueError, match="one of the items of the training ratings. Got 999"):
            model.similar_items(999)
        with pytest.raises(ValueError, match="'factor' argument of top_items"):
            model.top_items(2)


def test_compare(posterior, split):
    with pytest.raises(TypeError, match="'models' argument of compare"):
        bayesmf.compare({}, split[1])
    with pytest.raises(TypeError, match="a mapping such as .* Got DataFrame"):
        bayesmf.compare(split[1].to_frame(), {"x": posterior})
    with pytest.raises(TypeError, match="'x': int"):
        bayesmf.compare({"good": posterior, "x": 3}, split[1])
    with pytest.raises(TypeError, match="'clip' argument of compare"):
        bayesmf.compare({"x": posterior}, split[1], clip=(2, 3))
    with pytest.raises(ValueError, match="'draws' argument of compare"):
        bayesmf.compare({"x": posterior}, split[1], draws=1)
    with pytest.raises(ValueError, match="no 'rating' column"):
        bayesmf.compare({"x": posterior}, split[1].to_frame().drop(columns="rating"))
    with pytest.raises(ValueError, match="no 'user' column"):
        bayesmf.compare({"x": posterior}, split[1].to_frame().drop(columns="user"))
