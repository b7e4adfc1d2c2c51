"""A session file arrives while the pages are open; everything else happens by itself.

The tests tell one story in their order: the pages open, a file is dropped in, its run is waited
for, the results are looked at in both pages, Ctrl-C ends everything.
"""

import json
import signal
import time
import urllib.error
import urllib.request

import pytest
from servers import children_of, drop_sessions, group_members, wait_for

from glmhmm_assets.stages import STAGES

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("run")]

RUNS = """
query($filter: RunsFilter!) {
  runsOrError(filter: $filter, limit: 10) {
    ... on Runs { results { runId status tags { key value } } }
  }
}
"""
EVENTS = """
query($key: AssetKeyInput!) {
  assetOrError(assetKey: $key) {
    ... on Asset {
      assetMaterializations(limit: 5) {
        runId
        partition
        metadataEntries {
          label
          ... on UrlMetadataEntry { url }
          ... on MarkdownMetadataEntry { mdStr }
        }
      }
    }
  }
}
"""
LAUNCH = """
mutation($asked: ExecutionParams!) {
  launchPipelineExecution(executionParams: $asked) { ... on LaunchRunSuccess { run { runId } } }
}
"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


def finished_run(pages):
    """The sensor's run, once it is finished."""
    found = pages.graphql(RUNS, filter={"tags": [{"key": "glmhmm/study", "value": "tiny"}]})
    runs = found["runsOrError"]["results"]
    assert all(run["status"] not in ("FAILURE", "CANCELED") for run in runs), runs
    return next((run for run in runs if run["status"] == "SUCCESS"), None)


def events(pages, asset):
    found = pages.graphql(EVENTS, key={"path": ["tiny", asset]})
    return found["assetOrError"].get("assetMaterializations", [])


@pytest.fixture(scope="module")
def run(pages, home):
    """The run of a file that was dropped in while everything was open."""
    drop_sessions(home, "ann")
    return wait_for(lambda: finished_run(pages), 300, "the sensor's run")


def test_a_dropped_file_is_run_by_the_sensor(pages, run):
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    assert tags["dagster/sensor_name"] == "tiny_session_files"
    assert {event["partition"] for event in events(pages, "subject_fits")} == {"ann"}


def test_its_models_are_in_mlflow_with_links_both_ways(pages, run):
    runs = {
        r["info"]["run_id"]: r
        for r in pages.mlflow_runs("tags.superseded = 'false' and tags.subject = 'ann'")
    }
    assert len(runs) == 2
    (event,) = events(pages, "fit_tracking")
    assert event["runId"] == run["runId"]
    links = {e["label"]: e["url"] for e in event["metadataEntries"] if "url" in e}
    for one in runs.values():
        tags = {tag["key"]: tag["value"] for tag in one["data"]["tags"]}
        assert tags["dagster_run_id"] == run["runId"]
        assert f"](/to/dagster/runs/{run['runId']})" in tags["mlflow.note.content"]
        link = links[f"mlflow_K{tags['num_states']}"]
        assert link.startswith("/to/mlflow/experiments/")
        assert one["info"]["run_id"] in link


def test_the_lineage_shows_the_stages_and_the_page_of_a_stage_its_assets(pages, page):
    # Dagster draws only what is in sight.
    page.set_viewport_size({"width": 2200, "height": 3000})
    page.goto(f"{pages.dagster}/asset-groups")
    for stage in STAGES:
        page.get_by_text(f"tiny_{stage}", exact=True).first.wait_for()
    page.goto(f"{pages.dagster}/locations/__repository__@glmhmm/asset-groups/tiny_figures")
    for asset in ("subject_fits", "weights", "psychometrics", "fit_tracking"):
        page.get_by_text(asset, exact=True).first.wait_for()
    assert page.get_by_text("Join the Dagster community").count() == 0


def test_a_fit_has_its_numbers_on_its_page(pages, page):
    page.goto(f"{pages.dagster}/assets/tiny/subject_fits?view=partitions&partition=ann")
    for label in ("fingerprint", "log_likelihood", "heldout_bits_per_trial", "converged"):
        page.get_by_text(label, exact=True).first.wait_for()


def test_the_pages_serve_the_picture_that_an_event_names(pages):
    (event,) = events(pages, "weights")
    shown = {e["label"]: e for e in event["metadataEntries"]}["picture"]["mdStr"]
    address = shown.partition("(")[2].partition(")")[0]
    with urllib.request.urlopen(f"{pages.dagster}{address}", timeout=30) as answer:
        assert answer.headers["content-type"] == "image/png"
        assert answer.read().startswith(b"\x89PNG")


def test_a_figure_opens_on_its_assets_page(pages, page):
    page.goto(f"{pages.dagster}/assets/tiny/weights?view=partitions&partition=ann")
    picture = page.locator("img[alt=weights]").first  # Dagster opens short Markdown by itself
    picture.wait_for()
    assert picture.evaluate("image => image.naturalWidth") > 200


