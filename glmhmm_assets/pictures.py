"""Where pictures are kept, and when one is drawn anew.

A full picture lies at ``figures/<who>/<name>.png`` of a study's storage, the small one for its
page below ``thumbnails``. The small one's name holds a digest of what it shows: while that is the
same nothing is drawn, since a cohort's pictures take minutes.
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from glmhmm_assets.per_subject import code_version

#: Rooms whose code is run while a picture is drawn.
ROOMS = ("plots", "tables")


@dataclass(frozen=True)
class Gallery:
    """The pictures below a study's storage folder."""

    storage: Path

    def draw(
        self, who: str, name: str, function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> dict[str, Any]:
        """Draw a picture unless it is there already; give the metadata that shows it.

        Parameters
        ----------
        who, name
            Subject (or ``cohort``), and name of the picture.
        function, arguments
            Figure function of the core, and what it gets: tables and plain values.
        """
        full = self.storage / "figures" / who / f"{name}.png"
        small = self._thumbnails(who) / f"{name}.{_digest(function, arguments)}.png"
        if not (full.exists() and small.exists()):
            self._make(full, small, function(*arguments), who, name)
        encoded = base64.b64encode(small.read_bytes()).decode()
        return {
            "picture": dg.MetadataValue.md(f"![{name}](data:image/png;base64,{encoded})"),
            "file": dg.MetadataValue.path(str(full)),
        }

    def remove(self, who: str, name: str) -> None:
        """Remove a picture that shows nothing true any more."""
        (self.storage / "figures" / who / f"{name}.png").unlink(missing_ok=True)
        for old in self._thumbnails(who).glob(f"{name}.*.png"):
            old.unlink(missing_ok=True)

    def _make(self, full: Path, small: Path, figure: Any, who: str, name: str) -> None:
        from glmhmm_core.plots.export import save_png, thumbnail

        picture = thumbnail(figure)
        self.remove(who, name)
        save_png(figure, full)
        # Last and whole, since it stands for both.
        small.parent.mkdir(parents=True, exist_ok=True)
        beside = small.with_suffix(".part")
        beside.write_bytes(picture)
        beside.replace(small)

    def _thumbnails(self, who: str) -> Path:
        return self.storage / "thumbnails" / who


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
