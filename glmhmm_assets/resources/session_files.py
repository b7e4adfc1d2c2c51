"""A study's session files: who is in them, and one subject's trials out of them.

The core reads files; what belongs here is the study's part in it, that is, where they are and who
counts. Polars is imported on first use, so that the code location loads fast.
"""

from typing import TYPE_CHECKING

from glmhmm_assets.study import Study

if TYPE_CHECKING:
    import polars as pl

    from glmhmm_core.trials.scan import Scan, SubjectFiles

#: Rows of each rule that a log and a terminal are told.
_TOLD = 5


def scan_sessions(study: Study) -> "Scan":
    """List the study's subjects with a digest of each one's content, and what cannot be used.

    Raises
    ------
    InputError
        The folder of the session files is missing or holds none, or the task file is broken.
    """
    import polars as pl

    from glmhmm_core.trials.scan import Scan, scan

    found = scan(study.sessions_root, study.sessions.format, study.load_task())
    report = pl.concat([found.report, _unknown_names(study, found)])
    wanted = study.who_counts(found.subjects)
    return Scan({s: f for s, f in found.subjects.items() if s in wanted}, report)


def _unknown_names(study: Study, found: "Scan") -> "pl.DataFrame":
    """Report subjects that the study file names and nobody has, so that no typo goes unseen."""
    from glmhmm_core.trials.ids import find_id
    from glmhmm_core.trials.report import ReportRow, report_frame

    named = [(subject, "includes") for subject in study.subjects.include]
    named += [(exclusion.subject, "excludes") for exclusion in study.exclude]
    return report_frame(
        ReportRow(
            "subject",
            f"{does[:-1]}d",
            f"the study {does} it, but there is no such subject: correct its name there",
            subject,
            warning=does == "excludes",
        )
        for subject, does in dict.fromkeys(named)
        if find_id(subject, found.subjects) is None
    )


def tell_report(study: Study, report: "pl.DataFrame") -> list[str]:
    """Sentences on what a scan left out or took for granted, of each rule the first few."""
    lines = []
    for _, rows in report.group_by("rule", maintain_order=True):
        told = rows.head(_TOLD).select("subject", "reason").iter_rows()
        lines += [f"{subject or 'session files'}: {reason}" for subject, reason in told]
        if rows.height > _TOLD:
            more = f"and {rows.height - _TOLD} more like it"
            lines.append(f"{more}: `glmhmm check {study.name} --report FILE` writes them all")
    return lines


def refused_subjects(found: "Scan") -> dict[str, str]:
    """Reasons of the subjects of whom nothing can be read though they are there or asked for."""
    rows = found.report.filter(
        found.report["level"] == "subject",
        ~found.report["warning"],
    )
    return dict(rows.select("subject", "reason").iter_rows())


def clean_sessions(study: Study, subject: str) -> tuple["pl.DataFrame", "pl.DataFrame"]:
    """Read and clean one subject's sessions by the rules of the task and the study.

    Returns
    -------
    cleaned, report
        Trials of the sessions kept, and one row for everything dropped or altered on the way;
        the table is empty for a subject of whom nothing is left.

    Raises
    ------
    InputError
        There is no such subject, or its files cannot be read.
    """
    import polars as pl

    from glmhmm_core.trials.cleaning import Exclusion, clean
    from glmhmm_core.trials.readers import read_subject

    task = study.load_task()
    trials, unread = read_subject(study.sessions_root, study.sessions.format, task, subject)
    by_hand = [Exclusion(e.subject, e.session, e.reason) for e in study.exclude]
    cleaned, dropped = clean(trials, task, by_hand)
    return cleaned, pl.concat([unread, dropped])


def why_nothing_left(report: "pl.DataFrame") -> str:
    """Say why a subject has no trial left: the report's word on it, and on one of its sessions."""
    dropped = report.filter(report["dropped"])
    whole = dropped.filter(dropped["level"] == "subject")
    sessions = dropped.filter(dropped["level"] == "session").select("session", "reason").rows()
    example = [f"{session}: {reason}" for session, reason in sessions[:1]]
    if whole.is_empty():
        return "; ".join(["no session is left", *example]) if example else "its files hold no trial"
    *_, (rule, reason) = whole.select("rule", "reason").rows()
    return "; ".join([reason, *example]) if rule == "no_sessions" else str(reason)


def is_being_written(study: Study, files: "SubjectFiles", now: float) -> bool:
    """Whether one of a subject's files changed less than the study's ``quiet_seconds`` ago.

    A time in the future (a disk whose clock differs) tells nothing and does not count.
    """
    return 0 <= now - files.newest < study.sessions.quiet_seconds
