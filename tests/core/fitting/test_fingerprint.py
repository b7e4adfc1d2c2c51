"""A fingerprint changes with what decides a fit, and with nothing else."""

from dataclasses import fields, replace

import numpy as np
import polars as pl
import pytest
from core.engine.climbs import TWO, trials_of
from core.fitting.fitted import design_of

from glmhmm_core.fitting import FitSettings
from glmhmm_core.fitting import fingerprint as module
from glmhmm_core.fitting.fingerprint import data_hash, fingerprint
from glmhmm_core.fitting.settings import FrozenWeight

SETTINGS = FitSettings()
DESIGN = replace(
    design_of(trials_of(TWO)),
    transition_names=("u0",),
    U=np.ones((400, 1)),
    transition_scales=np.ones(1),
)
STATES = [1, 2, 3]


def flipped(array, row):
    other = array.copy()
    other[row] = 1 - other[row]
    return other


def renamed(column, row, value):
    return DESIGN.keys.with_columns(
        pl.when(pl.int_range(pl.len()) == row).then(pl.lit(value)).otherwise(column).alias(column)
    )


DATA = {
    "a choice": {"y": flipped(DESIGN.y, 11)},
    "a mask": {"mask": flipped(DESIGN.mask.astype(int), 11).astype(bool)},
    "the last bit of a regressor": {"X": np.nextafter(DESIGN.X, np.inf)},
    "a session's name": {"keys": DESIGN.keys.with_columns(session=pl.lit("z"))},
    "a trial's number": {"keys": renamed("trial", 5, 777)},
    "a session's boundary": {"keys": renamed("session", 40, "s0")},
    "the order of rows": {"X": DESIGN.X[::-1], "y": DESIGN.y[::-1]},
    "a row less": {
        "X": DESIGN.X[:-1],
        "U": DESIGN.U[:-1],
        "y": DESIGN.y[:-1],
        "mask": DESIGN.mask[:-1],
        "keys": DESIGN.keys[:-1],
    },
    "names of regressors": {"feature_names": ("stimulus", "other")},
    "names of choices": {"choice_names": ("left", "up")},
    "the baseline": {"baseline_class_idx": 1},
    "the subject": {"subject": "bob"},
    "the priors": {"prior_scales": np.array([10.0, 4.0])},
}
OTHER = {
    "emission_prior_scale": 3.0,
    "transition_prior_scale": 3.0,
    "transition_concentration": 1.0,
    "stickiness": 1.0,
    "n_restarts": 7,
    "max_iters": 7,
    "tol": 1e-5,
    "seed": 1,
    "cv_folds": 5,
    "transition_regressors": ("u0",),
    "frozen": (FrozenWeight(1, "stimulus"),),
}


@pytest.mark.parametrize("change", DATA.values(), ids=DATA)
def test_it_changes_with_the_data(change):
    other = replace(DESIGN, **change)
    assert fingerprint(other, STATES, SETTINGS) != fingerprint(DESIGN, STATES, SETTINGS)
    assert data_hash(other) != data_hash(DESIGN)


def test_data_are_other_data_with_other_transition_regressors():
    for change in ({"U": DESIGN.U + 1}, {"transition_names": ("u1",)}):
        assert data_hash(replace(DESIGN, **change)) != data_hash(DESIGN)


@pytest.mark.parametrize("name", [f.name for f in fields(FitSettings)])
def test_it_changes_with_every_setting(name):
    other = replace(SETTINGS, **{name: OTHER[name]})
    assert fingerprint(DESIGN, STATES, other) != fingerprint(DESIGN, STATES, SETTINGS)


def test_it_changes_with_the_models():
    assert fingerprint(DESIGN, [1, 2], SETTINGS) != fingerprint(DESIGN, STATES, SETTINGS)


def test_it_changes_with_the_code_that_fits(monkeypatch):
    before = fingerprint(DESIGN, STATES, SETTINGS)
    monkeypatch.setattr(module, "sources_hash", lambda: "other code")
    assert fingerprint(DESIGN, STATES, SETTINGS) != before


def test_the_sources_are_those_of_the_engine_and_the_fits(tmp_path, monkeypatch):
    for package in ("engine", "fitting"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "code.py").write_text("x = 1")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "fitting" / "fingerprint.py"))
    hashes = {module.sources_hash.__wrapped__()}
    for package in ("engine", "fitting"):
        (tmp_path / package / "code.py").write_text("x = 2")
        hashes.add(module.sources_hash.__wrapped__())
    (tmp_path / "engine" / "more.py").write_text("")
    hashes.add(module.sources_hash.__wrapped__())
    assert len(hashes) == 4


def test_it_does_not_change_with_what_decides_nothing():
    before = fingerprint(DESIGN, STATES, SETTINGS)
    assert len(before) == 64
    assert int(before, 16) >= 0
    assert fingerprint(DESIGN, [3, 2, 1, 2], SETTINGS) == before
    keys = DESIGN.keys.with_columns(row=pl.int_range(pl.len()))
    assert fingerprint(replace(DESIGN, keys=keys), STATES, SETTINGS) == before
    transposed = np.asfortranarray(DESIGN.X)
    assert fingerprint(replace(DESIGN, X=transposed), STATES, SETTINGS) == before
    copied = replace(DESIGN, X=DESIGN.X.copy(), y=DESIGN.y.copy(), keys=DESIGN.keys.clone())
    assert fingerprint(copied, STATES, replace(SETTINGS)) == before
    assert fingerprint(DESIGN, np.array(STATES).tolist(), SETTINGS) == before


def test_one_scale_is_not_a_list_of_it():
    listed = replace(SETTINGS, emission_prior_scale=(2.0,))
    assert fingerprint(DESIGN, STATES, listed) != fingerprint(DESIGN, STATES, SETTINGS)
