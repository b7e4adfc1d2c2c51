"""Checks: each finds its trouble, names the subject, and is silent without it."""

from dataclasses import replace

import dagster as dg
import numpy as np
import polars as pl
import pytest
from tracked_fits import make_fits

from glmhmm_assets.defs.checks import (
    check_cleaning,
    check_errors,
    check_fits,
    check_plausible,
    check_predictions,
    fit_check_specs,
    shown_fit,
)
from glmhmm_assets.io_managers import KeepStored
from glmhmm_assets.resources.session_files import tell_report
from glmhmm_core.fitting.result import Excluded, OwnOptimum, SubjectFits
from glmhmm_core.trials.report import ReportRow, report_frame

NO_ROWS = report_frame([])


@pytest.fixture
def study(make_home):
    return make_home().study


def found(results: list[dg.AssetCheckResult]) -> dict[str, list[dict[str, str]]]:
    """What each check that did not pass lists."""
    for result in results:
        assert result.severity == dg.AssetCheckSeverity.WARN
        assert result.passed == (result.metadata["subjects"].value == 0)
    return {
        result.check_name: [record.data for record in result.metadata["list"].records]
        for result in results
        if not result.passed
    }


def good_fits(subject: str = "a", **more) -> SubjectFits:
    """Fits that nothing is wrong with."""
    fits = make_fits(subject, **more)
    return replace(
        fits,
        fits=tuple(
            replace(
                fit,
                restart_objectives=np.zeros(4),
                restart_converged=np.ones(4, bool),
                smoothed_state_probs=np.full((60, fit.num_states), 1 / fit.num_states),
            )
            for fit in fits.fits
        ),
    )


def with_fit(fits: SubjectFits, index: int, **changes) -> SubjectFits:
    changed = list(fits.fits)
    changed[index] = replace(changed[index], **changes)
    return replace(fits, fits=tuple(changed))


def test_good_fits_pass_everything(study):
    assert found(check_fits(study, {"a": good_fits()}, {})) == {}
    (line,) = found(check_fits(study, {"a": good_fits()}, {"a": "held: no"}))["refits_promoted"]
    assert line == {"subject": "a", "what": "held: no"}


def test_further_models_are_checked_alike_but_for_refits(study):
    names = {spec.name for spec in fit_check_specs(study)}
    driven = {spec.name for spec in fit_check_specs(study, "transition_fits")}
    assert names - driven == {"refits_promoted"}
    held = np.tile([0.97, 0.03], (60, 1))
    bad = with_fit(good_fits(), 1, smoothed_state_probs=held)
    results = check_fits(study, {"a": bad}, {}, "transition_fits")
    assert {result.check_name for result in results} == driven
    assert {result.asset_key for result in results} == {dg.AssetKey(["tiny", "transition_fits"])}
    assert list(found(results)) == ["states_occupied"]


def test_parameters_that_nothing_determines_are_listed(study):
    remarks = ("Nothing is known of weight of 'wsls'.", "It is flat.")
    (line,) = found(check_errors(study, "parameter_errors", {"a": remarks}))[
        "parameters_determined"
    ]
    assert line == {"subject": "a", "what": " ".join(remarks)}
    assert found(check_errors(study, "parameter_errors", {})) == {}


def test_a_subject_without_fits_and_one_without_all_are_listed(study):
    fits = {
        "a": good_fits(),
        "b": Excluded("b", "too short"),
        "c": replace(good_fits("c"), notes=("K = 5 is more than its choices bear",)),
    }
    assert found(check_fits(study, fits, {})) == {
        "subjects_fitted": [
            {"subject": "b", "what": "too short"},
            {"subject": "c", "what": "K = 5 is more than its choices bear"},
        ]
    }


def test_a_fall_of_the_objective_is_found_in_any_restart(study):
    trace = good_fits()[1].restart_log_probability.copy()
    trace[2, 3] = trace[2, 4] + 0.5
    bad = with_fit(good_fits(), 0, restart_log_probability=trace)
    (line,) = found(check_fits(study, {"a": bad}, {}))["objective_never_decreasing"]
    assert line == {"subject": "a", "what": "K = 1: fell by up to 0.5 nats"}


def test_rounding_and_the_end_of_a_trace_are_no_fall(study):
    trace = good_fits()[1].restart_log_probability.copy()
    trace[2, 4] = np.nextafter(trace[2, 3], -np.inf)
    trace[2, 5:] = np.nan
    fine = with_fit(good_fits(), 0, restart_log_probability=trace)
    assert found(check_fits(study, {"a": fine}, {})) == {}


def test_a_best_restart_that_did_not_converge_is_listed(study):
    bad = with_fit(good_fits(), 1, restart_converged=np.array([False, True, True, True]))
    (line,) = found(check_fits(study, {"a": bad}, {}))["converged"]
    assert line == {"subject": "a", "what": "K = 2: stopped after 7 iterations"}


def test_what_the_data_say_nothing_of_is_listed_once(study):
    remark = "Choice 1 is never made: its weights are the prior's, or diverge without one."
    bad = with_fit(with_fit(good_fits(), 0, remarks=(remark,)), 1, remarks=(remark,))
    assert found(check_fits(study, {"a": bad}, {})) == {
        "data_suffice": [{"subject": "a", "what": remark}]
    }


