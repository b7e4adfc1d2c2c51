"""Starting points: keyed by what they are for, inside the model, and far enough apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmhmm_core.fitting.starts import generator, starting_point, units

GLM = np.array([[2.0, -0.3, 0.4]])


def start(seed=0, subject="ann", K=3, restart=0):
    return starting_point(GLM, np.ones(3), K, restart, generator(seed, subject, K, restart))


@given(
    seed=st.integers(0, 2**40),
    subject=st.text(max_size=8),
    K=st.integers(2, 7),
    restart=st.integers(0, 50),
)
def test_a_start_is_a_model_that_can_move_everywhere(seed, subject, K, restart):
    params = start(seed, subject, K, restart)
    np.testing.assert_allclose(params.initial_probs.sum(), 1.0)
    np.testing.assert_allclose(params.transition_matrix.sum(1), 1.0)
    assert params.initial_probs.min() > 0
    assert params.transition_matrix.min() > 0
    assert params.transition_matrix.shape == (K, K)
    assert params.emission_weights.shape == (K, 1, 3)
    assert np.all(np.diag(params.transition_matrix) > 0.5)
    again = start(seed, subject, K, restart)
    np.testing.assert_array_equal(again.emission_weights, params.emission_weights)


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"subject": "bob"}, {"restart": 1}, {"restart": 4}, {"restart": 20}]
)
def test_every_key_makes_another_start(other):
    assert np.all(start(**other).emission_weights != start().emission_weights)


def test_random_numbers_are_those_of_their_key_in_every_process():
    """Python's own hash of a name is another one each time Python starts."""
    keys = [
        (0, "ann", 3, 0),
        (1, "ann", 3, 0),
        (0, "bob", 3, 0),
        (0, "ann", 2, 0),
        (0, "ann", 3, 1),
    ]
    drawn = [int(generator(*key).integers(2**31)) for key in keys]
    assert drawn == [310031092, 1371933316, 950704572, 1574981246, 2137728824]


def test_states_of_a_start_differ():
    for restart in range(20):
        weights = start(restart=restart).emission_weights[:, 0]
        gaps = [np.linalg.norm(weights[i] - weights[j]) for i in range(3) for j in range(i)]
        assert min(gaps) > 0.05


def test_starts_lie_around_the_glm():
    weights = np.stack([start(restart=r).emission_weights[:, 0] for r in range(200)])
    np.testing.assert_allclose(weights.mean((0, 1)), GLM[0], atol=0.15)


def test_units_are_powers_of_ten_and_ordinary_regressors_have_none():
    rng = np.random.default_rng(0)
    columns = [rng.normal(size=400), np.ones(400), (np.arange(400) % 50 == 0) * 1.0]
    X = np.stack([*columns, 1e8 * columns[0], 1e-8 * columns[0], np.zeros(400)])
    counted = (rng.random(400) < 0.9).astype(float)
    expected = [1, 1, 1, 1e8, 1e-8, 1]
    found = units(X[None, :, None], counted[None, None])
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    # What stands where no choice counts says nothing, and lanes may be cut into blocks.
    X[:, counted == 0] = 1e30
    blocks = X.reshape(6, 1, 4, 100).transpose(2, 0, 1, 3)
    np.testing.assert_allclose(units(blocks, counted.reshape(4, 1, 100)), expected, rtol=1e-12)
