"""Asset checks: what a person should look at, listed by subject, at the level of a warning.

A check never stops a batch: one subject's trouble must not keep the others' results back. Each
is about the subjects of the run that made it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from glmhmm_assets.io_managers import KeepStored
from glmhmm_assets.study import Study

if TYPE_CHECKING:
    import polars as pl

    from glmhmm_core.fitting.result import Excluded, FitResult, SubjectFits
    from glmhmm_core.tasks.task import Task

#: A state that holds less of the trials than this explains next to nothing.
LEAST_OCCUPANCY = 0.05
#: With fewer restarts than this share at the best optimum, it may not be the best there is.
LEAST_AGREEMENT = 0.1
#: The objective may fall by rounding, relative to its size.
ROUNDING = 1e-10

#: A p-value so small says that the model does not make data like these.
EXTREME = 0.01
#: Predictive checks that are told of; the others are in the table.
TOLD = (
    "switches_per_session",
    "switches_variance",
    "share_switching",
    "choice_run_mean",
)

_CLEANING = {
    "files_usable": "Every session file could be read, and every subject of this run is usable.",
    "choices_in_range": "Every choice is one of the task's.",
    "stimuli_in_range": "Every stimulus lies within the range that the task gives.",
}
_PLAUSIBLE = {
    "data_plausible": (
        "Nothing in the session files looks wrong: order, sign, codes, copies. Nothing was "
        "dropped or changed for it; every row says what to do."
    ),
}
_FITS = {
    "subjects_fitted": "Every subject of this run has all the fits that were asked for.",
    "objective_never_decreasing": "EM never lowered the MAP objective, in any restart.",
    "converged": "The best restart met the tolerances, for every number of states.",
    "restarts_agree": (
        f"At the number of states that the figures show, at least {LEAST_AGREEMENT:.0%} of the "
        "restarts (and two of them) end at the best optimum."
    ),
    "optimum_unambiguous": (
        "At the number of states that the figures show, no optimum with other states explains the "
        "choices about equally well (5 nats, or one standard error held out)."
    ),
    "states_occupied": (
        "At the number of states that the figures show, every state holds at least "
        f"{LEAST_OCCUPANCY:.0%} of the trials."
    ),
    "data_suffice": (
        "The data say something of every regressor, choice and session, so that no weight is its "
        "prior's alone."
    ),
    "refits_promoted": (
        "Every refit took the place of the subject's earlier fit: at the number of states that "
        "the figures show it converged, it is the best of its starts, and its states are the "
        "earlier ones. One that did not is held for review, and the earlier fit stands."
    ),
}
#: The check of a subject's refits, which its other models do not have.
_OF_REFITS = "refits_promoted"
_ERRORS = {
    "parameters_determined": (
        "Data and priors determine every weight of the model that the figures show, and every "
        "combination of its parameters: the objective is nowhere flat around the fit."
    ),
}
_PREDICTIONS = {
    "predictions_hold": (
        "The number of switches, their spread over sessions, the share of sessions with a switch "
        f"and the runs of choices are such as the model makes (p > {EXTREME:g})."
    ),
}


def cleaning_check_specs(study: Study) -> list[dg.AssetCheckSpec]:
    """Declare the checks of ``cleaned_sessions`` and its report."""
    return [
        *_specs(study, "cleaned_sessions", _CLEANING),
        *_specs(study, "cleaning_report", _PLAUSIBLE),
    ]


def fit_check_specs(study: Study, asset: str = "subject_fits") -> list[dg.AssetCheckSpec]:
    """Declare the checks of ``subject_fits``, or of an asset of further models."""
    return _specs(study, asset, _fit_checks(asset))


def _fit_checks(asset: str) -> dict[str, str]:
    return {n: t for n, t in _FITS.items() if n != _OF_REFITS or asset == "subject_fits"}


def error_check_specs(study: Study, asset: str) -> list[dg.AssetCheckSpec]:
    """Declare the check of an asset that knows the errors of parameters."""
    return _specs(study, asset, _ERRORS)


def check_errors(
    study: Study, asset: str, undetermined: Mapping[str, Sequence[str]]
) -> list[dg.AssetCheckResult]:
    """Check how well parameters are known; remarks on near-singular fits, by subject."""
    lines = [_line(subject, " ".join(remarks)) for subject, remarks in undetermined.items()]
    return _results(study, asset, {"parameters_determined": lines})


def prediction_check_specs(study: Study) -> list[dg.AssetCheckSpec]:
    """Declare the checks of ``predictive_checks``."""
    return _specs(study, "predictive_checks", _PREDICTIONS)


def check_predictions(
    study: Study, tables: "Mapping[str, pl.DataFrame | Excluded]"
) -> list[dg.AssetCheckResult]:
    """Check the predictive checks of one run."""
    from glmhmm_core.fitting.result import Excluded

    lines = []
    for subject, table in tables.items():
        if isinstance(table, Excluded):
            continue
        for row in table.drop_nulls("p_value").iter_rows(named=True):
            if row["statistic"] in TOLD and row["p_value"] <= EXTREME:
                what = (
                    f"K = {row['num_states']}: {row['statistic']} is {row['data']:.3g} and "
                    f"{row['simulated']:.3g} in simulations (p = {row['p_value']:.2g})"
                )
                lines.append(_line(subject, what))
    return _results(study, "predictive_checks", {"predictions_hold": lines})


def check_cleaning(
    study: Study,
    tables: "Mapping[str, pl.DataFrame | Excluded | KeepStored]",
    refused: "pl.DataFrame",
) -> list[dg.AssetCheckResult]:
    """Check the cleaned trials of one run, and the report of unusable files."""
    from glmhmm_core.fitting.result import Excluded
    from glmhmm_core.trials.report import INFORMATIVE

    task = study.load_task()
    trouble: dict[str, list[dict[str, str]]] = {name: [] for name in _CLEANING}
    is_trouble = ~refused["warning"] & ~refused["rule"].is_in(INFORMATIVE)
    for row in refused.filter(is_trouble).iter_rows(named=True):
        trouble["files_usable"].append(_line(row["subject"] or "", row["reason"]))
    for subject, table in tables.items():
        if isinstance(table, KeepStored):
            continue
        if isinstance(table, Excluded):
            trouble["files_usable"].append(_line(subject, table.reason))
            continue
        trouble["choices_in_range"] += _odd_choices(subject, table, task)
        trouble["stimuli_in_range"] += _odd_stimuli(subject, table, task)
    return _results(study, "cleaned_sessions", trouble)


def check_plausible(
    study: Study, reports: "Sequence[pl.DataFrame | KeepStored]"
) -> list[dg.AssetCheckResult]:
    """List the warnings of the reports of one run."""
    lines = [
        {name: row[name] or "" for name in ("subject", "session", "rule")} | {"what": row["reason"]}
        for report in reports
        if not isinstance(report, KeepStored)
        for row in report.filter(report["warning"]).iter_rows(named=True)
    ]
    return _results(study, "cleaning_report", {"data_plausible": lines})


def check_fits(
    study: Study,
    fits: "Mapping[str, SubjectFits | Excluded]",
    held: Mapping[str, str],
    asset: str = "subject_fits",
) -> list[dg.AssetCheckResult]:
    """Check the fits of one run that stand; ``held`` tells why others of a subject do not."""
    from glmhmm_core.fitting.result import Excluded

    trouble: dict[str, list[dict[str, str]]] = {name: [] for name in _fit_checks(asset)}
    if held:
        trouble[_OF_REFITS] = [_line(subject, why) for subject, why in held.items()]
    for subject, one in fits.items():
        if isinstance(one, Excluded):
            trouble["subjects_fitted"].append(_line(subject, one.reason))
            continue
        trouble["subjects_fitted"] += [_line(subject, note) for note in one.notes]
        shown = shown_fit(study, one)
        for fit in one.fits:
            trouble["objective_never_decreasing"] += _falls(subject, fit)
            if not fit.converged:
                why = f"K = {fit.num_states}: stopped after {fit.num_iterations} iterations"
                trouble["converged"].append(_line(subject, why))
        remarks = dict.fromkeys(remark for fit in one.fits for remark in fit.remarks)
        trouble["data_suffice"] += [_line(subject, remark) for remark in remarks]
        trouble["restarts_agree"] += _disagreement(subject, shown)
        trouble["optimum_unambiguous"] += _ambiguity(subject, shown)
        trouble["states_occupied"] += _empty_states(subject, shown)
    return _results(study, asset, trouble)


def shown_fit(study: Study, fits: "SubjectFits") -> "FitResult":
    """Fit that the figures show: the study's number of states, or the nearest one fitted below."""
    below = [fit for fit in fits.fits if fit.num_states <= study.figures.num_states]
    return below[-1] if below else fits.fits[0]


