"""The guard before the pages: refuses what other web pages ask of the servers on this machine.

What belongs here is which requests may pass. Dagster checks neither Host nor Origin, and runs
GraphQL mutations that come by GET: without a guard any page that is open in the same browser
could launch and delete runs. How the servers are started behind it is in ``guarded.py``.
"""

from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from glmhmm_assets.addresses import PUBLIC_DAGSTER, PUBLIC_MLFLOW, Doors


class Guard:
    """ASGI layer that passes on what a person, a program or the server's own page asks.

    Parameters
    ----------
    app
        The server's own application.
    doors
        Its names and links.
    """

    def __init__(self, app: ASGIApp, doors: Doors) -> None:
        self._app, self._doors = app, doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        answer = self._answer(scope)
        if answer is None:
            await self._app(scope, receive, _unframed(send))
        elif scope["type"] == "websocket":
            await WebSocket(scope, receive, send).close(1008)  # before it is accepted: 403
        else:
            await answer(scope, receive, send)

    def _answer(self, scope: Scope) -> Response | None:
        """Answer a request that is not passed on; None for one that is."""
        headers = Headers(scope=scope)
        problem = refusal(scope, headers, self._doors)
        if problem:
            return PlainTextResponse(f"Refused: {problem}\n", status_code=403)
        query = scope["query_string"].decode("latin-1")
        target = self._doors.target(scope["path"], query) if scope["type"] == "http" else None
        return None if target is None else RedirectResponse(target)


def refusal(scope: Scope, headers: Headers, doors: Doors) -> str | None:
    """Say why a request is refused; None if it may pass.

    The rules are those of OWASP's cheat sheet on cross-site request forgery and of the resource
    isolation policy (web.dev/articles/fetch-metadata), without exceptions for other ports of the
    same machine.
    """
    hosts = headers.getlist("host")
    if len(hosts) != 1 or _name(f"//{hosts[0]}") not in doors.hosts:
        return (
            "the pages are not known under this Host. Open them as http://127.0.0.1 with their "
            f"port, or name the address that a proxy serves them under in {PUBLIC_DAGSTER} "
            f"(Dagster) or {PUBLIC_MLFLOW} (MLflow) before starting `glmhmm ui`."
        )
    reading = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
    own = _own_origins(hosts[0], doors)
    strange_origin = any(origin not in own for origin in headers.getlist("origin"))
    strange_site = headers.get("sec-fetch-site", "none") not in ("same-origin", "none")
    if strange_origin or (strange_site and not (reading and _opens_page(headers))):
        return "another web page asks this; only the pages themselves may."
    asks = scope["path"] == "/graphql" and b"query" in parse_qs(scope["query_string"])
    if reading and asks:
        return "GraphQL is sent by POST."
    return None


def _own_origins(host: str, doors: Doors) -> set[str]:
    """Origins of the server's own pages: as they were asked for, and behind the proxy."""
    own = {f"http://{host}"}
    if doors.public:
        parts = urlsplit(doors.public)
        own.add(f"{parts.scheme}://{parts.netloc}")
    return own


def _opens_page(headers: Headers) -> bool:
    """True if somebody followed a link: the one request that other pages may cause."""
    return (
        headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    )


def _name(address: str) -> str | None:
    """Host name of an address; None if it has none or is none."""
    try:
        parts = urlsplit(address)
        _ = parts.port  # raises where the port is no number
    except ValueError:
        return None
    return parts.hostname if parts.username is None and not parts.path else None


def _unframed(send: Send) -> Send:
    """Send, and forbid other pages to show these in a frame, where clicks can be borrowed."""

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).setdefault("x-frame-options", "SAMEORIGIN")
        await send(message)

    return wrapped
