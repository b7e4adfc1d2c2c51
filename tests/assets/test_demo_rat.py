"""The demo's rat: only arrays come out of its file, and they are the rat's."""

import collections
import hashlib
import io
import pickle
import zipfile

import numpy as np
import pytest

from glmhmm_assets.demo_rat import SUBJECT, ArrayUnpickler, read_numpy_pickle, write_rat
from glmhmm_core.errors import InputError
from glmhmm_core.tasks.load import load_task
from glmhmm_core.trials.cleaning import clean
from glmhmm_core.trials.readers import read_subject


def _npz(tmp_path, value):
    """A file like psytrack's: an object array of one dictionary."""
    member = io.BytesIO()
    np.lib.format.write_array(member, np.array(value, dtype=object), allow_pickle=True)
    path = tmp_path / "some.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("D.npy", member.getvalue())
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def test_arrays_of_every_kind_come_back(tmp_path):
    value = {
        "f": np.linspace(0, 1, 5),
        "i": np.arange(6).reshape(2, 3),
        "F": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "b": np.array([True, False]),
        "u": np.array(["a", "bc"]),
        "deep": {"x": np.array([], dtype=np.int8)},
        "text": "plain",
    }
    path, digest = _npz(tmp_path, value)
    back = read_numpy_pickle(path, digest)
    for name in "fiFbu":
        np.testing.assert_array_equal(back[name], value[name], strict=True)
    assert back["deep"]["x"].dtype == np.int8
    assert back["text"] == "plain"


@pytest.mark.parametrize(
    "value",
    [print, collections.OrderedDict(a=1), np.float64(1.0), np.recarray(1, dtype=[("a", float)])],
)
def test_anything_else_is_refused(tmp_path, value):
    path, digest = _npz(tmp_path, {"x": value})
    with pytest.raises(pickle.UnpicklingError, match=r"not (part of )?an array"):
        read_numpy_pickle(path, digest)


class _Codec:
    def __init__(self, codec):
        self.codec = codec

    def __reduce__(self):
        import _codecs

        return _codecs.encode, ("uryyb", self.codec)


def test_bytes_come_through_latin1_alone():
    assert ArrayUnpickler(io.BytesIO(pickle.dumps(_Codec("latin1")))).load() == b"uryyb"
    with pytest.raises(pickle.UnpicklingError, match="rot13"):
        ArrayUnpickler(io.BytesIO(pickle.dumps(_Codec("rot13")))).load()


def test_another_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "sampleRatData.npz"
    path.write_bytes(b"not even a zip")
    with pytest.raises(InputError, match=r"sampleRatData.npz: its SHA-256 is .* Install psytrack"):
        read_numpy_pickle(path)


def test_the_rat_is_written_whole(tmp_path):
    pytest.importorskip("psytrack", reason="the demo extra is not installed")
    trials = write_rat(tmp_path / "rat" / "rat.csv")
    assert trials.height == 20_000
    sessions = trials["session"].unique(maintain_order=True)
    assert sessions.len() == 80
    assert sessions.is_sorted()  # tables keep the order of first appearance: days in order
    # Counts of psytrack's own arrays: 10,635 answers of 2; 12,890 correct.
    assert trials["choice"].sum() == 10_635
    assert trials["feedback"].sum() == 12_890
    right = (trials["stimulus"] > 0).cast(int)
    assert ((right == trials["choice"]).cast(int) == trials["feedback"]).all()
    assert [p.name for p in (tmp_path / "rat").iterdir()] == ["rat.csv"]


def test_nothing_looks_wrong_with_the_rat(tmp_path):
    pytest.importorskip("psytrack")
    write_rat(tmp_path / "rat.csv")
    task = load_task("two_afc")
    trials, _ = read_subject(tmp_path / "rat.csv", "csv", task, SUBJECT)
    assert not clean(trials, task)[1]["warning"].any()


def test_a_missing_package_is_told_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"psytrack, which is not installed\. Run `make setup`"):
        write_rat(tmp_path / "rat.csv")
