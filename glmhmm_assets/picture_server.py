"""Pictures for the pages: the layer before Dagster's own that serves them, and nothing else.

The pages of assets name a picture by an address without host and port, which a browser asks of
the server that it has the page from.
"""

from pathlib import Path

from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from glmhmm_assets.pictures import ADDRESS, FOLDER


class PictureServer:
    """ASGI layer that answers requests for pictures and passes on all others.

    Parameters
    ----------
    app
        Dagster's own application.
    storage
        Folder ``storage`` of the home.
    """

    def __init__(self, app: ASGIApp, storage: Path) -> None:
        self._app, self._storage = app, storage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "http" and scope["path"].startswith(f"{ADDRESS}/"):
            await self._answer(scope)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _answer(self, scope: Scope) -> Response:
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("Pictures can only be read.\n", status_code=405)
        file = picture_file(self._storage, scope["path"].removeprefix(f"{ADDRESS}/"))
        if file is None:
            return PlainTextResponse(
                "There is no such picture (any more): materialize its asset.\n", status_code=404
            )
        # A picture that is drawn anew keeps its address.
        kept = {"cache-control": "no-cache", "x-content-type-options": "nosniff"}
        return FileResponse(file, media_type="image/png", headers=kept)


def picture_file(storage: Path, address: str) -> Path | None:
    """Find the picture with this address; None if it leads to anything else.

    Parameters
    ----------
    storage
        Folder ``storage`` of the home.
    address
        ``<study>/figures/<subject>/<name>.png``, perhaps with ``cohort`` after the study.
    """
    parts = address.split("/")
    if any(part in ("", ".", "..") or "\0" in part or "\\" in part for part in parts):
        return None
    if len(parts) not in (4, 5) or parts[-3] != FOLDER or not parts[-1].endswith(".png"):
        return None
    try:
        file = storage.joinpath(*parts).resolve(strict=True)
    except OSError:  # absent, a name too long, links in a circle
        return None
    return file if file.is_file() and file.is_relative_to(storage.resolve()) else None
