"""The quasi-Newton ascent on functions whose maxima are known."""

import numpy as np

from glmhmm_core.baselines.ascent import ascend


def hills(points):
    """Three lanes: a narrow quadratic, minus Rosenbrock's valley, and a flat end."""
    value, gradient = np.empty(3), np.zeros((3, 2))
    a, b = points[0]
    value[0], gradient[0] = -50 * (a - 1) ** 2 - (b + 2) ** 2 / 2, (-100 * (a - 1), -(b + 2))
    a, b = points[1]
    value[1] = -((1 - a) ** 2) - 100 * (b - a**2) ** 2
    gradient[1] = 2 * (1 - a) + 400 * a * (b - a**2), -200 * (b - a**2)
    a, b = points[2]
    value[2], gradient[2] = -np.exp(a) - b**2, (-np.exp(a), -2 * b)
    return value, gradient


def test_reaches_the_maximum_of_every_lane():
    end = ascend(hills, np.array([[0.0, 0.0], [-1.2, 1.0], [0.0, 1.0]]), 1e-6, 500)
    assert end.converged.all()
    np.testing.assert_allclose(end.point[:2], [[1, -2], [1, 1]], atol=1e-5)
    assert end.point[2, 0] < -13
    np.testing.assert_array_equal(end.value, hills(end.point)[0])


def test_a_lane_does_not_depend_on_the_others():
    start = np.array([[0.0, 0.0], [-1.2, 1.0], [0.0, 1.0]])
    moved = np.array([[0.9, -2.1], [-1.2, 1.0], [3.0, 1.0]])
    one, other = (ascend(hills, s, 1e-6, 500) for s in (start, moved))
    np.testing.assert_array_equal(one.point[1], other.point[1])


def test_says_when_it_did_not_arrive():
    start = np.array([[0.0, 0.0], [-1.2, 1.0], [0.0, 1.0]])
    short = ascend(hills, start, 1e-6, 5)
    assert not short.converged[1]
    assert short.evaluations == 5
    assert (short.value >= hills(start)[0]).all()

    def nowhere(points):
        return np.full(len(points), np.nan), np.zeros_like(points)

    assert not np.isfinite(ascend(nowhere, start, 1e-6, 50).value).any()


def test_never_steps_where_there_is_no_value():
    def edge(points):
        with np.errstate(invalid="ignore", divide="ignore"):
            x = points[:, 0]
            return np.log(x) - x, (1 / x - 1)[:, None]

    end = ascend(edge, np.array([[1e-3], [30.0]]), 1e-8, 200)
    np.testing.assert_allclose(end.point, 1.0, atol=1e-6)
