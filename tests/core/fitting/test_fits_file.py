"""Files of fits: what is read is what was written, and a damaged file says so."""

import io
import json
import pickle
import zipfile
from dataclasses import fields, replace

import numpy as np
import pytest
from core.engine.climbs import DRIVEN, GLM, TWO, trials_of
from core.fitting.fitted import design_of, driven, fit, two

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.errors import InputError
from glmhmm_core.fitting import SubjectFits, load_fits, save_fits, store
from glmhmm_core.fitting.settings import FrozenWeight


def subject_fits(*fits, trials, **changes):
    design = design_of(trials)
    return SubjectFits(
        subject="ann é",
        fingerprint="f" * 64,
        choice_names=design.choice_names,
        keys_session=design.keys["session"].to_numpy().astype(str),
        keys_trial=design.keys["trial"].to_numpy(),
        fits=fits,
        **changes,
    )


@pytest.fixture(scope="module")
def plain():
    """Two numbers of states, folds and a note."""
    trials = trials_of(TWO)
    fits = fit(trials, 1, cv_folds=2), replace(two(), cv_metrics=fit(trials, cv_folds=2).cv_metrics)
    return subject_fits(*fits, trials=trials, notes=("9 states are too many",))


@pytest.fixture(scope="module")
def complex_one():
    """Driven transitions, frozen weights, an infinite scale, and scales by regressor."""
    result = fit(
        trials_of(DRIVEN),
        emission_prior_scale=(np.inf, 2.0),
        frozen_emissions={1: {"stimulus": 0.25}},
        frozen_transitions={0: {"u1": -0.5}},
    )
    frozen = (FrozenWeight(1, "stimulus", 0.25), FrozenWeight(0, "u1", -0.5, of_transition=True))
    settings = replace(result.settings, transition_regressors=("u0", "u1"), frozen=frozen)
    return subject_fits(replace(result, settings=settings), trials=trials_of(DRIVEN))


def assert_equal(a, b, where=""):
    """Deep equality, NaN equal to itself, types and dtypes included."""
    assert type(a) is type(b), where
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype, where
        np.testing.assert_array_equal(a, b, err_msg=where)
    elif hasattr(a, "__dataclass_fields__"):
        for f in fields(a):
            assert_equal(getattr(a, f.name), getattr(b, f.name), f"{where}.{f.name}")
    elif isinstance(a, Parameters | tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{where}[{i}]")
    else:
        assert a == b or (a != a and b != b), where


@pytest.mark.parametrize("which", ["plain", "complex_one"])
def test_what_is_read_is_what_was_written(which, request, tmp_path):
    fits = request.getfixturevalue(which)
    save_fits(tmp_path / "deep" / "ann.npz", fits)
    assert_equal(load_fits(tmp_path / "deep" / "ann.npz"), fits, which)


def test_a_fold_without_choices_survives(plain, tmp_path):
    fold = replace(plain.fits[0].cv_metrics[0], test_log_likelihood_per_trial=float("nan"))
    fits = replace(plain, fits=(replace(plain.fits[0], cv_metrics=(fold,)),))
    save_fits(tmp_path / "ann.npz", fits)
    assert_equal(load_fits(tmp_path / "ann.npz"), fits)


def test_no_file_holds_a_pickle(plain, complex_one, tmp_path):
    for i, fits in enumerate((plain, complex_one)):
        save_fits(tmp_path / f"{i}.npz", fits)
        with np.load(tmp_path / f"{i}.npz", allow_pickle=False) as file:
            assert all(file[name].dtype != object for name in file.files)


def test_a_pickle_is_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return pytest.fail, ("a pickle was opened",)

    np.savez(tmp_path / "trap.npz", meta=np.array([Trap()], dtype=object))
    (tmp_path / "trap.pkl").write_bytes(pickle.dumps(Trap()))
    for name in ("trap.npz", "trap.pkl"):
        with pytest.raises(InputError, match=name):
            load_fits(tmp_path / name)


@pytest.fixture(scope="module")
def whole(plain, tmp_path_factory):
    path = tmp_path_factory.mktemp("fits") / "ann.npz"
    save_fits(path, plain)
    return path.read_bytes()


def refused(path):
    with pytest.raises(InputError) as caught:
        load_fits(path)
    assert str(path) in str(caught.value)
    assert "fit the subject again" in caught.value.remedy


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_file_says_so(whole, share, tmp_path):
    path = tmp_path / "ann.npz"
    path.write_bytes(whole[: int(share * len(whole))])
    refused(path)


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_file_says_so_or_reads_as_before(whole, plain, seed, tmp_path):
    """A flipped byte may stand where nothing is read; it never gives other fits."""
    rng = np.random.default_rng(seed)
    damaged = bytearray(whole)
    for place in rng.integers(0, len(whole), 3):
        damaged[place] ^= 1 << rng.integers(8)
    path = tmp_path / "ann.npz"
    path.write_bytes(bytes(damaged))
    try:
        assert_equal(load_fits(path), plain)
    except InputError:
        refused(path)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 nonsense", b"\x93NUMPY"])
def test_another_file_says_so(content, tmp_path):
    path = tmp_path / "ann.npz"
    path.write_bytes(content)
    refused(path)


def test_files_of_other_arrays_say_so(tmp_path):
    path = tmp_path / "ann.npz"
    with path.open("wb") as file:
        np.save(file, np.ones(3))
    refused(path)
    for meta in ("not json", "[]", "3", "{}", json.dumps({"format": store.FORMAT})):
        np.savez(path, meta=np.array(meta))
        refused(path)
    np.savez(path, other=np.ones(3))
    refused(path)
    refused(tmp_path / "absent.npz")
    refused(tmp_path)


def test_a_file_without_one_of_its_arrays_says_so(whole, tmp_path):
    path = tmp_path / "ann.npz"
    with zipfile.ZipFile(io.BytesIO(whole)) as file:
        names = file.namelist()
        for name in names:
            with zipfile.ZipFile(path, "w") as other:
                for kept in names:
                    if kept != name:
                        other.writestr(kept, file.read(kept))
            if "transition_weights" not in name:
                refused(path)


def test_a_file_of_another_format_says_so(plain, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "FORMAT", store.FORMAT + 1)
    save_fits(tmp_path / "ann.npz", plain)
    monkeypatch.undo()
    refused(tmp_path / "ann.npz")


def test_a_write_that_fails_leaves_what_was_there(plain, whole, tmp_path, monkeypatch):
    path = tmp_path / "ann.npz"
    path.write_bytes(whole)

    def fail(file, **_):
        file.write(b"half of it")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        save_fits(path, plain)
    assert path.read_bytes() == whole
    assert [p.name for p in tmp_path.iterdir()] == ["ann.npz"]


def test_a_driven_fit_of_one_state_survives(tmp_path):
    result = fit(trials_of(GLM), 1)
    fits = subject_fits(result, trials=trials_of(GLM))
    save_fits(tmp_path / "one.npz", fits)
    assert_equal(load_fits(tmp_path / "one.npz")[1], fits[1])
    assert driven().fitted_params.transition_weights.shape == (2, 1, 2)
