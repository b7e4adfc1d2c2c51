"""The last lines of a run by hand: what came of it, and what a person should look at.

What belongs here is how events of a run become few lines of plain words, most costly first.
"""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

#: Lines of the list of a check that did not pass: "subject", "what", and more by check.
Listed = dict[str, str]


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


def warning_lines(warnings: Sequence[Mapping[str, str]], study: str) -> Iterator[str]:
    """Say what looks wrong in the session files, one line for each rule."""
    by_rule: dict[str, list[Mapping[str, str]]] = {}
    for line in warnings:
        by_rule.setdefault(line["rule"], []).append(line)
    for first, *others in by_rule.values():
        where = ": ".join(filter(None, (first["subject"], first["session"])))
        more = f" ({len(others)} more: `glmhmm check {study}`)" if others else ""
        yield f"please look at {where or 'the session files'}: {first['what']}{more}"