def _specs(study: Study, asset: str, checks: Mapping[str, str]) -> list[dg.AssetCheckSpec]:
    key = dg.AssetKey([study.name, asset])
    return [dg.AssetCheckSpec(name, asset=key, description=text) for name, text in checks.items()]


def _results(
    study: Study, asset: str, trouble: Mapping[str, Sequence[dict[str, str]]]
) -> list[dg.AssetCheckResult]:
    return [
        dg.AssetCheckResult(
            asset_key=dg.AssetKey([study.name, asset]),
            check_name=name,
            passed=not lines,
            severity=dg.AssetCheckSeverity.WARN,
            metadata=_listed(lines),
        )
        for name, lines in trouble.items()
    ]


def _listed(lines: Sequence[dict[str, str]]) -> dict[str, Any]:
    """List the subjects as a table, with their number, which the UI plots over time."""
    if not lines:
        return {"subjects": 0}
    records = [dg.TableRecord(line) for line in lines]
    count = len({line["subject"] for line in lines})
    return {"subjects": count, "list": dg.MetadataValue.table(records)}


def _line(subject: str, what: str) -> dict[str, str]:
    return {"subject": subject, "what": what}


def _odd_choices(subject: str, table: "pl.DataFrame", task: "Task") -> list[dict[str, str]]:
    choice = table["choice"].drop_nulls()
    odd = int(((choice < 0) | (choice >= task.num_classes)).sum())
    return [_line(subject, f"{odd} choices outside the task's {task.num_classes}")] if odd else []


