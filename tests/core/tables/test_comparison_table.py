"""The table of all models: gains paired by fold, and only on the same held-out sessions."""

from dataclasses import replace

import numpy as np
import pytest
from core.engine.climbs import TWO, trials_of
from core.fitting.fitted import design_of

from glmhmm_core.baselines.inputs import design_arguments
from glmhmm_core.baselines.lapse_glm import fit_lapse_glm
from glmhmm_core.errors import InputError
from glmhmm_core.fitting import FitSettings, fit_subjects
from glmhmm_core.tables.comparison import COMPARISON_SCHEMA, comparison_table


@pytest.fixture(scope="module")
def models():
    """GLM-HMMs of one subject, and its lapse GLM on the same two folds."""
    design = design_of(trials_of(TWO), "a")
    settings = FitSettings(n_restarts=2, max_iters=50, cv_folds=2)
    fits = fit_subjects({"a": design}, [1, 2], settings)["a"]
    given = design_arguments(design) | {"prior_scale": 2.0}
    return fits, fit_lapse_glm(**given, lapse="class", cv_folds=2)


def test_gains_are_over_the_glm_paired_by_fold(models):
    fits, lapse = models
    table = comparison_table(fits, [lapse])
    assert dict(table.schema) == COMPARISON_SCHEMA
    assert table["model"].to_list() == ["glm", "glmhmm", "lapse_class"]
    assert table["num_states"].to_list() == [1, 2, 1]
    assert table["gain_over_glm"][0] is None
    for row, model in ((1, fits[2]), (2, lapse)):
        folds = zip(model.cv_metrics, fits[1].cv_metrics, strict=True)
        gains, trials = np.array(
            [(a.test_bits_per_trial - b.test_bits_per_trial, a.test_trial_count) for a, b in folds]
        ).T
        found = table.row(row, named=True)
        assert found["gain_over_glm"] == pytest.approx((gains * trials).sum() / trials.sum())
        assert found["gain_over_glm_se"] == pytest.approx(abs(gains[0] - gains[1]) / 2)


def test_a_fold_that_did_not_converge_is_marked(models):
    fits, lapse = models
    bad = replace(lapse.cv_metrics[0], converged=False)
    table = comparison_table(fits, [replace(lapse, cv_metrics=(bad, *lapse.cv_metrics[1:]))])
    assert table["converged"].to_list()[-1] is False


def test_a_model_scored_on_other_sessions_is_refused(models):
    fits, lapse = models
    turned = replace(lapse, cv_metrics=lapse.cv_metrics[::-1])
    with pytest.raises(InputError, match="lapse_class was scored on other sessions"):
        comparison_table(fits, [turned])
