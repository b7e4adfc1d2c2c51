"""Refits in the graph: the prospective test, states that stay, and which fits stand."""

import numpy as np
import polars as pl
import pytest
from conftest import simulate
from core.oracles import Trials, log_likelihood

from glmhmm_assets.defs.rivals import as_seen
from glmhmm_assets.resources.refit_log import RefitLog
from glmhmm_assets.standing import refit_log
from glmhmm_core.fitting import batch
from glmhmm_core.fitting.result import Excluded
from glmhmm_core.states.matching import renumbered

pytestmark = pytest.mark.slow

FITS = ("cleaned_sessions", "cleaning_report", "design_tensors", "subject_fits")


def add_session(home, subject, name, seed):
    """Write one more session of a subject into a file of its own."""
    more = simulate(subject, seed, sessions=1).with_columns(session=pl.lit(name))
    more.write_csv(home.sessions / f"{subject}_{name}.csv")


def facts(home, result, subject="a"):
    """What the page of the subject's fits says."""
    return home.metadata(result, "subject_fits")[subject]


def promoted(result):
    """Outcome of the check of refits."""
    (check,) = [
        e for e in result.get_asset_check_evaluations() if e.check_name == "refits_promoted"
    ]
    return check.passed


def turn(fits):
    """Fits with their states numbered the other way round."""
    if isinstance(fits, Excluded):
        return fits
    turned = tuple(renumbered(f, list(range(f.num_states))[::-1]) for f in fits.fits)
    return batch.replace(fits, fits=turned)


@pytest.fixture
def home(make_home):
    home = make_home(a=1)
    home.add("a")
    return home


def test_new_sessions_test_the_earlier_model_and_states_stay(home, monkeypatch):
    first = home.run(assets=FITS)
    told = facts(home, first)
    assert (told["champion"], told["promotion"]) == (True, "promoted")
    assert told["prospective_test"] == "none: there was no earlier fit"
    before = home.stored("subject_fits", "a")

    # Restarts number states as they like, and a run may be killed as soon as a fit is kept.
    fit_subjects = batch.fit_subjects

    def otherwise(*args, on_finished, **kwargs):
        fit_subjects(*args, on_finished=lambda one: on_finished(turn(one)), **kwargs)

    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    add_session(home, "a", "s04", seed=5)
    with monkeypatch.context() as patch:
        patch.setattr(batch, "fit_subjects", otherwise)
        patch.setattr(RefitLog, "add", die)
        with pytest.raises(Killed):
            home.run(assets=FITS)
    resumed = home.run(assets=FITS)
    told = facts(home, resumed)
    assert told["from_store"]
    assert (told["champion"], told["promotion"]) == (True, "promoted")
    assert promoted(resumed)
    after = home.stored("subject_fits", "a")
    assert told["earlier"] == after.earlier == before.fingerprint
    assert told["fingerprint"] == after.fingerprint != before.fingerprint
    for was, now in zip(before.fits, after.fits, strict=True):
        weights = (f.fitted_params.emission_weights[:, 0, 0] for f in (was, now))
        assert len({tuple(np.argsort(w)) for w in weights}) == 1

    # The score is that of the stored earlier model on exactly the new session.
    new = after.keys_session == "s04"
    fit = after[2]
    trials = Trials(fit.X[new], np.empty((60, 0)), fit.y[new], np.zeros(60), 2)
    truth = log_likelihood(before[2].fitted_params, trials)
    assert told["prospective_log_likelihood"] == pytest.approx(truth, rel=1e-9)
    assert "on 1 new sessions (60 choices)" in told["prospective_test"]
    log = refit_log(home.study).read("a")
    assert log["num_states"].to_list() == [1, 2, 1, 2]
    assert log["promotion"].to_list() == ["promoted"] * 4
    assert log["prospective_log_likelihood"].to_list()[:2] == [None, None]
    assert log["prospective_log_likelihood"][3] == told["prospective_log_likelihood"]
    glm = log["prospective_bits_per_trial"][3] - log["prospective_gain_over_glm"][3]
    assert glm == pytest.approx(log["prospective_bits_per_trial"][2])

    # Nothing is fitted or written down twice, and a correction is no new session.
    assert facts(home, home.run(assets=FITS))["from_store"]
    assert refit_log(home.study).read("a").equals(log)
    add_session(home, "a", "s04", seed=6)
    told = facts(home, home.run(assets=FITS))
    assert told["prospective_test"].startswith("none: no new sessions with choices, 1 sessions")
    assert told["earlier"] == after.fingerprint
    # The file as it was finds its fits, which were promoted once.
    add_session(home, "a", "s04", seed=5)
    assert facts(home, home.run(assets=FITS))["fingerprint"] == after.fingerprint
    assert refit_log(home.study).champion("a")[0] == after.fingerprint


