"""Subjects and cohorts to draw: ordinary ones, and ones that strain a layout."""

from functools import cache

import numpy as np
import polars as pl
from core.synthetic_fits import IBL, make_subject, simpler, simulate

from glmhmm_core.comparison.path_statistics import path_table
from glmhmm_core.comparison.predictive_checks import CHECK_SCHEMA
from glmhmm_core.comparison.recovery import DECODED_SCHEMA, Recovery
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.fitting.free_parameters import free_parameters
from glmhmm_core.tables.behavior import accuracy_table, psychometric_table
from glmhmm_core.tables.comparison import COMPARISON_SCHEMA
from glmhmm_core.tables.dynamics import (
    change_table,
    dwell_table,
    occupancy_table,
    trajectory_table,
)
from glmhmm_core.tables.parameters import state_table, transition_table, weight_table
from glmhmm_core.tables.scores import fold_table, restart_table, score_table
from glmhmm_core.tables.trials import trial_table
from glmhmm_core.tables.validity import recovery_table, with_states

LONG = "a_very_long_subject_name_from_some_laboratory_2019_07_18_mouse_17"
LABEL = "signed contrast (right − left)"


class Tables:
    """All tables of some subjects, one below the other."""

    def __init__(self, members):
        fits = [fit for _, fit in members]
        self.subject = fits[0].subject
        self.weights = pl.concat([weight_table(f) for f in fits])
        self.transitions = pl.concat([transition_table(f) for f in fits])
        self.states = pl.concat([state_table(f) for f in fits])
        self.scores = pl.concat([score_table(f) for f in fits])
        self.folds = pl.concat([fold_table(f) for f in fits])
        self.restarts = pl.concat([restart_table(f) for f in fits])
        self.trials = trial_table(fits[0], members[0][0])
        made = occupancy_table, trajectory_table, change_table
        self.dynamics = [table(self.trials, state_table(fits[0])) for table in made]
        self.psychometrics = pl.concat([psychometric_table(f, t, "contrast") for t, f in members])
        self.fits = fits
        self.cleaned = [cleaned for cleaned, _ in members]

    def accuracy(self):
        """Accuracy of the first subject."""
        return accuracy_table(self.fits[0], self.cleaned[0], "contrast")

    def dwells(self, num_states):
        """Dwells of the first subject's states."""
        return dwell_table(self.fits[0][num_states], state_table(self.fits[0]))

    def paths(self, num_states):
        """Statistics of the first subject's paths."""
        fits = self.fits[0]
        return with_states(path_table(fits[num_states], num_paths=20), fits, num_states)

    def checks(self, num_states, of=0):
        """Predictive checks with invented simulations; K states have none of the last's runs."""
        fits, rng = self.fits[of], np.random.default_rng(of)
        names = ("switches_per_session", "switches_variance", "share_switching", "choice_run_mean")
        keys = [(name, None, None) for name in names]
        keys += [("run_mean", k, None) for k in range(num_states)]
        keys += [("occupancy_rise", k, None) for k in range(num_states)]
        keys += [("choice_autocorrelation", None, lag) for lag in (1, 2, 3, 5, 10, 20)]
        rows = []
        for i, key in enumerate(keys):
            made = rng.normal(2 + i / 5, 0.3, 200)
            low, high = np.quantile(made, (0.025, 0.975))
            data = 2 + i / 5 + (0.9 if i % 3 == 2 else 0.1)
            rows.append((*key, data, made.mean(), low, high, 0.04, data > high, made.tolist()))
        if num_states > 1:
            rows[3 + num_states] = (*rows[3 + num_states][:3], 1.5, *[None] * 5, [None] * 200)
        return with_states(pl.DataFrame(rows, CHECK_SCHEMA, orient="row"), fits, num_states)

    def recovery(self, num_states):
        """A recovery of the first subject with invented errors, one in ten of them unknown."""
        fits, rng = self.fits[0], np.random.default_rng(0)
        fit = fits[num_states]
        named = free_parameters(fit)
        truth = named.values(fit.fitted_params)
        parts, decoded = [], []
        for i in range(4):
            error = rng.normal(0, 0.3, len(truth))
            se = np.where(np.arange(len(truth)) % 10 == 9, None, 0.3)
            parts.append(
                named.keys.with_columns(
                    simulation=pl.lit(i, pl.Int64),
                    truth=pl.Series(truth),
                    estimate=pl.Series(truth + error),
                    se=pl.Series(se.tolist(), dtype=pl.Float64),
                )
            )
            decoded.append((i, i != 1, True, False, 0.5, 0.85 + 0.01 * i, 0.87, False))
        decoding = pl.DataFrame(decoded, DECODED_SCHEMA, orient="row")
        return recovery_table(Recovery(pl.concat(parts), decoding), fits, num_states)


@cache
def textbook():
    """A mouse of the published parameters, one to five states."""
    cleaned, _ = simulate(IBL, 8, 90, seed=1, subject="CSHL_008", missing=0.01)
    models = [IBL if k == 3 else simpler(IBL, k) for k in range(1, 6)]
    return Tables([(cleaned, make_subject(cleaned, models, subject="CSHL_008"))])


