"""What a subject's tables say of each of its models: what goes with the model's MLflow run.

A table of a subject gets into MLflow by standing in ``TABLES``: it becomes a CSV of every run
that it is about, and the numbers that its function makes of the run's rows become metrics. A
table with a column ``num_states`` (and ``model``) is about the models in it, one without about
the model that the figures show.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmhmm_assets.resources.logged_model import Findings, known
from glmhmm_assets.study import Study

if TYPE_CHECKING:
    import polars as pl


def of_comparison(rows: "pl.DataFrame") -> dict[str, float | None]:
    """Held-out gains over the GLM, and whether the fit and all of its folds converged."""
    (row,) = rows.iter_rows(named=True)
    gains = ("gain_over_glm", "gain_over_glm_se", "prospective_gain", "prospective_gain_se")
    told = {name: row[name] for name in (*gains, "prospective_bits_per_trial")}
    return {**told, "all_converged": row["converged"]}


def of_errors(rows: "pl.DataFrame") -> dict[str, float | None]:
    """How well the parameters are known: those of which nothing is, and the worst known weight."""
    return {
        "parameters_unknown": rows["se"].null_count(),
        "largest_weight_se": rows.filter(parameter="weight")["se"].max(),  # type: ignore[dict-item]
    }


def of_predictions(rows: "pl.DataFrame") -> dict[str, float | None]:
    """Sessions with a switch, in the data and simulated, and how many checks fail."""
    switching = rows.row(by_predicate=_is("share_switching"), named=True)
    return {
        "predicted_share_switching": switching["simulated"],
        "share_switching_p_value": switching["p_value"],
        "predictive_checks_failing": rows["fails"].sum(),
    }


def of_recovery(rows: "pl.DataFrame") -> dict[str, float | None]:
    """How well states are decoded in data of the model's own, and weights found again."""
    weights = rows.filter(parameter="weight").drop_nulls("se")
    once = rows.unique("simulation")
    return {
        "recovery_decoded": once["decoded"].mean(),  # type: ignore[dict-item]
        "recovery_decoding_ceiling": once["ceiling"].mean(),  # type: ignore[dict-item]
        "recovery_weights_covered": weights["covered"].mean(),  # type: ignore[dict-item]
    }


def of_paths(rows: "pl.DataFrame") -> dict[str, float | None]:
    """Switches over paths drawn from the posterior."""
    names = ("switches_per_session", "share_switching")
    return {name: rows.row(by_predicate=_is(name), named=True)["mean"] for name in names}


def _is(statistic: str) -> "pl.Expr":
    import polars as pl

    return pl.col("statistic") == statistic


def of_transition_weights(rows: "pl.DataFrame") -> dict[str, float | None]:
    """The worst known weight of a transition regressor."""
    return {"largest_transition_weight_se": rows["se"].max()}  # type: ignore[dict-item]


def of_matches(rows: "pl.DataFrame") -> dict[str, float | None]:
    """How surely the states are the population's."""
    return {
        "match_ambiguous": rows["ambiguous"].any(),
        "states_unmatched": float(rows["state_ambiguous"].sum()),
        "match_largest_cost": rows["cost"].max(),  # type: ignore[dict-item]
        "match_least_margin": rows["margin"].min(),  # type: ignore[dict-item]
    }


def of_kinds(rows: "pl.DataFrame") -> dict[str, float | None]:
    """Sessions that are more probably of the most restless kind, and their switches."""
    *_, restless = (name for name in rows.columns if name.startswith("p_kind_"))
    there = rows[restless] > 0.5
    return {
        "sessions_restless": there.mean(),  # type: ignore[dict-item]
        "switches_per_restless_session": rows.filter(there)["num_switches"].mean(),  # type: ignore[dict-item]
        "switches_per_calm_session": rows.filter(~there)["num_switches"].mean(),  # type: ignore[dict-item]
    }


#: Tables of a subject by asset, with what makes numbers of the rows of one model.
TABLES: "dict[str, Callable[[pl.DataFrame], Mapping[str, float | None]]]" = {
    "model_comparison": of_comparison,
    "parameter_errors": of_errors,
    "predictive_checks": of_predictions,
    "parameter_recovery": of_recovery,
    "state_paths": of_paths,
    "state_accuracy": lambda _: {},
    "transition_weight_table": of_transition_weights,
    "state_matches": of_matches,
    "session_kinds": of_kinds,
    "session_checks": of_predictions,
}


def tables_of(study: Study) -> list[str]:
    """Name those of ``TABLES`` that the study has."""
    asked = {
        "predictive_checks": study.checks.simulations,
        "parameter_recovery": study.checks.recoveries,
        "transition_weight_table": study.model.transition_regressors,
        "session_kinds": study.comparison.session_kinds,
        "session_checks": study.comparison.session_kinds and study.checks.simulations,
    }
    return [name for name in TABLES if asked.get(name, True)]


def findings(
    tables: Mapping[str, Any], key: tuple[str, int], figures: Sequence[Path], shown: bool
) -> Findings:
    """Pick what was made of one model.

    Parameters
    ----------
    tables
        Tables of the subject by asset; what is no table (``Excluded``, None) is passed over.
    key
        The model and its number of states.
    figures
        Its picture files.
    shown
        Whether it is the model that the figures show.
    """
    import polars as pl
    import polars.selectors as cs

    metrics: dict[str, float | None] = {}
    about: dict[str, pl.DataFrame] = {}
    for name, table in tables.items():
        if not isinstance(table, pl.DataFrame):
            continue
        rows = _rows(table, key, shown)
        if not rows.is_empty():
            about[name] = table.select(~cs.nested())  # a CSV has no lists
            metrics |= TABLES[name](rows)
    return Findings(known(metrics), about, figures)


def _rows(table: "pl.DataFrame", key: tuple[str, int], shown: bool) -> "pl.DataFrame":
    """Rows of a table that are about one model."""
    asked = dict(zip(("model", "num_states"), key, strict=True))
    there = {column: value for column, value in asked.items() if column in table.columns}
    if not there:
        return table if shown else table.clear()
    return table.filter(**there)
