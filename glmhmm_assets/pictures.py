"""Pictures: their files, the condition for drawing one again, and their place on Dagster's pages.

A picture lies at ``figures/<who>/<name>.png`` of a study's storage. The file itself says what it
was drawn from: while that is the same nothing is drawn, since pictures take longer than anything
else in a run that fits nothing. Events hold an address of the picture and not the picture, of which
Dagster would keep a copy for every run, twice.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dagster as dg

from glmhmm_assets.per_subject import code_version
from glmhmm_assets.study import Study

#: Rooms whose code is run while a picture is drawn.
ROOMS = ("plots", "states", "tables")
#: Beginning of the addresses under which the pages serve pictures, without host and port.
ADDRESS = "/pictures"
#: Folder of a study's storage, and of its cohort's, that holds them.
FOLDER = "figures"


@dataclass(frozen=True)
class Gallery:
    """Pictures below a folder of the home's storage.

    Attributes
    ----------
    home
        Dagster's home.
    place
        Folders below its ``storage`` that lead to the pictures.
    """

    home: Path
    place: tuple[str, ...]

    @classmethod
    def of_subjects(cls, study: Study) -> "Gallery":
        """Give the pictures of a study's subjects."""
        return cls(study.home, (study.name,))

    @classmethod
    def of_cohort(cls, study: Study) -> "Gallery":
        """Give the pictures of all subjects together."""
        return cls(study.home, (study.name, "cohort"))

    def draw(
        self, who: str, name: str, function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> dict[str, Any]:
        """Draw a picture unless it is there already; give the metadata that shows it.

        Parameters
        ----------
        who, name
            Subject (or study), and name of the picture.
        function, arguments
            Figure function of the core, and what it gets: tables and plain values.
        """
        from glmhmm_core.plots.export import save_png, source_of

        file = self.file(who, name)
        source = _digest(function, arguments)
        if source_of(file) != source:
            save_png(function(*arguments), file, source=source)
        address = "/".join([ADDRESS, *map(_quoted, (*self.place, FOLDER, who)), f"{name}.png"])
        return {
            "picture": dg.MetadataValue.md(f"![{name}]({address})\n\n[Full size]({address})"),
            "file": dg.MetadataValue.path(str(file)),
        }

    def file(self, who: str, name: str) -> Path:
        """Give the place of a picture."""
        return self.home.joinpath("storage", *self.place, FOLDER, who, f"{name}.png")

    def remove(self, who: str, name: str) -> None:
        """Remove a picture that shows nothing true any more."""
        self.file(who, name).unlink(missing_ok=True)


def _quoted(name: str) -> str:
    """A name as part of an address in Markdown, which ends at a space or a bracket."""
    return quote(name, safe="")


def _digest(function: Callable[..., Any], arguments: tuple[Any, ...]) -> str:
    """Digest of what a picture shows and of the code that draws it."""
    import io

    import polars as pl

    digest = hashlib.sha256(f"{function.__name__} {code_version(*ROOMS)}".encode())
    for argument in arguments:
        if isinstance(argument, pl.DataFrame):
            content = io.BytesIO()
            argument.rechunk().write_ipc(content)
            digest.update(content.getvalue())
        else:
            digest.update(repr(argument).encode())
    return digest.hexdigest()[:16]
