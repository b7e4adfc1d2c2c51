"""The last lines of a run by hand: what came of it, and what a person should look at.

What belongs here is how events of a run become few lines of plain words, most costly first: what
failed, who has no result, whose new fit is held, what looks wrong in the files, and which checks
did not pass. Every kind takes a bounded number of lines, and says how many more there are and
where.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import dagster as dg

#: Subjects, steps or rules of one kind that are told.
SHOWN = 5
#: Characters of one reason.
LONGEST = 400

#: Lines of the list of a check that did not pass: "subject", "what", and more by check.
Listed = dict[str, str]

#: Meaning of a check that did not pass, most costly first. The checks in ``TOLD_OTHERWISE`` repeat
#: what other lines say: refits that are held, warnings about data.
CHECKS = {
    "files_usable": "not used",
    "subjects_fitted": "not everything was fitted",
    "choices_in_range": "choices that the task does not have",
    "stimuli_in_range": "stimuli out of the range that the task gives",
    "objective_never_decreasing": "EM lowered its objective, which it must not",
    "converged": "stopped before it converged",
    "optimum_unambiguous": "other states explain the choices about equally well",
    "restarts_agree": "few restarts end at the best optimum",
    "data_suffice": "weights that the data say nothing of",
    "parameters_determined": "parameters that nothing determines",
    "states_occupied": "states that are hardly ever visited",
    "predictions_hold": "simulations of the model differ from the data",
    "states_matched": "states that match none of the pooled fit's without ambiguity",
}
TOLD_OTHERWISE = ("refits_promoted", "data_plausible")


@dataclass(frozen=True)
class Outcome:
    """Outcome of a run by hand.

    Attributes
    ----------
    fitted
        Subjects that have fits now.
    left_out
        Reasons of the subjects that have none.
    held
        Decisions on newest fits that are held for review, by subject.
    problems
        Messages of the steps that failed; none if all went well.
    checks
        Lists of what is not as it should be, by the name of the check.
    """

    fitted: tuple[str, ...]
    left_out: dict[str, str]
    held: dict[str, str]
    problems: tuple[str, ...]
    checks: dict[str, list[Listed]]


@dataclass(frozen=True)
class Line:
    """A line to print, and how much it matters."""

    text: str
    weight: Literal["failed", "look", "note"]


def last_lines(outcome: Outcome, study: str) -> Iterator[Line]:
    """Say what came of a run, most costly first.

    Parameters
    ----------
    outcome
        What came of it.
    study
        Its study's name.
    """
    pages = "the checks in the Dagster pages list them"
    for problem in outcome.problems[:SHOWN]:
        yield Line(f"failed: {_short(problem)}", "failed")
    yield from _more(outcome.problems, "steps that failed: the run in the Dagster pages lists them")
    for subject, reason in list(outcome.left_out.items())[:SHOWN]:
        yield Line(f"{subject} is left out: {_short(reason)}", "look")
    yield from _more(outcome.left_out, f"left out: `glmhmm check {study}` names them")
    for subject, promotion in list(outcome.held.items())[:SHOWN]:
        remedy = f"`glmhmm promote {study} -s {subject}` lets the new one stand."
        yield Line(f"the new fit of {subject} is {_short(promotion)} {remedy}", "look")
    yield from _more(outcome.held, f"new fits that are held: {pages}")
    warnings = list(_warnings(outcome.checks.get("data_plausible", []), study))
    yield from (Line(text, "look") for text in warnings[:SHOWN])
    yield from _more(warnings, f"warnings: `glmhmm check {study}` tells them")
    others = sorted(set(outcome.checks) - set(CHECKS) - set(TOLD_OTHERWISE))
    for check in (*CHECKS, *others):
        known = outcome.left_out if check in ("files_usable", "subjects_fitted") else ()
        lines = [line for line in outcome.checks.get(check, []) if line["subject"] not in known]
        if lines:
            yield Line(_check(check, lines, study), "note")


def listed_by_checks(events: Sequence[dg.DagsterEvent]) -> dict[str, list[Listed]]:
    """Lists of the checks that did not pass, by check; a line that comes twice is kept once."""
    found: dict[str, list[Listed]] = {}
    for event in events:
        if event.event_type is not dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            continue
        evaluation = event.asset_check_evaluation_data
        table = evaluation.metadata.get("list")
        if evaluation.passed or not isinstance(table, dg.TableMetadataValue):
            continue
        lines = [{k: str(v) for k, v in record.data.items()} for record in table.records]
        known = found.setdefault(evaluation.check_name, [])
        known += [line for line in lines if line not in known]
    return found


def _warnings(warnings: Sequence[Mapping[str, str]], study: str) -> Iterator[str]:
    """Say what looks wrong in the session files, one line for each rule."""
    by_rule: dict[str, list[Mapping[str, str]]] = {}
    for line in warnings:
        by_rule.setdefault(line["rule"], []).append(line)
    for first, *others in by_rule.values():
        where = ": ".join(filter(None, (first["subject"], first["session"])))
        more = f" ({len(others)} more: `glmhmm check {study}`)" if others else ""
        yield f"please look at {where or 'the session files'}: {first['what']}{more}"


def _check(check: str, lines: Sequence[Listed], study: str) -> str:
    """Say in one line what a check found."""
    meaning = CHECKS.get(check, f"the check {check!r} did not pass")
    first, subjects = lines[0], {line["subject"] for line in lines} - {""}
    found = ": ".join(filter(None, (first["subject"], _short(first["what"]))))
    if len(lines) == 1:
        return f"{meaning}: {found}"
    who = f"{len(subjects)} subjects" if len(subjects) > 1 else f"{len(lines)} times"
    return f"{meaning}, {who}; {found} (check {check} of {study} in the Dagster pages lists all)"


def _more(told: Sequence[str] | Mapping[str, str], what: str) -> Iterator[Line]:
    if len(told) > SHOWN:
        yield Line(f"and {len(told) - SHOWN} more {what}", "look")


def _short(text: str) -> str:
    """One line of a reason."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."
