"""How every figure looks: sizes, type, titles and the marks of states; nothing is global.

A figure function is wrapped in ``styled``, which applies ``STYLE`` while the figure is built and
leaves matplotlib's settings as they were.
"""

import functools
import itertools
import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

P = ParamSpec("P")
R = TypeVar("R")

INK = "#222222"
QUIET = "#6b6b6b"  # secondary text
FAINT = "#c8c8c8"  # reference lines, single subjects
ALARM = "#b2182b"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
WIDTH = 7.2  # inches: a page's text width
WIDEST = 10.0
MANY_FEATURES = 6
NOTE_WIDTH = 0.72  # of the figure's, that a note's line takes

STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.parse_math": False,  # names come from users
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "figure.facecolor": "white",
    "figure.constrained_layout.w_pad": 0.06,
    "figure.constrained_layout.h_pad": 0.06,
}


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Build a figure in this style."""

    @functools.wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapped


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure, inches, laid out so that nothing overlaps or is cut off."""
    return Figure(figsize=(width, height), layout="constrained")


def head(figure: FigureBase, who: str, what: str, note: str = "") -> None:
    """Title: whom and what the figure shows; below the figure a quiet note, if any."""
    # The title breaks its lines between words, so only words that no line could hold are cut.
    name = short(" ".join(short(word) for word in who.split(" ")), 64)
    figure.suptitle(
        f"{name}: {what}",
        x=0.01,
        ha="left",
        fontsize=11,
        fontweight="bold",
        color=INK,
        wrap=True,
    )
    if note:
        _make_room(figure, len(_note_lines(figure, note)))
        figure.supxlabel(note, x=0.01, ha="left", fontsize=8, color=QUIET, wrap=True)


def _note_lines(figure: FigureBase, note: str) -> list[str]:
    """A note in lines that fit, also where they are names in capitals."""
    width = figure.get_figure(root=True).get_figwidth()
    return textwrap.wrap(note, max(30, int(width * NOTE_WIDTH * 72 / (8 * 0.62))))


def _make_room(figure: FigureBase, lines: int) -> None:
    """Make a figure higher for a note of more than one line, lest it eat up the panels."""
    root = figure.get_figure(root=True)
    root.set_figheight(root.get_figheight() + 0.19 * max(lines - 1, 0))


def short(name: str, limit: int = 28) -> str:
    """A name cut in its middle to at most ``limit`` characters."""
    if len(name) <= limit:
        return name
    keep = limit - 1
    return f"{name[: keep - keep // 2]}…{name[len(name) - keep // 2 :]}"


def told_apart(names: Sequence[str], limit: int = 28) -> list[str]:
    """Names cut to at most ``limit`` characters so that they still differ.

    Where cutting their middles makes some alike, the words that all begin and end with go first,
    then those that the names in question share; what is alike even then is numbered. Only limits
    too small for a number are passed.
    """
    shown = {name: short(name, limit) for name in names}
    if _alike(shown):
        shown = _without_shared_words(list(shown), limit)
    for group in _alike(shown):
        shown |= _without_shared_words(group, limit)
    taken = set(shown.values())
    for group in _alike(shown):
        marks = (f"#{number}" for number in itertools.count(1))
        for name in group:
            numbered = (f"{short(name, max(limit - len(mark), 1))}{mark}" for mark in marks)
            shown[name] = next(text for text in numbered if text not in taken)
            taken.add(shown[name])
    return [shown[name] for name in names]


