"""A hostile page that is open in the same browser: whatever it tries, the pages do not obey.

The page lies on another port of this machine, which browsers take for the same site. That its
tries reach the server is seen by what the server answers to the page's own.
"""

import http.server
import threading
import urllib.error
import urllib.request
from urllib.parse import quote

import dagster as dg
import pytest

pytestmark = [pytest.mark.slow]

DELETE = 'mutation { deletePipelineRun(runId: "%s") { __typename } }'
RUN = 'query { runOrError(runId: "%s") { __typename } }'

#: Each try is a function of the address of Dagster's GraphQL, and of the mutation.
TRIES = {
    "image": "new Image().src = url + '?query=' + encodeURIComponent(query)",
    "link": "open(url + '?query=' + encodeURIComponent(query))",
    "form by GET": "submit(url, 'get', query)",
    "form by POST": "submit(url + '?query=' + encodeURIComponent(query), 'post', query)",
    "fetch": "fetch(url, {method: 'POST', body: JSON.stringify({query}), mode: 'no-cors'})",
    "fetch with JSON": (
        "fetch(url, {method: 'POST', body: JSON.stringify({query}),"
        " headers: {'Content-Type': 'application/json'}})"
    ),
    "fetch of a query in the address": (
        "fetch(url + '?query=' + encodeURIComponent(query), {method: 'POST', mode: 'no-cors'})"
    ),
    "beacon": "navigator.sendBeacon(url + '?query=' + encodeURIComponent(query))",
}
SUBMIT = """
function submit(url, method, query) {
  const form = document.createElement('form'), field = document.createElement('input')
  Object.assign(form, {action: url, method: method, target: 'elsewhere'})
  Object.assign(field, {name: 'query', value: query})
  form.append(field); document.body.append(form); form.submit()
}
"""
SOCKET = """
url => new Promise(done => {
  const socket = new WebSocket(url.replace('http', 'ws'), 'graphql-ws')
  socket.onopen = () => done('open'); socket.onerror = () => done('refused')
})
"""


class _Blank(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>kittens</title><body>kittens")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def hostile():
    """Address of a page that is not ours."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Blank) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def run_id(home, pages):
    """A run that may not be deleted."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        run = instance.create_run_for_job(dg.GraphDefinition("nothing").to_job())
    assert pages.graphql(RUN % run.run_id)["runOrError"]["__typename"] == "Run"
    return run.run_id


@pytest.mark.parametrize("attempt", TRIES)
def test_a_hostile_page_deletes_no_run(attempt, page, pages, hostile, run_id):
    page.goto(hostile)
    page.add_script_tag(content=SUBMIT)
    answers = []
    page.context.on("response", lambda answer: answers.append((answer.url, answer.status)))
    page.evaluate(
        f"([url, query]) => {{ {TRIES[attempt]} }}", [f"{pages.dagster}/graphql", DELETE % run_id]
    )
    page.wait_for_timeout(1500)
    assert all(status == 403 for url, status in answers if url.startswith(pages.dagster))
    assert pages.graphql(RUN % run_id)["runOrError"]["__typename"] == "Run"


def test_a_hostile_page_gets_no_websocket(page, pages, hostile):
    page.goto(hostile)
    assert page.evaluate(SOCKET, f"{pages.dagster}/graphql") == "refused"


def test_the_pages_themselves_get_their_websocket(page, pages):
    page.goto(f"{pages.dagster}/runs")
    assert page.evaluate(SOCKET, f"{pages.dagster}/graphql") == "open"


@pytest.mark.parametrize("server", ["dagster", "mlflow"])
def test_a_rebound_name_is_refused(pages, server):
    request = urllib.request.Request(getattr(pages, server), headers={"Host": "attacker.example"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request)


def test_mlflow_refuses_another_page(pages):
    request = urllib.request.Request(
        f"{pages.mlflow}/api/2.0/mlflow/experiments/create",
        b'{"name": "stray"}',
        {"Content-Type": "application/json", "Origin": "http://127.0.0.1:9"},
    )
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request)


def test_mlflows_own_checks_are_on(pages):
    """Its guard behind ours: it alone says no to a page of a known name at another address."""
    asked = f"{pages.mlflow}/?{quote('x')}"
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
