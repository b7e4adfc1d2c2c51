"""The color of each state label; a shared state has the same color in every figure.

Engaged and biased states have the colors of Ashwood et al. 2022. Every other label takes the
next of a list that was chosen, by simulated color vision deficiency, to stay apart from those
and within itself (CIELAB distance at least 17 under deuteranopia and protanopia, 11 for
magenta and the last two). States of one subject alone are gray, which no shared state is. Figures
add markers, since the three colors of the field do not all pass that test.
"""

from collections.abc import Sequence

ENGAGED = "#ff7f00"
ENGAGED_FIRST = "#ffc20a"  # where two states are engaged
ENGAGED_LAST = "#b35900"
BIASED_FIRST = "#4daf4a"
BIASED_LAST = "#377eb8"
DISENGAGED = "#332288"
ENGAGED_MIDDLE = "#7f3b08"  # of three choices
BIASED_MIDDLE = "#aa4499"
SINGLE = "#222222"  # the only state of a GLM
#: Those that also name a state stand behind the first three, so that they are rarely taken by
#: another.
OTHERS = (
    "#01665e",
    "#88ccee",
    "#dfc27d",
    ENGAGED_MIDDLE,
    BIASED_MIDDLE,
    DISENGAGED,
    "#6699cc",
    "#117733",
)
#: Gray levels of a state of one subject alone: the only one's, and the ends of several.
ALONE, DARKEST, LIGHTEST = 0x94, 0x3D, 0xBD


def state_colors(labels: Sequence[str], choice_names: Sequence[str]) -> tuple[str, ...]:
    """Color of each label, no two alike (up to eight labels without a color of their own).

    Parameters
    ----------
    labels
        Labels of one model's states, in display order.
    choice_names
        Names of the classes; first and last are the sides of "biased" and "engaged" states.

    Returns
    -------
    tuple of "#rrggbb", one per label.
    """
    first, last = choice_names[0], choice_names[-1]
    named = {
        "GLM": SINGLE,
        "engaged": ENGAGED,
        f"engaged {first}": ENGAGED_FIRST,
        f"engaged {last}": ENGAGED_LAST,
        f"biased {first}": BIASED_FIRST,
        f"biased {last}": BIASED_LAST,
        "disengaged": DISENGAGED,
    }
    if len(choice_names) == 3:
        named |= {
            f"engaged {choice_names[1]}": ENGAGED_MIDDLE,
            f"biased {choice_names[1]}": BIASED_MIDDLE,
        }
    named |= {f"{label} 1": color for label, color in named.items()}  # the first of several
    colors = {label: named[label] for label in labels if label in named}
    free = [color for color in OTHERS if color not in colors.values()]
    rest = [label for label in labels if label not in named]
    colors.update({label: free[i % len(free)] for i, label in enumerate(rest)})
    return tuple(colors[label] for label in labels)


def alone_colors(count: int) -> tuple[str, ...]:
    """Grays of so many states that are of one subject alone, from dark to light."""
    if count == 1:
        return (f"#{ALONE:02x}{ALONE:02x}{ALONE:02x}",)
    steps = (DARKEST + (LIGHTEST - DARKEST) * i // max(count - 1, 1) for i in range(count))
    return tuple(f"#{level:02x}{level:02x}{level:02x}" for level in steps)
