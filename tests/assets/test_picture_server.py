"""The layer that serves pictures: these alone, and nothing outside of their folders."""

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from glmhmm_assets.picture_server import PictureServer, picture_file

PNG = b"\x89PNG a picture"


@pytest.fixture
def storage(tmp_path):
    for folder in ("mice/figures/m 1", "mice/cohort/figures/mice", "mice/subject_fits"):
        (tmp_path / "storage" / folder).mkdir(parents=True)
        (tmp_path / "storage" / folder / "weights.png").write_bytes(PNG)
    (tmp_path / "storage/mice/figures/m 1/notes.txt").write_text("private")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "storage/mice/figures/m 1/out.png").symlink_to(tmp_path / "secret.png")
    return tmp_path / "storage"


@pytest.fixture
def client(storage):
    return TestClient(PictureServer(PlainTextResponse("Dagster's own"), storage))


@pytest.mark.parametrize(
    "address", ["mice/figures/m%201/weights.png", "mice/cohort/figures/mice/weights.png"]
)
def test_a_picture_is_served_and_asked_for_again_each_time(client, address):
    answer = client.get(f"/pictures/{address}")
    assert (answer.status_code, answer.content) == (200, PNG)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "no-cache"


def test_everything_else_is_passed_on(client):
    assert client.get("/assets/mice").text == "Dagster's own"


def test_pictures_can_only_be_read(client):
    assert client.post("/pictures/mice/figures/m%201/weights.png").status_code == 405


@pytest.mark.parametrize(
    "address",
    [
        "mice/figures/m 1/absent.png",
        "mice/figures/m 1/notes.txt",
        "mice/figures/m 1/out.png",
        "mice/subject_fits/weights.png",
        "mice/x/subject_fits/weights.png",
        "mice/figures/../../../secret.png",
        "mice/figures/../secret.png",
        "/mice/figures/m 1/weights.png",
        "mice/figures/m 1/",
        "mice/figures//weights.png",
        "mice/figures/..\\..\\secret/a.png",
        "mice/figures/m 1/weights.png\0",
        "mice/figures/" + "x" * 5000 + "/weights.png",
    ],
)
def test_no_address_leads_anywhere_else(storage, address):
    assert picture_file(storage, address) is None


def test_an_address_that_climbs_is_answered_with_404(client):
    assert client.get("/pictures/mice/figures/%2e%2e/%2e%2e/%2e%2e/secret.png").status_code == 404