@cache
def ugly():
    """Three choices, five states, a long name, sessions of very different length."""
    names = ("left", "center", "right")
    rng = np.random.default_rng(5)
    five = rng.normal(0, 0.8, (5, 2, 4))
    five[:, 1, 0] += np.linspace(6, 0.5, 5)
    five[:, :, 1] += [[0, 0], [-2, -3], [-1, 3], [3, 1], [0, 0]]
    params = Parameters(np.full(5, 0.2), 0.9375 * np.eye(5) + 0.0125, five)
    lengths = np.array([2, 700, 40])
    cleaned, _ = simulate(params, 3, lengths, seed=2, subject=LONG, choice_names=names)
    one = Parameters(np.ones(1), np.ones((1, 1)), five[:1])
    fits = make_subject(cleaned, [one, params], subject=LONG, choice_names=names, n_folds=3)
    return Tables([(cleaned, fits)])


@cache
def many_states():
    """Eight states, none of which has a name."""
    cleaned, _ = simulate(IBL, 1, 500, seed=3, subject="KS005")
    models = [simpler(IBL, k) for k in (2, 5, 8)]
    return Tables([(cleaned, make_subject(cleaned, models, subject="KS005", n_folds=0))])


@cache
def cohort(size):
    """Mice that vary, some without all models, some whose states have no names."""
    rng = np.random.default_rng(0)
    members = []
    for i in range(size):
        name = f"CSHL_{i:03d}"
        spread = np.array([[[2.4]], [[1.2]], [[0.8]]]) * [1, 0.5, 0.25, 0.2]
        weights = IBL.emission_weights + rng.normal(0, 1, (3, 1, 4)) * spread
        if i % 9 == 4:
            weights[:, :, 0] = 0.5
        params = IBL._replace(emission_weights=weights)
        cleaned, _ = simulate(params, 5, 30, seed=i, subject=name)
        last = 3 if i % 7 == 0 else 5
        models = [params if k == 3 else simpler(params, k, seed=i) for k in range(1, last + 1)]
        options = {"subject": name, "seed": i, "n_restarts": 3}
        members.append((cleaned, make_subject(cleaned, models, **options)))
    return Tables(members)


def kinds_of_sessions(size, subject="CSHL_008"):
    """Sessions of two kinds, the second of which switches often."""
    rng = np.random.default_rng(size)
    restless = rng.beta(0.3, 0.6, size)
    return pl.DataFrame(
        {
            "subject": [subject] * size,
            "model": ["glmhmm_sessions"] * size,
            "num_states": [3] * size,
            "session": [f"s{i:03d}" for i in range(size)],
            "num_choices": [90] * size,
            "num_switches": rng.poisson(1 + 8 * restless),
            "p_kind_0": 1 - restless,
            "p_kind_1": restless,
            "heldout_gain": rng.normal(0, 1, size),
        }
    )


def comparisons(size, trouble):
    """Models side by side of some subjects; with trouble, some are not converged or forecast."""
    rng = np.random.default_rng(size)
    models = [("glm", 1), *(("glmhmm", k) for k in (2, 3, 4, 5)), ("glmhmm_t", 3)]
    models += [("hierarchical", 3), ("glmhmm_sessions", 3)]
    models += [("lapse_class_1", 1), ("lapse_class", 1), ("lapse_history_conditioned", 1)]
    models += [("drifting_weights", 1)]
    rows = []
    for i in range(size):
        level = rng.normal(0.35, 0.1)
        for place, (model, k) in enumerate(models):
            gain = None if model == "glm" else rng.normal(0.02 * place, 0.02)
            late = None if trouble and i % 2 else gain
            rows.append(
                {
                    "subject": f"CSHL_{i:03d}",
                    "model": model,
                    "num_states": k,
                    "heldout_bits_per_trial": level + (gain or 0),
                    "gain_over_glm": gain,
                    "gain_over_glm_se": gain and 0.01,
                    "prospective_bits_per_trial": late and level + late - 0.02,
                    "prospective_gain": late,
                    "prospective_gain_se": late and 0.015,
                    "converged": not (trouble and place > 4 and i % 3 == 0),
                }
            )
    return pl.DataFrame(rows, schema=COMPARISON_SCHEMA)


#: feature, mean, sd, and of two subjects: estimate, own estimate
LEARNED = [
    ("stimulus", 4.0, 1.5, (3.0, 5.0), (2.0, None)),
    ("bias", -0.5, 0.25, (0.0, -1.0), (1, 0)),
]


def learned(choice_names=("left", "right"), size=2):
    """The learned population of a model of two states."""
    rows = [
        {
            "subject": f"subject_{chr(97 + i)}",
            "num_states": 2,
            "parameter": "weight",
            "state_rank": rank,
            "state_label": label,
            "state_color": color,
            "class_idx": class_idx,
            "class_name": choice_names[class_idx],
            "baseline_class_name": choice_names[0],
            "feature": feature,
            "population_mean": mean + rank,
            "population_sd": sd,
            "estimate": estimates[i % 2] + rank,
            "se": 0.1,
            "own_estimate": own[i % 2],
            "heldout_gain": (0.02, -0.01)[i % 2],
        }
        for i in range(size)
        for rank, label, color in ((0, "engaged", "#ff7f00"), (1, "disengaged", "#777777"))
        for class_idx in range(1, len(choice_names))
        for feature, mean, sd, estimates, own in LEARNED
    ]
    return pl.DataFrame(rows)