def compared(fits, design):
    """Sessions that a comparison fits its other models to."""
    return sorted(set(as_seen({"a": design}, {"a": fits})["a"].session_ids))


def test_a_refit_that_did_not_converge_is_held_until_a_person_promotes_it(home):
    home.run(assets=FITS)
    before = home.stored("subject_fits", "a")
    add_session(home, "a", "s04", seed=5)
    home.edit("n_restarts = 2", "n_restarts = 2\nmax_iters = 2")
    shown = [*FITS, "trial_table"]
    for again in (False, True):
        result = home.run(assets=shown)
        told = facts(home, result)
        assert ("from_store" in told) == again
        assert told["fingerprint"] == before.fingerprint
        assert told["champion"] is True
        assert "held: it did not converge in 2 iterations" in told["promotion"]
        assert "The earlier fit stands" in told["promotion"]
        assert "1 new sessions" in told["prospective_test"]
        assert not promoted(result)
        assert home.stored("subject_fits", "a").fingerprint == before.fingerprint
        # Tables are of the fits that stand, on the sessions that these saw.
        seen = home.stored("trial_table", "a")["session"].unique().sort().to_list()
        assert seen == [f"s{i:02d}" for i in range(4)]
        design = home.stored("design_tensors", "a")
        assert compared(before, design) == seen
        assert "s04" in design.session_ids

    by_hand = {"ops": {"tiny__subject_fits": {"config": {"promote": ["a"]}}}}
    result = home.run(assets=FITS, run_config=by_hand)
    told = facts(home, result)
    assert told["from_store"]
    assert told["fingerprint"] not in (before.fingerprint, None)
    assert (told["champion"], told["promotion"]) == (True, "promoted by hand")
    assert promoted(result)
    assert home.stored("subject_fits", "a").earlier == before.fingerprint
    # It stays so without being asked again, and a fit that nobody saw is not promoted blindly.
    assert facts(home, home.run(assets=FITS))["promotion"] == "promoted by hand"
    add_session(home, "a", "s05", seed=7)
    told = facts(home, home.run(assets=FITS, run_config=by_hand))
    assert told["promotion"].startswith("held")
    assert refit_log(home.study).read("a")["promotion"].n_unique() == 3


def test_held_fits_are_shown_where_no_earlier_ones_are_of_the_data(home):
    home.edit("n_restarts = 2", "n_restarts = 2\nmax_iters = 2")
    told = facts(home, home.run(assets=FITS))
    assert told["champion"] is False
    assert "No earlier fit is of these data" in told["promotion"]
    home.edit("max_iters = 2", "max_iters = 1000")
    told = facts(home, home.run(assets=FITS))
    assert (told["champion"], told["promotion"]) == (True, "promoted")
    # What a corrected file was fitted to is gone, whatever becomes of the refit.
    home.write("a", seed=3)
    home.edit("max_iters = 1000", "max_iters = 2")
    told = facts(home, home.run(assets=FITS))
    assert told["champion"] is False
    assert told["fingerprint"] == home.stored("subject_fits", "a").fingerprint
    assert home.stored("subject_fits", "a")[2].num_iterations <= 2
