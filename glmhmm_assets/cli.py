"""The command line ``glmhmm``: what can be asked for, what is told, and what exit codes mean.

Commands only parse, call and print; the work is in ``runner``, ``check``, ``ui`` and ``demo``,
imported when they are needed so that ``--help`` answers at once.
"""

import difflib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glmhmm_core.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from glmhmm_assets.last_lines import Outcome
    from glmhmm_assets.study import Study

#: Exit codes.
DONE, FAILED, BAD_INPUT, SOME_LEFT_OUT, INTERRUPTED = 0, 1, 2, 3, 130

EXIT_CODES = """\b
Exit codes:
    0  done
    1  a run failed; what was finished before is kept
    2  what was given cannot be used, or no subject can; nothing was fitted
    3  done, but some subjects have no result (they are named with the reason)
  130  ended by Ctrl-C
"""


class _Group(click.Group):
    """A group that turns what cannot be used into one message instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            _tell_error("Cannot be used: ", error)
            ctx.exit(BAD_INPUT)
        except (KeyboardInterrupt, click.Abort):
            click.echo("\nEnded. Finished fits are kept; the same command goes on there.", err=True)
            sys.stdout.flush()
            # The ordinary way out would wait for threads that fit, perhaps for minutes.
            os._exit(INTERRUPTED)
        except Exception as error:
            from glmhmm_assets.faults import explain
            from glmhmm_assets.study import dagster_home

            told = explain(error, str(dagster_home()))
            if told is None:
                raise
            _tell_error("Ended: ", told)
            ctx.exit(FAILED)


def _tell_error(title: str, error: InputError) -> None:
    from glmhmm_assets.terminal import say

    say(title, fg="red", bold=True, nl=False, err=True)
    say(str(error), err=True)


@click.group(
    cls=_Group,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="glmhmm")
def main() -> None:
    """Find the hidden strategies of subjects making choices, with GLM-HMMs.

    A study is a file dagster_home/studies/NAME.toml that says where the session files are, which
    task they are of, and which models to fit. The folder dagster_home is that of the project, or
    the one that the variable DAGSTER_HOME names.

    \b
    Start here:
      glmhmm demo          make two example studies and run them
      glmhmm ui            look at everything in a browser
    Then with your own study:
      glmhmm check NAME    what would be kept and what dropped, without fitting
      glmhmm run NAME      fit, draw, log
    """  # noqa: D301
    from glmhmm_assets.surroundings import settle

    settle()


@main.command(epilog=EXIT_CODES)
@click.argument("study", metavar="STUDY")
@click.option(
    "--subject", "-s", "subjects", multiple=True, help="Only this subject; may be given repeatedly."
)
@click.option(
    "--refit-pooled", is_flag=True, help="Make the pooled fit anew, from which all others start."
)
def run(study: str, subjects: tuple[str, ...], refit_pooled: bool) -> None:
    """Bring a study up to date: clean, fit, draw, log to MLflow.

    Does by hand what the pages do by themselves when files change. Only what is missing or out of
    date is fitted, so running it again costs little, and a run that was stopped goes on.

    The pooled fit of all subjects, from which every subject's fit starts, is made anew when its
    settings changed, its file is gone, or, in a run of all subjects, when more than a fifth of
    them are not among those that it was made of, or the reverse.

    \b
    Examples:
      glmhmm run mice
      glmhmm run mice --subject sim_001 --subject sim_004
      glmhmm run mice --refit-pooled
    """  # noqa: D301
    from glmhmm_assets.runner import run_study
    from glmhmm_assets.surroundings import check_jax

    check_jax()
    outcome = run_study(_load(study), subjects, _console(), refit_pooled=refit_pooled)
    _tell_outcome(study, outcome)
    sys.exit(FAILED if outcome.problems else _code(bool(outcome.fitted), bool(outcome.left_out)))


@main.command(epilog=EXIT_CODES)
@click.argument("study", metavar="STUDY")
@click.option(
    "--subject", "-s", "subjects", multiple=True, required=True, help="Whose; may be repeated."
)
def promote(study: str, subjects: tuple[str, ...]) -> None:
    """Let fits that are held for review take the place of the subjects' earlier ones.

    A refit is held if it did not converge, is not the best of its starts, or has other states;
    its asset's page says which. Tables, figures and MLflow follow.

    \b
    Example:
      glmhmm promote mice --subject sim_001
    """  # noqa: D301
    from glmhmm_assets.runner import run_study
    from glmhmm_assets.surroundings import check_jax

    check_jax()
    outcome = run_study(_load(study), subjects, _console(), promote=True)
    _tell_outcome(study, outcome)
    sys.exit(FAILED if outcome.problems else _code(bool(outcome.fitted), bool(outcome.left_out)))


@main.command(epilog=EXIT_CODES)
@click.argument("study", metavar="STUDY")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write every exclusion, one row each, to this CSV file.",
)
def check(study: str, report: Path | None) -> None:
    """Say what of a study would be kept and what dropped, and why; nothing is fitted or stored.

    \b
    Examples:
      glmhmm check mice
      glmhmm check mice --report dropped.csv
    """  # noqa: D301
    from glmhmm_assets.check import check_study, render
    from glmhmm_assets.faults import explained
    from glmhmm_assets.terminal import shown
    from glmhmm_core.tables.export import write_csv

    console = _console()
    if report is not None and not report.absolute().parent.is_dir():
        raise InputError(
            "there is no such folder", where=str(report.parent), remedy="Make it first."
        )
    with console.status("reading") as status:
        found = check_study(
            _load(study), lambda subject: status.update(f"reading {shown(subject)}")
        )
    console.print(render(found))
    if report is not None:
        with explained(str(report)):
            write_csv(found.report, report)
        console.print(f"{found.report.height} rows written to {report}")
    sys.exit(_code(bool(found.kept), bool(found.left_out)))


@main.command()
@click.option(
    "--dagster-port", type=int, show_default="3000, or a free one", help="Port of Dagster's pages."
)
@click.option(
    "--mlflow-port", type=int, show_default="5000, or a free one", help="Port of MLflow's pages."
)
def ui(dagster_port: int | None, mlflow_port: int | None) -> None:
    """Open the Dagster and MLflow pages, and let studies run by themselves.

    Both listen on 127.0.0.1 alone, and refuse what other web pages ask of them. While they are
    open, session files that change or arrive are fitted by themselves. Ctrl-C ends everything.

    With MLFLOW_TRACKING_URI set to a server's address that server is used and none is started.
    """
    from glmhmm_assets.study import dagster_home
    from glmhmm_assets.surroundings import check_jax
    from glmhmm_assets.ui import serve

    check_jax()
    sys.exit(serve(dagster_home(), dagster_port, mlflow_port, _console()))


@main.command(epilog=EXIT_CODES)
def demo() -> None:
    """Make two example studies and run them: a real rat, and six simulated mice.

    Takes some minutes. The mice's true parameters are known and lie beside their sessions.
    """
    from glmhmm_assets.demo import run_demo, what_was_made
    from glmhmm_assets.surroundings import check_jax

    check_jax()
    console = _console()
    codes = run_demo(console)
    if any(code not in (DONE, SOME_LEFT_OUT) for code in codes.values()):
        sys.exit(FAILED)
    console.print(what_was_made())
    sys.exit(max(codes.values()))


def _load(name: str) -> "Study":
    """Read a study by its name, and make its home Dagster's."""
    from glmhmm_assets.home import prepare_home
    from glmhmm_assets.study import NAME_LENGTH, STUDY_NAME, dagster_home, load_study

    home = prepare_home(dagster_home())
    stem = name.removesuffix(".toml")
    file = home / "studies" / f"{stem}.toml"
    if not STUDY_NAME.fullmatch(stem) or not file.exists():
        present = sorted(path.stem for path in (home / "studies").glob("*.toml"))
        near = difflib.get_close_matches(Path(stem[-NAME_LENGTH:]).name, present, n=1)
        raise InputError(
            f"there is no study {_shortened(name)!r}",
            where=str(home / "studies"),
            remedy=f"Did you mean {near[0]}?"
            if near
            else f"There are: {', '.join(present) or 'none; write one, see the README'}.",
        )
    return load_study(file, home)


def _shortened(name: str) -> str:
    """Give a name so that what is said of it is not lost beside it."""
    return name if len(name) <= 60 else f"{name[:50]}..."


def _console() -> "Console":
    from glmhmm_assets.terminal import Terminal

    return Terminal()


def _code(some_usable: bool, some_left_out: bool) -> int:
    """Exit code of what came to its end."""
    if not some_usable:
        return BAD_INPUT
    return SOME_LEFT_OUT if some_left_out else DONE


def _tell_outcome(study: str, outcome: "Outcome") -> None:
    """Say at the end of a run who has fits, and what a person should know, most costly first."""
    from glmhmm_assets.last_lines import last_lines
    from glmhmm_assets.terminal import say

    colors = {"failed": "red", "look": "yellow", "note": None}
    who = "1 subject has" if len(outcome.fitted) == 1 else f"{len(outcome.fitted)} subjects have"
    say(f"\n{study}: {who} fits", bold=True)
    for line in last_lines(outcome, study):
        say(f"  {line.text}", fg=colors[line.weight])
