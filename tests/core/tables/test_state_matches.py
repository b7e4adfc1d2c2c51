"""States beside the population's: who is who, and doubts that reach every table and figure."""

from dataclasses import replace

import numpy as np
import polars as pl
from core.synthetic_fits import IBL, make_subject, permuted, simpler, simulate

from glmhmm_core.plots.cohort import left_out
from glmhmm_core.states.matching import match_states
from glmhmm_core.tables.behavior import psychometric_table
from glmhmm_core.tables.cohort import cohort_summary
from glmhmm_core.tables.matches import STATE_MATCH_SCHEMA, match_table
from glmhmm_core.tables.parameters import state_table, weight_table

CLEANED, _ = simulate(IBL, 8, 90, seed=5)
MODELS = [simpler(IBL, 1), IBL]
OPTIONS = {"n_folds": 2, "n_restarts": 1}
POPULATION = make_subject(
    CLEANED, [simpler(IBL, 1), permuted(IBL, [2, 0, 1])], subject="population", **OPTIONS
)
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
    table = match_table(FINE, POPULATION)
    assert table.schema == STATE_MATCH_SCHEMA
    assert table["num_states"].to_list() == [3, 3, 3]  # one state needs no match
    assert table["state_label"].to_list() == table["reference_label"].to_list()
    assert table["reference_idx"].to_list() == [1, 2, 0]
    np.testing.assert_allclose(table["cost"], 0, atol=1e-9)
    assert not table["ambiguous"].any()
    assert not table["state_ambiguous"].any()
    assert table["reason"].null_count() == 3


def test_only_the_states_in_question_are_doubtful_themselves():
    table = match_table(ODD, POPULATION)
    match = match_states(ODD[3], POPULATION[3])
    assert table["ambiguous"].all()  # of the whole match
    assert table["state_ambiguous"].to_list() == match.doubtful.tolist()
    assert table["state_ambiguous"][2]
    assert table["margin"].to_list() == match.margins.tolist()


def test_a_doubtful_match_makes_labels_ambiguous_in_every_table():
    for table in (weight_table, state_table):
        alone, beside = table(FINE), table(FINE, None, POPULATION)
        assert beside.equals(alone)
        reason = table(ODD, None, POPULATION).filter(num_states=3)["label_reason"]
        assert reason.str.contains("Beside the population").all()
        assert table(ODD, None, POPULATION).filter(num_states=1)["label_reason"].is_null().all()
    assert state_table(ODD, None, POPULATION).filter(num_states=3)["labels_ambiguous"].all()
    summary = cohort_summary([FINE, ODD], (), None, POPULATION).filter(num_states=3)
    assert dict(summary.select("subject", "labels_ambiguous").rows()) == {
        "fine": False,
        "odd": True,
    }


def test_figures_name_subjects_whose_named_states_are_ambiguous():
    doubt = replace(FINE, subject="doubt")
    named = pl.concat([weight_table(FINE), weight_table(doubt)]).filter(num_states=3)
    labels = named["state_label"].unique().to_list()
    assert left_out(named, labels) == ""
    marked = named.with_columns(
        label_reason=pl.when(pl.col("subject") == "doubt").then(pl.lit("Unlike."))
    )
    said = "Named states that are ambiguous, in 1 of 2 subjects: doubt."
    assert left_out(marked, labels) == said
    curves = psychometric_table(
        ODD, CLEANED.with_columns(subject=pl.lit("odd")), "contrast", population=POPULATION
    )
    doubted = curves.filter(num_states=3).group_by("state_label").agg("label_reason")
    assert {label for label, why in doubted.rows() if None in why} == {"all trials"}


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
    assert match_table(FINE, other).is_empty()
    assert weight_table(FINE, None, other).equals(weight_table(FINE))
