"""A hostile page that is open in the same browser: whatever it tries, the pages do not obey.

The page lies on another port of this machine, which browsers take for the same site. Without the
guard every one of these tries succeeds.
"""

import http.server
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import dagster as dg
import pytest
from servers import end_with_parent, environment, free_port, post, wait_for

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
def dagster(home):
    """Address of Dagster's own webserver behind the guard, as ``glmhmm ui`` starts it."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "glmhmm_assets.guarded", "webserver", "--empty-workspace"]
    with (home / "webserver.txt").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            env=environment(home),
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
    try:
        wait_for(lambda: urllib.request.urlopen(f"{address}/server_info"), 300, "the webserver")
        yield address
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def run_id(home, dagster):
    """A run that may not be deleted."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        run = instance.create_run_for_job(dg.GraphDefinition("nothing").to_job())
    assert kind_of_answer(dagster, run.run_id) == "Run"
    return run.run_id


def kind_of_answer(dagster, run_id):
    """Ask for a run; "Run" while it is there."""
    answer = post(f"{dagster}/graphql", {"query": RUN % run_id})
    return answer["data"]["runOrError"]["__typename"]


@pytest.mark.parametrize("attempt", TRIES)
def test_a_hostile_page_deletes_no_run(attempt, page, dagster, hostile, run_id):
    page.goto(hostile)
    page.add_script_tag(content=SUBMIT)
    answers = []
    page.context.on("response", lambda answer: answers.append((answer.url, answer.status)))
    page.evaluate(
        f"([url, query]) => {{ {TRIES[attempt]} }}", [f"{dagster}/graphql", DELETE % run_id]
    )
    page.wait_for_timeout(1500)
    assert all(status == 403 for url, status in answers if url.startswith(dagster))
    assert kind_of_answer(dagster, run_id) == "Run"


def test_a_hostile_page_gets_no_websocket(page, dagster, hostile):
    page.goto(hostile)
    assert page.evaluate(SOCKET, f"{dagster}/graphql") == "refused"


def test_the_pages_themselves_get_their_websocket(page, dagster):
    page.goto(f"{dagster}/runs")
    assert page.evaluate(SOCKET, f"{dagster}/graphql") == "open"


def test_a_rebound_name_is_refused(dagster):
    request = urllib.request.Request(dagster, headers={"Host": "attacker.example"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request)