def _odd_stimuli(subject: str, table: "pl.DataFrame", task: "Task") -> list[dict[str, str]]:
    lines = []
    for stimulus in task.stimuli:
        if stimulus.range is None:
            continue
        low, high = stimulus.range
        values = table[stimulus.name].drop_nulls()
        odd = int(((values < low) | (values > high)).sum())
        if odd:
            what = f"{odd} values of {stimulus.name} outside {low:g} to {high:g}"
            lines.append(_line(subject, what))
    return lines


def _falls(subject: str, fit: "FitResult") -> list[dict[str, str]]:
    import numpy as np

    trace = fit.restart_log_probability
    fall = trace[:, :-1] - trace[:, 1:]
    worst = np.nanmax(np.where(np.isnan(fall), 0.0, fall), initial=0.0)
    if worst <= ROUNDING * np.nanmax(np.abs(trace)):
        return []
    return [_line(subject, f"K = {fit.num_states}: fell by up to {worst:.3g} nats")]


def _disagreement(subject: str, fit: "FitResult") -> list[dict[str, str]]:
    from glmhmm_core.comparison.scores import restarts_at_best

    total = len(fit.restart_objectives)
    best = restarts_at_best(fit)
    if fit.num_states == 1 or total == 1 or best >= max(2, LEAST_AGREEMENT * total):
        return []
    return [_line(subject, f"K = {fit.num_states}: {best} of {total} restarts at the best optimum")]


def _ambiguity(subject: str, fit: "FitResult") -> list[dict[str, str]]:
    own = fit.own_optimum
    if own is None or not own.ambiguous:
        return []
    what = (
        f"K = {fit.num_states}: its own restarts give other states ({own.state_agreement:.0%} of "
        f"the trials agree) at {own.objective_gain:+.1f} nats"
    )
    if own.heldout_gain is not None:
        what += f" and {own.heldout_gain:+.4f} held-out bits per trial"
    return [_line(subject, what)]


def _empty_states(subject: str, fit: "FitResult") -> list[dict[str, str]]:
    held = fit.smoothed_state_probs.mean(axis=0)
    return [
        _line(subject, f"K = {fit.num_states}: state {k} holds {share:.1%} of the trials")
        for k, share in enumerate(held)
        if share < LEAST_OCCUPANCY
    ]
