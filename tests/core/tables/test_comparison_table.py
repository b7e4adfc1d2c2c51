"""The table of all models: gains paired by session, on the same held-out sessions alone."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from core.engine.climbs import TWO, trials_of
from core.fitting.fitted import design_of

from glmhmm_core.baselines.inputs import design_arguments
from glmhmm_core.baselines.lapse_glm import fit_lapse_glm
from glmhmm_core.comparison.conclusion import conclude
from glmhmm_core.comparison.contenders import contenders
from glmhmm_core.errors import InputError
from glmhmm_core.fitting import FitSettings, fit_subjects
from glmhmm_core.tables.comparison import (
    COHORT_SCHEMA,
    COMPARISON_SCHEMA,
    cohort_comparison,
    comparison_table,
    conclude_cohort,
)


@pytest.fixture(scope="module")
def models():
    """GLM-HMMs of one subject, and its lapse GLM on the same two folds."""
    design = design_of(trials_of(TWO), "a")
    settings = FitSettings(n_restarts=2, cv_folds=2)
    fits = fit_subjects({"a": design}, [1, 2], settings)["a"]
    given = design_arguments(design) | {"prior_scale": 2.0}
    return fits, fit_lapse_glm(**given, lapse="class", cv_folds=2)


def table_of(fits, lapse, prospective=()):
    return comparison_table("a", contenders([fits], [lapse], prospective))


def test_gains_are_over_the_glm_paired_by_session(models):
    fits, lapse = models
    table = table_of(fits, lapse)
    assert dict(table.schema) == COMPARISON_SCHEMA
    assert table["model"].to_list() == ["glm", "glmhmm", "lapse_class"]
    assert table["num_states"].to_list() == [1, 2, 1]
    assert table["gain_over_glm"][0] is None
    assert table["prospective_gain"].null_count() == 3
    for row, model in ((1, fits[2]), (2, lapse)):
        folds = list(zip(model.cv_metrics, fits[1].cv_metrics, strict=True))
        by_fold, trials = np.array(
            [(a.test_bits_per_trial - b.test_bits_per_trial, a.test_trial_count) for a, b in folds]
        ).T
        found = table.row(row, named=True)
        assert found["gain_over_glm"] == pytest.approx((by_fold * trials).sum() / trials.sum())
        bits = np.array([fold.test_bits_per_trial for fold in model.cv_metrics])
        assert len(set(trials)) > 1  # so that it matters that folds are weighted
        weighted = (bits * trials).sum() / trials.sum()
        assert found["heldout_bits_per_trial"] == pytest.approx(weighted, rel=1e-10)
        nats, choices = np.array(
            [
                pair
                for a, b in folds
                for pair in zip(
                    np.subtract(a.test_session_log_likelihoods, b.test_session_log_likelihoods),
                    a.test_session_trial_counts,
                    strict=True,
                )
            ]
        ).T
        rest = nats / np.log(2) - found["gain_over_glm"] * choices
        n = len(rest)
        error = np.sqrt((rest**2).sum() * n / (n - 1)) / choices.sum()
        assert found["gain_over_glm_se"] == pytest.approx(error)


def test_prospective_folds_have_columns_of_their_own(models):
    """Folds are told apart by where they stand, not by what they hold."""
    fits, lapse = models
    table = table_of(fits, replace(lapse, prospective=lapse.cv_metrics), [fits])
    for kind in ("bits_per_trial", "gain", "gain_se"):
        other = {"bits_per_trial": "heldout_bits_per_trial", "gain": "gain_over_glm"}
        interleaved = other.get(kind, "gain_over_glm_se")
        assert table[f"prospective_{kind}"].equals(table[interleaved], check_names=False)


def test_a_fold_that_did_not_converge_is_marked_and_takes_no_part(models):
    fits, lapse = models
    bad = replace(lapse.cv_metrics[0], converged=False)
    unsure = replace(lapse, cv_metrics=(bad, *lapse.cv_metrics[1:]))
    assert table_of(fits, unsure)["converged"].to_list() == [True, True, False]
    said = conclude(contenders([fits], [unsure]))
    assert "Left out, not converged: the best lapse GLM (class)." in said
    assert "lapse GLM" not in said.partition("Left out")[0]
    late = table_of(fits, replace(lapse, prospective=(bad,)))
    assert late["converged"].to_list()[-1] is False


@pytest.mark.parametrize("kind", ["cv_metrics", "prospective"])
def test_a_model_scored_on_other_sessions_is_refused(models, kind):
    fits, lapse = models
    turned = replace(lapse, **{kind: lapse.cv_metrics[::-1]})
    with pytest.raises(InputError, match="lapse_class was scored on other sessions"):
        contenders([fits], [turned], [fits])


def test_driven_chains_join_the_table_beside_constant_ones(models):
    fits, lapse = models
    driven = replace(
        fits[2],
        U=np.zeros((len(fits[2].y), 1)),
        specification=replace(
            fits[2].specification, transition_names=("u",), transition_scale=np.ones(1)
        ),
    )
    found = contenders([fits, replace(fits, fits=(driven,))], [lapse])
    assert [(m.model, m.num_states) for m in found] == [
        ("glm", 1), ("glmhmm", 2), ("glmhmm_t", 2), ("lapse_class", 1),
    ]  # fmt: skip


def row(subject, model, k, bits, gain, converged=True, prospective=None):
    told = {"subject": subject, "model": model, "num_states": k, "converged": converged}
    told |= {"heldout_bits_per_trial": bits, "gain_over_glm": gain}
    return told | {"prospective_gain": prospective}


def cohort(*rows):
    return pl.DataFrame(rows, schema=COMPARISON_SCHEMA)


MICE = cohort(
    *(row(s, "glm", 1, 0.3, None) for s in "abc"),
    row("a", "lapse_class", 1, 0.32, 0.02, prospective=0.02),
    row("b", "lapse_class", 1, 0.34, 0.04, prospective=0.08),
    row("c", "lapse_class", 1, 9.0, 8.7, converged=False),
    row("a", "drifting_weights", 1, 0.40, 0.10, prospective=0.05),
    row("b", "drifting_weights", 1, 0.40, 0.10, prospective=0.01),
    row("c", "drifting_weights", 1, 0.40, 0.10, prospective=0.03),
    row("a", "glmhmm", 3, 0.40, 0.10, prospective=0.04),
    row("b", "glmhmm", 3, 0.42, 0.12, prospective=0.03),
    row("c", "glmhmm", 3, None, None),
)


def test_a_cohorts_means_are_over_those_that_count_and_say_how_many_do_not():
    table = cohort_comparison(MICE)
    assert dict(table.schema) == COHORT_SCHEMA
    by_model = {one["model"]: one for one in table.iter_rows(named=True)}
    assert {m: (r["subjects"], r["left_out"]) for m, r in by_model.items()} == {
        "glm": (3, 0), "lapse_class": (2, 1), "drifting_weights": (3, 0), "glmhmm": (2, 1),
    }  # fmt: skip
    lapse = by_model["lapse_class"]
    assert lapse["gain_over_glm"] == pytest.approx(0.03)
    assert lapse["gain_over_glm_se"] == pytest.approx(0.01)  # sd / sqrt(2)
    assert by_model["glm"]["gain_over_glm"] is None


def test_a_cohorts_conclusion_pairs_by_subject_and_owns_up_to_errors():
    said = conclude_cohort(MICE)
    interleaved, prospective, out = (part + "." for part in said[:-1].split(". "))
    assert "3 states beat the GLM by 0.1100 bits per trial (SE 0.0100)" in interleaved
    # Of a and b: 0.08 in both.
    assert "beat the best lapse GLM (class) by 0.0800 bits per trial (SE 0.0000)" in interleaved
    # Of a and b: 0 and 0.02.
    assert "cannot be told from drifting weights (+0.0100, SE 0.0100)" in interleaved
    # Of a and b: 0.02 and -0.05.
    assert "cannot be told from the best lapse GLM (class) (-0.0150, SE 0.0350)" in prospective
    assert "1 of lapse_class, 1 of glmhmm K=3" in out


def test_what_an_addition_gains_is_said_against_the_plain_model_of_as_many_states():
    more = (
        row("a", "hierarchical", 3, 0.43, 0.13),
        row("b", "hierarchical", 3, 0.43, 0.13),
        row("a", "hierarchical", 2, 0.9, 0.6),  # of which there is no plain model
        row("a", "glmhmm_t", 3, 0.39, 0.09, prospective=0.06),
        row("b", "glmhmm_t", 3, 0.41, 0.11, prospective=0.07),
    )
    said = conclude_cohort(pl.concat([MICE, cohort(*more)]))
    interleaved, forecast = said.partition("On prospective")[::2]
    # Of a and b: 0.03 and 0.01; twice -0.01; 0.02 and 0.04.
    assert (
        "all subjects beat the plain 3 states by 0.0200 bits per trial (SE 0.0100)" in interleaved
    )
    assert "regressors lose to the plain 3 states by 0.0100 bits" in interleaved
    assert "regressors beat the plain 3 states by 0.0300 bits per trial (SE 0.0100)" in forecast
    assert "all subjects" not in forecast
    # Claims are about a model that forecasts, whatever priors from all subjects add to it.
    assert interleaved.startswith("On interleaved folds 3 states beat the GLM")


@pytest.mark.parametrize(
    ("num_states", "forecast", "doubted"),
    [(3, 0.10, True), (3, -0.10, False), (1, 0.10, False)],  # a gain, a loss, and one optimum alone
)
def test_what_learned_priors_gain_on_prospective_folds_may_be_their_start(
    num_states, forecast, doubted
):
    """Of a and b, whose plain fits forecast alike but begin at no population."""
    more = (row(s, "hierarchical", num_states, 0.5, 0.2, prospective=forecast) for s in "ab")
    said = conclude_cohort(pl.concat([MICE, cohort(*more)]))
    interleaved, prospective = said.partition("On prospective")[::2]
    for part in (interleaved, prospective):
        assert "priors learned from all subjects" in part
    assert "start" not in interleaved
    assert ("may be in part their start" in prospective) == doubted


def test_one_subject_has_no_error_and_none_has_no_conclusion():
    said = conclude_cohort(MICE.filter(subject="a"))
    assert "gain 0.1000 bits per trial against the GLM (error unknown)" in said
    assert "no held-out score" in conclude_cohort(MICE.filter(model="glm"))
