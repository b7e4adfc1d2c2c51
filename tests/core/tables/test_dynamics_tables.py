"""Tables of states' coming and going: by hand on a path that is known, and by property."""

import numpy as np
import polars as pl
import pytest
from core.plots.cases import textbook

from glmhmm_core.tables.dynamics import (
    AROUND,
    DWELL_SCHEMA,
    change_table,
    dwell_table,
    occupancy_table,
    trajectory_table,
)
from glmhmm_core.tables.parameters import state_table

#: Two sessions of a path of states 0 and 1.
PATHS = {"one": [0] * 6 + [1] * 3 + [0] * 2, "two": [1, 0, 0, 0, 1]}


@pytest.fixture(scope="module")
def known():
    """Trial and state tables of ``PATHS``; the posterior is sure of the path up to 0.1."""
    path = np.concatenate(list(PATHS.values()))
    session = np.repeat(list(PATHS), [len(p) for p in PATHS.values()])
    trials = pl.DataFrame(
        {
            "subject": "m",
            "num_states": 2,
            "session": session,
            "state_viterbi": path,
            "p_state_0": np.where(path == 0, 0.9, 0.1),
            "p_state_1": np.where(path == 1, 0.9, 0.1),
        }
    )
    states = pl.DataFrame(
        {
            "subject": "m",
            "num_states": 2,
            "state_idx": [0, 1],
            "state_rank": [1, 0],
            "state_label": ["a", "b"],
            "state_color": ["#000000", "#ffffff"],
            "state_match": ["a", "b"],
            "self_transition": [0.75, 0.5],
        }
    )
    return trials, states


def test_occupancy_and_entries_of_a_known_path(known):
    table = occupancy_table(*known).sort("state_idx", "session_idx")
    assert table["n_trials"].to_list() == [11, 5, 11, 5]
    assert table["entries"].to_list() == [1, 1, 1, 1]
    expected = [(8 * 0.9 + 3 * 0.1) / 11, (3 * 0.9 + 2 * 0.1) / 5]
    np.testing.assert_allclose(table["occupancy"][:2], expected)


def test_changes_of_a_known_path_are_half_a_trial_from_the_boundary(known):
    table = change_table(*known).filter(state_idx=1, direction="into")
    at = dict(table.select("relative_trial", "probability").iter_rows())
    assert at[-0.5] == pytest.approx(0.1)
    assert at[0.5] == pytest.approx(0.9)
    assert min(at) == -5.5  # six trials of session one before it, four of session two
    number = dict(table.select("relative_trial", "n_changes").iter_rows())
    assert (number[-0.5], number[0.5], number[1.5], number[-5.5]) == (2, 2, 1, 1)


def test_trajectories_count_every_session_the_same(known):
    table = trajectory_table(*known).filter(state_idx=0)
    assert table["first"].to_list() == [0, 10]
    assert table["n_sessions"].to_list() == [2, 1]
    first = [(7 * 0.9 + 3 * 0.1) / 10, (3 * 0.9 + 2 * 0.1) / 5]
    np.testing.assert_allclose(table["probability"], [np.mean(first), 0.9])
    np.testing.assert_allclose(table["standard_error"][0], np.std(first, ddof=1) / np.sqrt(2))


def test_states_add_up_and_what_comes_goes():
    trials, states = textbook().trials, textbook().states
    occupancy = occupancy_table(trials, states)
    sums = occupancy.group_by("num_states", "session").agg(pl.col("occupancy").sum())
    np.testing.assert_allclose(sums["occupancy"], 1)
    for _, part in trajectory_table(trials, states).group_by("num_states", "first"):
        assert part["probability"].sum() == pytest.approx(1)
    changes = change_table(trials, states).filter(relative_trial=0.5)
    by = changes.group_by("num_states", "direction").agg(pl.col("n_changes").sum())
    for _, part in by.group_by("num_states"):
        assert part["n_changes"].n_unique() == 1  # what one state loses another gains
    entries = occupancy.group_by("num_states").agg(pl.col("entries").sum())
    both = by.filter(direction="into").join(entries, on="num_states")
    assert (both["n_changes"] == both["entries"]).all()
    assert change_table(trials, states)["relative_trial"].abs().max() == AROUND - 0.5


def test_dwells_of_the_posterior_with_those_of_the_chain():
    tables = textbook()
    states = state_table(tables.fits[0])
    table = dwell_table(tables.fits[0][3], states)
    assert table.schema == DWELL_SCHEMA
    assert table["state_label"].unique(maintain_order=True).to_list() == [
        "engaged",
        "biased left",
        "biased right",
    ]
    for row in states.filter(num_states=3).iter_rows(named=True):
        part = table.filter(state_idx=row["state_idx"])
        d = part["trials"].to_numpy()
        assert d.tolist() == list(range(1, len(d) + 1))
        np.testing.assert_allclose(part["predicted"], row["self_transition"] ** d)
        assert part["at_risk"].min() >= 1