def test_the_links_lead_from_dagster_to_the_mlflow_run_and_back(pages, page):
    page.goto(f"{pages.dagster}/assets/tiny/fit_tracking?view=partitions&partition=ann")
    with page.context.expect_page() as opened:
        page.locator("a[href^='/to/mlflow/'][href*='/runs/']").last.click()
    run = opened.value
    run.set_default_timeout(60_000)
    run.get_by_text("ann K=2").first.wait_for()
    assert run.url.startswith(f"{pages.mlflow}/#/experiments/")
    with page.context.expect_page() as opened:
        run.get_by_role("link", name="what made it").click()
    fit = opened.value
    fit.set_default_timeout(60_000)
    fit.get_by_text("fingerprint", exact=True).first.wait_for()
    assert fit.url.startswith(f"{pages.dagster}/assets/tiny/subject_fits")


def test_the_pages_that_are_told_show_the_study(pages, page):
    told = [word for word in pages.output.read_text().split() if word.startswith("http")]
    assert [address.split("/#")[0] for address in told] == [
        f"{pages.dagster}/asset-groups", pages.mlflow
    ]  # fmt: skip
    page.goto(told[0])
    page.get_by_text("tiny_fits", exact=True).first.wait_for()
    page.goto(told[1])
    page.get_by_text("Model training", exact=True).first.wait_for()
    page.get_by_text("tiny", exact=True).first.wait_for()


def test_logs_of_a_run_come_through_the_websocket(pages, page, run):
    frames = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda f: frames.append(f)))
    page.goto(f"{pages.dagster}/runs/{run['runId']}")
    page.get_by_text("RUN_SUCCESS").first.wait_for()
    assert any("RUN_SUCCESS" in str(frame) for frame in frames)


def test_a_launch_cannot_send_results_elsewhere(pages):
    """The store of the tracking is no configuration: a launch that names another is not obeyed."""
    selector = {"repositoryLocationName": "glmhmm", "repositoryName": "__repository__"}
    asked = {
        "selector": {
            **selector,
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": ["tiny", "fit_tracking"]}],
        },
        "mode": "default",
        "runConfigData": json.dumps(
            {"resources": {"tracker": {"config": {"tracking_uri": "http://127.0.0.1:9"}}}}
        ),
        "executionMetadata": {
            "tags": [
                {"key": f"dagster/asset_partition_range_{end}", "value": "ann"}
                for end in ("start", "end")
            ]
        },
    }
    answer = pages.graphql(LAUNCH, asked=asked)["launchPipelineExecution"]
    launched = answer["run"]["runId"]
    wait_for(lambda: pages.graphql(STATUS, id=launched)["runOrError"]["status"] == "SUCCESS", 300,
             "the run")  # fmt: skip
    (event, _) = events(pages, "fit_tracking")
    assert event["runId"] == launched


def test_mlflow_shows_a_figure_of_the_run(pages, page):
    (best,) = pages.mlflow_runs("tags.num_states = '2' and tags.subject = 'ann'")
    info = best["info"]
    page.goto(
        f"{pages.mlflow}/#/experiments/{info['experiment_id']}/runs/{info['run_id']}"
        "/artifacts/figures/weights.png?workflowType=machine_learning"
    )
    picture = page.locator("img[src*='weights.png'], img[src^='blob:']").first
    picture.wait_for()
    assert picture.evaluate("image => image.naturalWidth") > 200


def test_mlflow_compares_the_models(pages, page):
    runs = pages.mlflow_runs("tags.superseded = 'false' and tags.subject = 'ann'")
    ids = json.dumps([r["info"]["run_id"] for r in runs], separators=(",", ":"))
    experiment = runs[0]["info"]["experiment_id"]
    page.goto(
        f'{pages.mlflow}/#/compare-runs?runs={ids}&experiments=["{experiment}"]'
        "&workflowType=machine_learning"
    )
    page.get_by_text("Comparing 2 Runs").first.wait_for()
    for text in ("ann K=1", "ann K=2", "heldout_bits_per_trial"):
        page.get_by_text(text).first.wait_for()


def test_mlflow_refuses_foreign_names_and_pages(pages):
    for address, headers in (
        ("", {"Host": "attacker.example"}),
        ("/api/2.0/mlflow/experiments/create", {"Origin": "http://127.0.0.1:9"}),
    ):
        request = urllib.request.Request(f"{pages.mlflow}{address}", b"{}", headers)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(request)


def test_mlflows_own_checks_are_on(pages):
    with urllib.request.urlopen(f"{pages.mlflow}/version", timeout=30) as answer:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_cohort_follows_by_itself(pages):
    wait_for(lambda: events(pages, "cohort_tracking"), 200, "the cohort's runs in MLflow")


def test_the_cohort_is_made_in_one_run_that_does_not_fail(pages):
    found = pages.graphql(RUNS, filter={"tags": [{"key": "glmhmm/cohort_of", "value": "tiny"}]})
    (run,) = found["runsOrError"]["results"]
    wait_for(lambda: events(pages, "cohort_comparison"), 60, "the cohort's comparison")
    assert run["status"] in ("STARTED", "SUCCESS")


def test_ctrl_c_ends_everything(pages):
    children = children_of(pages.process.pid)
    assert len(children) == 2
    assert all(len(group_members(child)) >= 2 for child in children)
    began = time.monotonic()
    pages.process.send_signal(signal.SIGINT)
    assert pages.process.wait(60) == 0
    assert time.monotonic() - began < 45
    assert [member for child in children for member in group_members(child)] == []