def test_a_lonely_best_restart_is_listed_but_not_for_one_state(study):
    lonely = np.array([0.0, -5.0, -5.0, -5.0])
    bad = with_fit(good_fits(), 1, restart_objectives=lonely)
    (line,) = found(check_fits(study, {"a": bad}, {}))["restarts_agree"]
    assert line["what"] == "K = 2: 1 of 4 restarts at the best optimum"
    fine = with_fit(good_fits(numbers=(1,)), 0, restart_objectives=lonely)
    assert found(check_fits(study, {"a": fine}, {})) == {}


def test_an_empty_state_is_listed(study):
    held = np.tile([0.97, 0.03], (60, 1))
    bad = with_fit(good_fits(), 1, smoothed_state_probs=held)
    (line,) = found(check_fits(study, {"a": bad}, {}))["states_occupied"]
    assert line == {"subject": "a", "what": "K = 2: state 1 holds 3.0% of the trials"}


def test_the_shown_fit_is_the_studys_or_the_nearest_below(study):
    assert study.figures.num_states == 2
    assert shown_fit(study, make_fits(numbers=(1, 2, 3))).num_states == 2
    assert shown_fit(study, make_fits(numbers=(1, 4))).num_states == 1
    assert shown_fit(study, make_fits(numbers=(3, 4))).num_states == 3


def trials(choice: list[int | None], stimulus: list[float | None]) -> pl.DataFrame:
    return pl.DataFrame({"choice": choice, "signed_contrast": stimulus})


def test_choices_and_stimuli_out_of_range_are_listed(make_home):
    home = make_home()
    home.edit('"two_afc"', '"ibl_2afc"')
    tables = {
        "a": trials([0, 1, None], [-1.0, 1.0, None]),
        "b": trials([0, 2, -1], [0.0, 0.0, 0.0]),
        "c": trials([0, 1, 1], [-1.5, 100.0, 0.0]),
    }
    assert found(check_cleaning(home.study, tables, NO_ROWS)) == {
        "choices_in_range": [{"subject": "b", "what": "2 choices outside the task's 2"}],
        "stimuli_in_range": [
            {"subject": "c", "what": "2 values of signed_contrast outside -1 to 1"}
        ],
    }


def test_unusable_files_and_subjects_are_listed_and_kept_ones_are_not(study):
    refused = report_frame([ReportRow("file", "unreadable", "x.csv: no columns")])
    tables = {"a": Excluded("a", "nothing left"), "b": KeepStored(Excluded("b", "gone"))}
    assert found(check_cleaning(study, tables, refused)) == {
        "files_usable": [
            {"subject": "", "what": "x.csv: no columns"},
            {"subject": "a", "what": "nothing left"},
        ]
    }


WARNED = ReportRow("session", "copy", "as s1", "a", "s2", warning=True)


def test_a_warning_is_listed_and_what_was_dropped_is_not(study):
    dropped = ReportRow("session", "short", "too short", "a", "s3")
    results = check_plausible(study, [NO_ROWS, report_frame([WARNED, dropped])])
    line = {"subject": "a", "session": "s2", "rule": "copy", "what": "as s1"}
    assert found(results) == {"data_plausible": [line]}


def test_a_warning_of_a_report_that_stays_as_stored_is_not_listed(study):
    assert found(check_plausible(study, [KeepStored(report_frame([WARNED]))])) == {}


def test_a_warning_of_the_files_makes_none_of_them_unusable(study):
    assert found(check_cleaning(study, {}, report_frame([WARNED]))) == {}


def test_files_that_are_of_another_kind_are_no_trouble(study):
    rows = [ReportRow("file", rule, "a.mat") for rule in ("not_read", "text_form")]
    assert found(check_cleaning(study, {}, report_frame(rows))) == {}


def test_a_terminal_is_told_a_few_rows_of_each_rule(study):
    rows = [ReportRow("file", "not_read", f"{i}.mat") for i in range(40)]
    rows.append(ReportRow("subject", "subject_name", "rename it", "../x"))
    lines = tell_report(study, report_frame(rows))
    assert lines[:5] == [f"session files: {i}.mat" for i in range(5)]
    assert "35 more" in lines[5]
    assert "--report FILE" in lines[5]
    assert lines[6:] == ["../x: rename it"]


def test_an_optimum_with_other_states_that_does_as_well_is_named(study):
    own = OwnOptimum(False, 1.25, -0.0004, 0.002, 0.6)
    (line,) = found(check_fits(study, {"a": with_fit(good_fits(), 1, own_optimum=own)}, {}))[
        "optimum_unambiguous"
    ]
    assert line["subject"] == "a"
    assert line["what"] == (
        "K = 2: its own restarts give other states (60% of the trials agree) at +1.2 nats "
        "and -0.0004 held-out bits per trial"
    )
    same = replace(own, state_agreement=0.97)
    assert found(check_fits(study, {"a": with_fit(good_fits(), 1, own_optimum=same)}, {})) == {}


def test_an_extreme_prediction_is_listed_and_a_mild_one_is_not(study):
    columns = ("num_states", "statistic", "data", "simulated", "p_value")
    rows = [
        (2, "share_switching", 0.7, 0.9, 0.00995),
        (2, "switches_variance", 5.0, 4.0, 0.05),
        (2, "choice_run_mean", 3.0, None, None),
        (2, "choice_autocorrelation", 0.3, 0.1, 0.00995),  # in the table alone
    ]
    table = pl.DataFrame(rows, columns, orient="row")
    listed = found(check_predictions(study, {"a": table, "b": Excluded("b", "too short")}))
    what = "K = 2: share_switching is 0.7 and 0.9 in simulations (p = 0.01)"
    assert listed == {"predictions_hold": [{"subject": "a", "what": what}]}
    assert found(check_predictions(study, {"a": table[1:]})) == {}
