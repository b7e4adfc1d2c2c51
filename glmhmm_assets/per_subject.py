"""What assets of a study have in common: keys and inputs; per subject partitions, policy, version.

All of a study's per-subject assets share one partition set and one backfill policy; that alone
puts a whole chain over many subjects into one run and one process.
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import dagster as dg

import glmhmm_core
from glmhmm_assets.partitions import subjects_of
from glmhmm_assets.study import Study
from glmhmm_core.errors import InputError

if TYPE_CHECKING:
    from glmhmm_core.fitting.result import Excluded

T = TypeVar("T")


@cache
def code_version(*rooms: str) -> str:
    """Version of an asset's code: hash of the sources and TOML files of these rooms of the core."""
    core = Path(glmhmm_core.__file__).parent
    files = [f for room in rooms for f in (core / room).rglob("*") if f.suffix in (".py", ".toml")]
    content = [(f.relative_to(core).as_posix(), f.read_bytes()) for f in sorted(files)]
    return hashlib.sha256(repr(content).encode()).hexdigest()[:12]


def study_asset(
    study: Study, *, ins: Mapping[str, dg.AssetIn] | None = None, **arguments: Any
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Make an asset of a study, as ``dagster.asset`` does: inputs are assets of the same study.

    Dagster looks for an input that has no prefix in the asset's own group alone.

    Parameters
    ----------
    ins
        Inputs of which more is to be said than the name of their parameter.
    arguments
        Everything else that ``dagster.asset`` takes.
    """

    def build(function: Callable[..., Any]) -> dg.AssetsDefinition:
        # Which parameters are inputs, Dagster knows: no context, config or resource is one.
        named = dict.fromkeys(dg.op(function).ins, dg.AssetIn(key_prefix=study.name))
        return dg.asset(key_prefix=study.name, ins=named | dict(ins or {}), **arguments)(function)

    return build


def subject_asset(study: Study, *, kinds: set[str], rooms: tuple[str, ...]) -> dict[str, Any]:
    """Give the arguments of ``study_asset`` that every per-subject asset has.

    Parameters
    ----------
    kinds
        What the asset is made with, for the icons in the UI.
    rooms
        Rooms of the core whose sources make its code version.
    """
    return {
        "partitions_def": subjects_of(study),
        "backfill_policy": dg.BackfillPolicy.single_run(),
        "kinds": kinds,
        "code_version": code_version(*rooms),
    }


def for_each(
    context: dg.AssetExecutionContext, given: Mapping[str, Any], work: Callable[[str], T]
) -> "dict[str, T | Excluded]":
    """Do the work for every subject of the run, each on its own.

    Parameters
    ----------
    given
        What the subjects bring from upstream. Who was left out there stays left out, with the
        same reason.
    work
        From a subject's name to its value. A subject on whom it fails becomes a value that says
        why; an error that nobody foresaw leaves out its subject too, with the traceback in the
        log, since it must not take the other subjects' results with it.
    """
    from glmhmm_core.fitting.result import Excluded

    values: dict[str, Any] = {}
    for subject in context.partition_keys:
        before = given[subject]
        value = before if isinstance(before, Excluded) else attempt(context, subject, work)
        values[subject] = exclude(context, value) if isinstance(value, Excluded) else value
    return values


def attempt(
    context: dg.AssetExecutionContext, subject: str, work: Callable[[str], T]
) -> "T | Excluded":
    """Do one subject's work, as in ``for_each``."""
    from glmhmm_core.fitting.result import Excluded

    try:
        return work(subject)
    except InputError as error:
        context.log.warning("%s is left out: %s", subject, error)
        return Excluded(subject, str(error))
    except MemoryError:
        raise  # not this subject's fault
    except Exception as error:
        context.log.exception("%s is left out after an unexpected error", subject)
        what = f"unexpected {type(error).__name__}: {error} (traceback in the log of this run)"
        return Excluded(subject, what)


def exclude(context: dg.AssetExecutionContext, excluded: "Excluded") -> "Excluded":
    """Show on the subject's materialization why it has no value here, and hand the reason on."""
    show(context, excluded.subject, {"excluded": excluded.reason})
    return excluded


def show(context: dg.AssetExecutionContext, subject: str, facts: Mapping[str, Any]) -> None:
    """Put facts on one subject's materialization of everything that this step makes."""
    for key in context.selected_asset_keys:
        context.add_asset_metadata(facts, asset_key=key, partition_key=subject)
