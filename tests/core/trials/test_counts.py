"""Counts: the trials kept and those that the report counts as dropped are all that were read."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmhmm_core.tasks.load import load_task
from glmhmm_core.tasks.task import FewNoChoice, KeepBlocks, MaskUnless, MinSessions, SessionBlocks
from glmhmm_core.trials.cleaning import Exclusion, clean
from glmhmm_core.trials.readers import read_subject
from glmhmm_core.trials.scan import scan

TASK = replace(load_task("two_afc"), block_column="block")
RULES = (
    SessionBlocks((0.2, 0.5)),
    KeepBlocks((0.5,)),
    FewNoChoice(2),
    MinSessions(2),
    MaskUnless("stimulus", min=0),
)


def accounted(folder, task=TASK, exclusions=()):
    """Trials kept, and trials that the reports count as dropped."""
    found = scan(folder, "csv", task)
    reports, kept = [found.report], 0
    for subject in found.subjects:
        trials, unread = read_subject(folder, "csv", task, subject)
        cleaned, dropped = clean(trials, task, exclusions)
        kept += int(cleaned["in_chain"].sum())
        reports += [unread, dropped]
    return kept, pl.concat(reports).filter("dropped")


@st.composite
def files(draw):
    """Rows with sessions out of place, keys, choices or stimuli missing or wrong."""
    row = st.tuples(
        st.sampled_from(["ann", "bob", "a/b", "", "NA"]),
        st.sampled_from(["d0", "d1", "d2", "nan"]),
        st.sampled_from(["1", "-1", "0.5", "", "x"]),
        st.sampled_from(["0", "1", "1", "-1", "7"]),
        st.sampled_from(["0", "1"]),
        st.sampled_from(["0.2", "0.5", "0.5", "0.8"]),
    )
    several = st.lists(st.lists(row, min_size=1, max_size=12), min_size=1, max_size=3)
    return draw(several)


@settings(max_examples=60, deadline=None)
@given(files(), st.lists(st.sampled_from(RULES), max_size=3), st.booleans(), st.booleans())
def test_every_trial_is_kept_or_counted_as_dropped(tmp_path_factory, tables, rules, one, whole):
    folder = tmp_path_factory.mktemp("files")
    header = "subject,session,stimulus,choice,feedback,block"
    for i, rows in enumerate(tables):
        lines = [header, *(",".join(row) for row in rows)]
        (folder / f"{i}.csv").write_text("\n".join(lines) + "\n")
    by_hand = [Exclusion("ann", "d1", "by hand")] * one + [Exclusion("bob", None, "sick")] * whole
    kept, dropped = accounted(folder, replace(TASK, rules=tuple(rules)), by_hand)
    assert dropped["n_trials"].null_count() == 0
    assert kept + dropped["n_trials"].sum() == sum(map(len, tables))


def write(folder, sessions=("d0", "d1", "d2"), n_trials=8):
    rng = np.random.default_rng(0)
    n = len(sessions) * n_trials
    table = pl.DataFrame(
        {
            "subject": "ann",
            "session": np.repeat(sessions, n_trials),
            "stimulus": rng.choice([-1.0, 1.0], n),
            "choice": rng.choice([0, 1], n),
            "feedback": rng.choice([0, 1], n),
            "block": np.tile([0.5, 0.2], n // 2),
        }
    )
    table.write_csv(folder / "a.csv")


@pytest.mark.parametrize(
    ("exclusion", "level"),
    [(Exclusion("ann", "d1", "wheel"), "session"), (Exclusion("ann", None, "sick"), "subject")],
)
def test_an_exclusion_by_hand_counts_what_it_drops(tmp_path, exclusion, level):
    write(tmp_path)
    kept, dropped = accounted(tmp_path, TASK, [exclusion])
    counted = {"session": 8, "subject": 24}[level]
    assert dropped.filter(level=level, rule="excluded")["n_trials"].to_list() == [counted]
    assert kept == 24 - counted


def test_a_trial_that_two_rules_would_drop_is_counted_by_the_first(tmp_path):
    write(tmp_path)
    task = replace(TASK, rules=(KeepBlocks((0.5,)), MinSessions(9)))
    kept, dropped = accounted(tmp_path, task)
    by_rule = dict(dropped.group_by("rule").agg(pl.col("n_trials").sum()).iter_rows())
    assert kept == 0
    assert by_rule == {"keep_blocks": 12, "min_sessions": 12}


def test_masked_trials_are_not_dropped(tmp_path):
    write(tmp_path)
    kept, dropped = accounted(tmp_path, replace(TASK, rules=(MaskUnless("stimulus", min=0),)))
    assert dropped.is_empty()
    assert kept == 24
