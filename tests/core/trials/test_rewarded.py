"""The rewarded choice: what choices and outcomes say, else what was rewarded there before."""

from dataclasses import replace

import numpy as np
import polars as pl
from core.synthetic_fits import IBL, simulate

from glmhmm_core.tasks.load import load_task
from glmhmm_core.trials.rewarded import rewarded_class

TWO = load_task("two_afc")


def test_of_two_choices_it_is_the_one_rewarded_or_the_other_one():
    cleaned, _ = simulate(IBL, 4, 50, seed=2, missing=0.1)
    trials = cleaned.with_columns(stimulus="contrast")
    found = rewarded_class(trials, TWO)
    made = trials["choice"].is_not_null().to_numpy()
    contrast = trials[TWO.stimuli[0].name].to_numpy()
    seen = made | (contrast != 0)
    np.testing.assert_array_equal(found[seen & (contrast != 0)], contrast[contrast != 0] > 0)
    chosen = trials["choice"].fill_null(-1).to_numpy()
    won = trials["feedback"].to_numpy() > 0
    np.testing.assert_array_equal((found == chosen)[made], won[made])


def test_of_three_an_unrewarded_choice_leaves_what_was_rewarded_at_the_same_stimulus():
    task = replace(TWO, choices=("left", "middle", "right"))
    trials = pl.DataFrame(
        {
            TWO.stimuli[0].name: [1.0, 1.0, 1.0, 1.0, 0.0, None],
            "choice": [2, 2, 1, 0, 1, None],
            "feedback": [1, 1, 1, -1, -1, None],
        }
    )
    # At 0, and where the stimulus is unknown, nothing was ever rewarded: what is elsewhere.
    np.testing.assert_array_equal(rewarded_class(trials, task), [2, 2, 1, 2, 2, 2])