def _alike(shown: Mapping[str, str]) -> list[list[str]]:
    """Names that are shown as the same text, together."""
    groups: dict[str, list[str]] = {}
    for name, text in shown.items():
        groups.setdefault(text, []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _without_shared_words(names: Sequence[str], limit: int) -> dict[str, str]:
    """Names without the words that all of them begin and end with, cut."""
    head = _whole_words(names)
    tail = _whole_words([name[head:][::-1] for name in names])
    left, right = "…" * (head > 0), "…" * (tail > 0)
    return {name: short(f"{left}{name[head : len(name) - tail]}{right}", limit) for name in names}


def _whole_words(names: Sequence[str]) -> int:
    """Length of the beginning that all names share, to the last character between words."""
    first, last = min(names), max(names)  # in order of the alphabet: these differ earliest
    pairs = enumerate(zip(first, last, strict=False))
    shared = next((i for i, (one, other) in pairs if one != other), min(len(first), len(last)))
    ends = [found.end() for found in re.finditer(r"[\W_]", first[:shared])]
    return ends[-1] if ends else 0


def plain(name: str, limit: int = 22) -> str:
    """A column's name as words."""
    return short(name.replace("_", " "), limit)


def folded(name: str) -> str:
    """A column's or state's name as words, on two lines if it is long, for a tick."""
    words = plain(name)
    spaces = [i for i, letter in enumerate(words) if letter == " "]
    if len(words) < 9 or not spaces:
        return words
    cut = min(spaces, key=lambda i: abs(i - len(words) / 2))
    return f"{words[:cut]}\n{words[cut + 1 :]}"


def decades(axis: Axis) -> None:
    """Name a log axis's ticks without markup: 0.01, 1, 100, and 10⁻⁵ beyond three digits.

    Minor ticks, which have no length in this style, would only cost time.
    """
    raised = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

    def name(value: float, _: int) -> str:
        if value <= 0 or 1e-3 <= value <= 1e4:
            return f"{value:g}"
        return "10" + f"{math.log10(value):.0f}".translate(raised)

    axis.set_major_formatter(FuncFormatter(name))
    axis.set_minor_locator(NullLocator())


def of_model(table: pl.DataFrame, num_states: int) -> pl.DataFrame:
    """Rows of one number of states.

    Raises
    ------
    ValueError
        If there are none.
    """
    rows = table.filter(pl.col("num_states") == num_states)
    if rows.is_empty():
        there = sorted(table["num_states"].drop_nulls().unique())
        raise ValueError(f"no model of {num_states} states in the table, only {there}")
    return rows


def models(num_states: int) -> str:
    """The number of states in words, for titles."""
    return "1 state" if num_states == 1 else f"{num_states} states"


def states_of(table: pl.DataFrame) -> list[tuple[int, str, str]]:
    """(rank, label, color) of each state of one model, in display order."""
    columns = ["state_rank", "state_label", "state_color"]
    return table.select(columns).unique().sort("state_rank").rows()


def features_of(weights: pl.DataFrame) -> list[str]:
    """Names of the regressors, in the order of the design."""
    places = weights.group_by("feature").agg(pl.col("feature_idx").min())
    return places.sort("feature_idx", "feature")["feature"].to_list()


def name_features(ax: Axes, features: Sequence[str], upright: bool) -> None:
    """Ticks with the names of the regressors; many stand upright, on one line each."""
    many = len(features) > MANY_FEATURES
    names = [plain(name, 30) if many else folded(name) for name in features]
    ax.set_xticks(range(len(features)), names, rotation=90 if many or upright else 0)
    ax.set_xlim(-0.5, len(features) - 0.5)


def marker(rank: int) -> str:
    """The mark of a state by its place in the display order."""
    return MARKERS[rank % len(MARKERS)]


def state_handles(states: Sequence[tuple[int, str, str]], line: bool = True) -> list[Line2D]:
    """Legend entries of states."""
    return [
        Line2D([], [], color=color, marker=marker(rank), ls="-" if line else "", label=label)
        for rank, label, color in states
    ]


def side_legend(figure: FigureBase, handles: Sequence[Artist], title: str | None = None) -> None:
    """A legend right of all panels."""
    figure.legend(handles=list(handles), loc="outside right center", title=title, alignment="left")


def foot_legend(
    figure: FigureBase, handles: Sequence[Artist], columns: int, note: str = ""
) -> None:
    """A legend below all panels, under a quiet note if there is one.

    The note is the legend's title: the layout keeps room for one thing at the foot.
    """
    lines = _note_lines(figure, note)
    _make_room(figure, len(lines))
    figure.legend(
        handles=list(handles),
        loc="outside lower left",
        ncols=columns,
        alignment="left",
        title="\n".join(lines) or None,
        title_fontproperties={"size": 8},
    ).get_title().set_color(QUIET)


def integer_axis(ax: Axes, values: Sequence[int]) -> None:
    """Ticks at whole numbers alone, from first to last of ``values``."""
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlim(min(values) - 0.35, max(values) + 0.35)


def grid_of(count: int, most: int) -> tuple[int, int]:
    """(rows, columns) for ``count`` panels with at most ``most`` in a row, evenly filled."""
    rows = -(-count // most)
    return rows, -(-count // rows)


def opening(label: str) -> str:
    """A label with a capital first letter, for an axis."""
    return label[:1].upper() + label[1:]


def alpha(count: int) -> float:
    """Opacity of each of ``count`` lines, so that many do not become one surface."""
    return max(0.15, min(0.75, 6 / count**0.75))


def say(ax: Axes, text: str) -> None:
    """Words in the place of a panel."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", color=QUIET)
