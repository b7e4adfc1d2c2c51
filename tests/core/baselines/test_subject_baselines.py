"""A subject's baselines together: their folds, their file, and what cannot be fitted."""

from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
from core.engine.climbs import TWO, trials_of
from core.fitting.fitted import design_of

from glmhmm_core.baselines.store import load_baselines, save_baselines
from glmhmm_core.baselines.subject import BaselineSettings, fingerprint, fit_baselines
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.folds import assign_folds

MODELS = ("lapse_class", "drifting_weights")
SETTINGS = BaselineSettings(MODELS, 2.0, cv_folds=2, prospective_folds=2)


@pytest.fixture(scope="module")
def design():
    return design_of(trials_of(TWO), "a")


@pytest.fixture(scope="module")
def baselines(design):
    return fit_baselines({"a": design}, SETTINGS)["a"]


def same(a, b):
    """Whether two values are equal down to the arrays of their fields."""
    if is_dataclass(a):
        return type(a) is type(b) and all(
            same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)
        )
    if isinstance(a, np.ndarray):
        kinds = {a.dtype.kind, b.dtype.kind}
        return np.array_equal(a, b) and (len(kinds) == 1 or kinds == {"U", "O"})  # names
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_every_model_has_both_kinds_of_folds(baselines, design):
    assert [fit.model for fit in baselines.fits] == list(MODELS)
    assert baselines.notes == ()
    sessions = list(dict.fromkeys(design.session_ids.tolist()))
    dealt = assign_folds(len(sessions), 2, SETTINGS.seed)  # as of a GLM-HMM with the same seed
    for fit in baselines.fits:
        held_out = [[sessions.index(s) for s in fold.test_session_ids] for fold in fit.cv_metrics]
        assert held_out == [np.flatnonzero(dealt == fold).tolist() for fold in range(2)]
        assert [fold.fold_index for fold in fit.prospective] == [0, 1]
        for fold in fit.prospective:
            last = sessions.index(fold.training_session_ids[-1])
            assert sessions.index(fold.test_session_ids[0]) == last + 1


def test_a_file_holds_all_of_it(baselines, tmp_path):
    path = tmp_path / "a.npz"
    save_baselines(path, baselines)
    assert same(load_baselines(path), baselines)


def test_a_spoilt_file_says_so(baselines, tmp_path):
    path = tmp_path / "a.npz"
    save_baselines(path, baselines)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="not a whole file of baselines"):
        load_baselines(path)


def test_what_cannot_be_fitted_is_noted_and_takes_nothing_with_it(design):
    """A walk has to begin somewhere; a lapse GLM does without a prior."""
    settings = replace(SETTINGS, prior_scale=float("inf"), cv_folds=99, prospective_folds=99)
    one = fit_baselines({"a": design}, settings)["a"]
    assert [fit.model for fit in one.fits] == ["lapse_class"]
    assert one.fits[0].cv_metrics == one.fits[0].prospective == ()
    cv, prospective, drift = one.notes
    assert "99 folds for" in cv
    assert "99 prospective folds need 198 sessions" in prospective
    assert drift.startswith("drifting_weights: ")
    assert "must be positive and finite" in drift


def test_a_fingerprint_moves_with_data_and_settings(design, baselines):
    assert fingerprint(design, SETTINGS) == baselines.fingerprint
    others = [
        fingerprint(replace(design, X=design.X + 1e-12), SETTINGS),
        *(
            fingerprint(design, replace(SETTINGS, **change))
            for change in (
                {"models": MODELS[:1]},
                {"prior_scale": 1.0},
                {"seed": 1},
                {"cv_folds": 3},
                {"prospective_folds": 1},
            )
        ),
    ]
    assert len({baselines.fingerprint, *others}) == 7
