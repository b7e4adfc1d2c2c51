"""Words on a terminal: what names and cells hold is shown there, never obeyed.

Names, reasons and messages come from the files of others. Control codes in them could clear the
screen, recolor it, or write lines that look like ours.
"""

import unicodedata
from typing import Any

import click
from rich.console import Console

#: Marks without which words of some scripts, and emoji, fall apart.
_JOINERS = "\u200c\u200d"
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def shown(text: str, lines: bool = False) -> str:
    r"""Give text with its control codes spelled out.

    Parameters
    ----------
    lines
        Whether it may have several lines.

    Examples
    --------
    >>> shown("red \x1b[31m")
    'red \\x1b[31m'
    """
    return "".join(
        one
        if unicodedata.category(one) not in _UNSEEN or one in _JOINERS or (lines and one == "\n")
        else one.encode("unicode_escape").decode()
        for one in text
    )


def say(text: str, **style: Any) -> None:
    """Print lines, as ``click.secho`` does."""
    click.secho(shown(text, lines=True), **style)


class Terminal(Console):
    """Rich's console, for text from anywhere: nothing in it is taken for a style."""

    def __init__(self) -> None:
        super().__init__(highlight=False, markup=False, emoji=False)

    def print(self, *objects: Any, **more: Any) -> None:
        """Print; plain text is shown as it is."""
        plain = [shown(one, lines=True) if isinstance(one, str) else one for one in objects]
        super().print(*plain, **more)
