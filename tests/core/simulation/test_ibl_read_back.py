"""Simulated files go through the door of real ones and give back the arrays they were made of."""

import numpy as np

from glmhmm_core.design.build import build_design
from glmhmm_core.simulation.ibl_cohort import simulate_ibl_cohort
from glmhmm_core.simulation.ibl_files import write_ibl_cohort
from glmhmm_core.simulation.ibl_task import MIN_TRIALS
from glmhmm_core.tasks.load import load_task
from glmhmm_core.trials.cleaning import clean
from glmhmm_core.trials.readers import read_subject
from glmhmm_core.trials.scan import scan


def test_the_design_of_the_files_is_what_made_the_choices(tmp_path):
    settings = {"seed": 3, "sessions": (31, 33), "no_choice_prob": 0.01}
    mice = simulate_ibl_cohort(2, trials=(MIN_TRIALS, MIN_TRIALS + 20), **settings)
    unbiased = simulate_ibl_cohort(2, trials=90, **settings)
    write_ibl_cohort(tmp_path / "mice", mice)
    task = load_task("ibl_2afc")

    found = scan(tmp_path / "mice", "alf", task)
    assert found.report.is_empty()
    assert list(found.subjects) == ["sim_001", "sim_002"]
    for mouse, whole in zip(unbiased, mice, strict=True):
        trials, report = read_subject(tmp_path / "mice", "alf", task, mouse.subject)
        assert report.is_empty()
        seconds = np.where(whole.y >= 0, whole.response - whole.onset, np.nan)
        np.testing.assert_allclose(trials["response_time"].to_numpy(), seconds, atol=1e-9)
        cleaned, report = clean(trials, task)
        assert set(report["rule"]) <= {"keep_blocks"}, report
        design = build_design(cleaned, task)
        assert design.feature_names == ("stimulus", "bias", "previous_choice", "wsls")
        np.testing.assert_array_equal(design.session_ids, mouse.session_ids)
        np.testing.assert_array_equal(design.y, mouse.y)
        np.testing.assert_allclose(design.X, mouse.X, rtol=1e-15)
