"""Requests that pass the guard or are refused, and links from one server to the other."""

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from glmhmm_assets.addresses import dagster_doors, mlflow_doors
from glmhmm_assets.guard import Guard

HERE = "http://127.0.0.1:3000"
FETCH = {"sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}
IMAGE = {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
FRAME = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
LINK = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


async def _answer(_):
    return PlainTextResponse("reached")


async def _talk(websocket):
    await websocket.accept()
    await websocket.send_text("reached")
    await websocket.close()


PAGES = Starlette(
    routes=[
        WebSocketRoute("/graphql", _talk),
        Route("/{path:path}", _answer, methods=["GET", "POST", "DELETE", "OPTIONS"]),
    ]
)


def ask(path="/runs", method="GET", host="127.0.0.1:3000", env=None, **headers):
    client = TestClient(Guard(PAGES, dagster_doors(env or {})), base_url=HERE)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.request(method, path, headers={"host": host, **named}, follow_redirects=False)


def reached(*args, **kwargs):
    answer = ask(*args, **kwargs)
    assert (answer.status_code, answer.text[:8]) in [(200, "reached"), (403, "Refused:")]
    return answer.status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1:3000", "localhost:8123", "LOCALHOST", "[::1]:3000"])
def test_names_of_this_machine_are_served(host):
    assert reached(host=host)


@pytest.mark.parametrize(
    "host",
    [
        "attacker.example:3000", "localhost.attacker.example", "127.0.0.1.nip.io", "", "0.0.0.0",
        "127.0.0.1:x", "localhost@attacker.example", "attacker.example/127.0.0.1", "[::1",
        "10.0.0.1",
    ],
)  # fmt: skip
def test_a_name_that_was_bound_to_this_machine_is_refused(host):
    answer = ask(host=host)
    assert answer.status_code == 403
    assert "Open them as http://127.0.0.1" in answer.text


def test_two_hosts_are_refused():
    client = TestClient(Guard(PAGES, dagster_doors({})), base_url=HERE)
    hosts = [("host", "127.0.0.1:3000"), ("host", "attacker.example")]
    assert client.get("/", headers=hosts).status_code == 403


def test_programs_without_a_browser_are_served():
    assert reached(method="POST", path="/graphql")


def test_the_pages_own_requests_are_served():
    own = {"origin": HERE, "sec_fetch_site": "same-origin", **FETCH}
    assert reached(method="POST", path="/graphql", **own)


@pytest.mark.parametrize(
    "origin",
    ["http://attacker.example", "http://127.0.0.1:8000", "http://localhost:3000", "null", "",
     "https://127.0.0.1:3000", "http://127.0.0.1"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["POST", "DELETE", "GET", "OPTIONS"])
def test_another_pages_origin_is_refused(method, origin):
    assert not reached(method=method, path="/graphql", origin=origin)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("how", [FETCH, IMAGE, FRAME])
def test_what_another_page_loads_is_refused(site, how):
    assert not reached(sec_fetch_site=site, **how)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_link_on_another_page_may_be_followed(site):
    assert reached(sec_fetch_site=site, **LINK)


def test_a_form_of_another_page_is_refused():
    assert not reached(method="POST", sec_fetch_site="cross-site", **LINK)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/graphql?query=mutation", "/%67raphql?x=1&%71uery=mutation"])
def test_graphql_is_not_taken_from_an_address(method, path):
    assert ask(method=method, path=path).status_code == 403


def test_the_playground_opens():
    assert reached(path="/graphql", sec_fetch_site="none", **LINK)


def test_pages_are_not_shown_in_frames_of_others():
    assert ask().headers["x-frame-options"] == "SAMEORIGIN"


@pytest.mark.parametrize("origin", [HERE, None])
def test_the_pages_own_websocket_is_served(origin):
    client = TestClient(Guard(PAGES, dagster_doors({})), base_url=HERE)
    headers = {"host": "127.0.0.1:3000"} | ({"origin": origin} if origin else {})
    with client.websocket_connect("/graphql", headers=headers) as websocket:
        assert websocket.receive_text() == "reached"


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8000", "http://attacker.example", "null"])
def test_another_pages_websocket_is_refused(origin):
    client = TestClient(Guard(PAGES, dagster_doors({})), base_url=HERE)
    headers = {"host": "127.0.0.1:3000", "origin": origin}
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/graphql", headers=headers),
    ):
        pass


def test_a_proxys_name_and_origin_are_known_once_they_are_told():
    env = {"GLMHMM_PUBLIC_URL": "https://lab.org:8443/"}
    assert not reached(host="lab.org:8443")
    assert reached(host="lab.org:8443", env=env)
    for host in ("lab.org:8443", "127.0.0.1:3000"):
        assert reached(method="POST", host=host, env=env, origin="https://lab.org:8443")
    assert not reached(method="POST", host="lab.org:8443", env=env, origin="https://lab.org")


def test_stored_links_lead_to_wherever_mlflow_is_now():
    for port in (5000, 41234):
        answer = ask(
            "/to/mlflow/experiments/1/runs?searchFilter=tags.subject%20%3D%20'a'&w=ml",
            env={"GLMHMM_MLFLOW_URL": f"http://127.0.0.1:{port}/"},
        )
        assert answer.status_code == 307
        assert answer.headers["location"] == (
            f"http://127.0.0.1:{port}/#/experiments/1/runs"
            "?searchFilter=tags.subject%20%3D%20'a'&w=ml"
        )


def test_stored_links_lead_to_the_public_address_where_there_is_one():
    env = {"GLMHMM_PUBLIC_URL": "https://lab.org", "GLMHMM_DAGSTER_URL": "http://127.0.0.1:3000"}
    client = TestClient(Guard(PAGES, mlflow_doors(env)), base_url="http://127.0.0.1:5000")
    answer = client.get("/to/dagster/assets/mice/weights?view=x", follow_redirects=False)
    assert answer.headers["location"] == "https://lab.org/assets/mice/weights?view=x"


@pytest.mark.parametrize("path", ["/to/mlflow@attacker.example/", "/to/mlflowx"])
def test_links_lead_to_no_other_host(path):
    assert reached(path, env={"GLMHMM_MLFLOW_URL": "http://127.0.0.1:5000"})
