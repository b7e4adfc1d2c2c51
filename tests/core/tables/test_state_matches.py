"""States beside the pooled fit's: who is who, and names that reach every table and figure."""

from dataclasses import replace

import numpy as np
import polars as pl
from core.synthetic_fits import IBL, make_subject, permuted, simpler, simulate

from glmhmm_core.plots.cohort import cohort_weights, left_out, shown_labels
from glmhmm_core.states.matching import match_states
from glmhmm_core.states.naming import Naming
from glmhmm_core.tables.behavior import accuracy_table, psychometric_table
from glmhmm_core.tables.cohort import cohort_summary
from glmhmm_core.tables.matches import STATE_MATCH_SCHEMA, match_table
from glmhmm_core.tables.parameters import state_table, transition_table, weight_table
from glmhmm_core.tables.trials import trial_table
from glmhmm_core.tables.validity import with_states

CLEANED, _ = simulate(IBL, 8, 90, seed=5)
MODELS = [simpler(IBL, 1), IBL]
OPTIONS = {"n_folds": 2, "n_restarts": 1}
POPULATION = make_subject(
    CLEANED, [simpler(IBL, 1), permuted(IBL, [2, 0, 1])], subject="population", **OPTIONS
)
NAMING = Naming(population=POPULATION)
FINE = make_subject(CLEANED, MODELS, subject="fine", **OPTIONS)
#: None of its states is biased right: one goes against the stimulus, and is soon left.
WEIGHTS = IBL.emission_weights.copy()
WEIGHTS[2, 0] = [-3.0, 0.3, 2.5, 0.0]
MATRIX = IBL.transition_matrix.copy()
MATRIX[2] = [0.2, 0.2, 0.6]
ODD = make_subject(
    CLEANED,
    [MODELS[0], IBL._replace(emission_weights=WEIGHTS, transition_matrix=MATRIX)],
    subject="odd",
    **OPTIONS,
)


def test_a_state_is_the_populations_of_the_same_name_whatever_its_number():
    table = match_table(FINE, NAMING)
    assert table.schema == STATE_MATCH_SCHEMA
    assert table["num_states"].to_list() == [3, 3, 3]  # one state needs no match
    assert table["state_label"].to_list() == table["reference_label"].to_list()
    assert table["reference_idx"].to_list() == [1, 2, 0]
    np.testing.assert_allclose(table["cost"], 0, atol=1e-9)
    assert not table["ambiguous"].any()
    assert not table["state_ambiguous"].any()
    assert table["reason"].null_count() == 3


def test_only_the_states_in_question_are_doubtful_themselves():
    table = match_table(ODD, NAMING)
    match = match_states(ODD[3], POPULATION[3])
    assert table["ambiguous"].all()  # of the whole match
    assert table["state_ambiguous"].to_list() == [False, False, True]
    assert table["state_reason"].is_null().to_list() == [True, True, False]
    assert table["state_label"].to_list() == ["engaged", "biased left", "disengaged (own)"]
    assert table["reference_label"][2] == "biased right"
    assert table["margin"].to_list() == match.margins.tolist()


def test_every_table_has_the_same_names():
    cleaned = CLEANED.with_columns(subject=pl.lit("odd"))
    names = ["engaged", "biased left", "disengaged (own)"]
    shared = ["engaged", "biased left", None]
    tables = {
        "weights": weight_table(ODD, NAMING),
        "states": state_table(ODD, NAMING),
        "accuracy": accuracy_table(ODD, cleaned, "contrast", NAMING),
        "curves": psychometric_table(ODD, cleaned, "contrast", NAMING),
        "checks": with_states(pl.DataFrame({"state_idx": [0, 1, 2]}), ODD, 3, NAMING),
        "transitions": transition_table(ODD, NAMING)
        .rename({f"target_{what}": f"state_{what}" for what in ("idx", "label", "match")})
        .drop_nulls("state_idx"),
    }
    for name, table in tables.items():
        found = table.filter(num_states=3).drop_nulls("state_idx").unique("state_idx")
        found = found.sort("state_idx")
        assert found["state_label"].to_list() == names, name
        assert found["state_match"].to_list() == shared, name
    trials = trial_table(ODD, cleaned, NAMING).filter(num_states=3)
    assert set(trials["state_label"]) <= set(names)


def test_a_state_of_this_subject_alone_is_told_in_tables_and_summary():
    for table in (weight_table, state_table):
        assert table(FINE, NAMING).equals(table(FINE))
        reason = table(ODD, NAMING).filter(num_states=3)["label_reason"]
        assert reason.str.starts_with("Disengaged (own) ").all()
        assert table(ODD, NAMING).filter(num_states=1)["label_reason"].is_null().all()
    summary = cohort_summary([FINE, ODD], (), NAMING).filter(num_states=3)
    assert dict(summary.select("subject", "labels_ambiguous").rows()) == {
        "fine": False,
        "odd": True,
    }
    assert "occupancy_disengaged_(own)" not in summary.columns
    odd = summary.filter(subject="odd").row(0, named=True)
    assert odd["occupancy_biased_right"] is None
    assert odd["occupancy_engaged"] == ODD[3].smoothed_state_probs.mean(0)[0]


def test_figures_say_whose_states_are_not_in_them():
    weights = pl.concat([weight_table(one, NAMING) for one in (FINE, ODD)]).filter(num_states=3)
    labels = shown_labels(weights)
    assert labels == ["engaged", "biased left", "biased right"]
    assert left_out(weights, labels) == (
        "Left out: 1 state of one subject alone, which match no state of the others (odd)."
    )
    assert left_out(weights.filter(subject="fine"), labels) == ""
    figure = cohort_weights(weights, 3, "Two")
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles[:3] == ["engaged\n2 of 2", "biased left\n2 of 2", "biased right\n1 of 2"]


def test_unnamed_states_that_match_the_pooled_fits_are_pooled():
    none = IBL._replace(emission_weights=IBL.emission_weights * [0, 0.4, 1, 1])
    pooled = make_subject(CLEANED, [none], subject="population", **OPTIONS)
    members = [make_subject(CLEANED, [none], subject=name, **OPTIONS) for name in "ab"]
    naming = Naming(population=pooled)
    weights = pl.concat([weight_table(one, naming) for one in members])
    assert shown_labels(weights) == ["state 1", "state 2", "state 3"]
    # Without a pooled fit they are three things of a and three of b.
    alone = pl.concat([weight_table(one) for one in members])
    assert shown_labels(alone) == []
    assert "6 states of one subject alone" in left_out(alone, [])


def test_a_population_of_another_design_says_nothing():
    other = replace(
        POPULATION,
        fits=tuple(
            replace(
                fit,
                specification=replace(fit.specification, emission_names=("a", "b", "c", "d")),
            )
            for fit in POPULATION.fits
        ),
    )
    assert match_table(FINE, Naming(population=other)).is_empty()
    assert weight_table(FINE, Naming(population=other)).equals(weight_table(FINE))
