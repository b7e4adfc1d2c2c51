"""Pictures of one subject's fits: files in full size, and small ones on the asset's page."""

from dataclasses import replace
from typing import Any

import dagster as dg

from glmhmm_assets.defs.checks import shown_fit
from glmhmm_assets.defs.tables import naming_of
from glmhmm_assets.per_subject import for_each, show, study_asset, subject_asset
from glmhmm_assets.pictures import Gallery
from glmhmm_assets.study import Study
from glmhmm_core.errors import InputError

ROOMS = ("comparison", "engine", "fitting", "plots", "states", "tables", "tasks")


def build_figures(study: Study) -> list[dg.AssetsDefinition]:
    """Build the assets of per-subject figures."""
    common = subject_asset(study, kinds={"matplotlib"}, rooms=ROOMS)

    @study_asset(study, **common)
    def em_traces(context: dg.AssetExecutionContext, subject_fits: dict) -> None:
        """EM's objective over the iterations of every restart, for every number of states."""
        from glmhmm_core.plots.optimization import em_traces
        from glmhmm_core.tables.scores import restart_table

        draw(context, study, subject_fits, lambda f: ((restart_table(f),), em_traces))

    @study_asset(study, **common, ins={"parameter_errors": _if_there(study, "parameter_errors")})
    def weights(
        context: dg.AssetExecutionContext,
        subject_fits: dict,
        weight_table: dict,
        parameter_errors: dict,
    ) -> None:
        """Weights of every regressor by state, with 95 % intervals."""
        import polars as pl

        from glmhmm_core.plots.weights import weights_by_state
        from glmhmm_core.tables.parameters import with_intervals

        def plan(fits: Any) -> Any:
            errors = parameter_errors.get(fits.subject)
            known = errors if isinstance(errors, pl.DataFrame) else None
            table = with_intervals(weight_table[fits.subject], known)
            return (table, _shown(study, fits)), weights_by_state

        draw(context, study, subject_fits, plan)

    @study_asset(study, **common)
    def transition_matrix(context: dg.AssetExecutionContext, subject_fits: dict) -> None:
        """Transition probabilities, the law of a session's first state, and expected dwell."""
        from glmhmm_core.plots.transitions import transition_matrix
        from glmhmm_core.tables.parameters import transition_table

        naming = naming_of(study)
        draw(
            context,
            study,
            subject_fits,
            lambda f: ((transition_table(f, naming), _shown(study, f)), transition_matrix),
        )

    @study_asset(study, **common)
    def session_posteriors(
        context: dg.AssetExecutionContext, subject_fits: dict, trial_table: dict
    ) -> None:
        """State posteriors over example sessions, with every choice."""
        from glmhmm_core.plots.sessions import example_sessions, session_posteriors
        from glmhmm_core.tables.parameters import state_table

        naming = naming_of(study)

        def plan(fits: Any) -> Any:
            trials = trial_table[fits.subject]
            sessions = example_sessions(trials, study.figures.example_sessions)
            tables = (trials, state_table(fits, naming), _shown(study, fits), sessions)
            return tables, session_posteriors

        draw(context, study, subject_fits, plan)

    @study_asset(study, **common)
    def state_dynamics(
        context: dg.AssetExecutionContext, subject_fits: dict, trial_table: dict
    ) -> None:
        """States over sessions and within them, around their changes, and how long they last."""
        from glmhmm_core.plots.dynamics import state_dynamics
        from glmhmm_core.tables.dynamics import (
            change_table,
            dwell_table,
            occupancy_table,
            trajectory_table,
        )
        from glmhmm_core.tables.parameters import state_table

        naming = naming_of(study)

        def plan(fits: Any) -> Any:
            num_states = _shown(study, fits)
            of_model = trial_table[fits.subject].filter(num_states=num_states)
            states = state_table(fits, naming).filter(num_states=num_states)
            tables = [
                make(of_model, states) for make in (occupancy_table, trajectory_table, change_table)
            ]
            tables.append(dwell_table(fits[num_states], states, study.model.seed))
            return (*tables, num_states), state_dynamics

        draw(context, study, subject_fits, plan)

    @study_asset(study, **common)
    def psychometrics(
        context: dg.AssetExecutionContext, subject_fits: dict, cleaned_sessions: dict
    ) -> None:
        """Choices against the stimulus by state: data with intervals, and the model's curve."""
        from glmhmm_core.plots.psychometrics import psychometric_by_state
        from glmhmm_core.tables.behavior import psychometric_table

        task, naming = study.load_task(), naming_of(study)
        stimulus = task.main_stimulus

        def plan(fits: Any) -> Any:
            if stimulus is None:
                raise InputError(
                    "the task has no stimulus to draw choices against",
                    where=f"task {task.name}",
                    remedy="Declare one under [[stimuli]] if there is one.",
                )
            cleaned = cleaned_sessions[fits.subject]
            shown = shown_fit(study, fits)
            alone = replace(fits, fits=(shown,))
            table = psychometric_table(alone, cleaned, stimulus.name, naming)
            return (table, shown.num_states, stimulus.label), psychometric_by_state

        draw(context, study, subject_fits, plan)

    @study_asset(study, **common)
    def heldout_bits(context: dg.AssetExecutionContext, subject_fits: dict) -> None:
        """Bits per trial on held-out sessions against the number of states."""
        from glmhmm_core.plots.scores import heldout_bits
        from glmhmm_core.tables.scores import fold_table

        draw(context, study, subject_fits, lambda f: ((fold_table(f), f.subject), heldout_bits))

    return [
        em_traces,
        weights,
        transition_matrix,
        session_posteriors,
        state_dynamics,
        psychometrics,
        heldout_bits,
    ]


def _if_there(study: Study, asset: str) -> dg.AssetIn:
    """A table that a picture shows where it has been made; without it there is one all the same."""
    return dg.AssetIn([study.name, asset], metadata={"allow_missing_partitions": True})


def draw(context: dg.AssetExecutionContext, study: Study, fits: dict, plan: Any) -> None:
    """Draw the asset's figure of every subject; one that is left out loses its old picture.

    ``plan`` turns a subject's fits, or what else is drawn, into the arguments of a figure
    function, and that function.
    """
    from glmhmm_core.fitting.result import Excluded

    name = context.asset_key.path[-1]
    gallery = Gallery.of_subjects(study)

    def draw_one(subject: str) -> None:
        arguments, function = plan(fits[subject])
        show(context, subject, gallery.draw(subject, name, function, arguments))

    for subject, outcome in for_each(context, fits, draw_one).items():
        if isinstance(outcome, Excluded):
            gallery.remove(subject, name)


def _shown(study: Study, fits: Any) -> int:
    return shown_fit(study, fits).num_states
