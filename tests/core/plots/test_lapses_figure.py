"""Lapse rates: the table is the fits', the figure the table's, and those who never lapse count."""

import numpy as np
import polars as pl
import pytest
from core.plots.crowding import problems

from glmhmm_core.baselines.lapse_glm import fit_lapse_glm
from glmhmm_core.baselines.lapses import lay_out
from glmhmm_core.errors import InputError
from glmhmm_core.plots.lapses import lapse_rates
from glmhmm_core.tables.lapses import LAPSE_SCHEMA, lapse_table, rate_names

SIDES = ("left", "right")


@pytest.mark.parametrize("choices", [SIDES, ("left", "center", "right")])
@pytest.mark.parametrize("kind", ["class_1", "class", "history", "history_conditioned"])
def test_names_stand_in_the_order_of_the_rates(kind, choices):
    labels = lay_out(kind, np.array([0, 1]), len(choices)).labels
    said = {"lapse": "each choice"}
    for c, name in enumerate(choices):
        said |= {f"class_{c}": name, f"repeat_prev_{c}": f"repeat after {name}"}
        said |= {f"alternate_prev_{c}": f"alternate after {name}"}
    assert rate_names(kind, choices) == [said.get(label, label) for label in labels]


def subjects():
    """Two subjects: one lapses to the right, one never."""
    rng, fits = np.random.default_rng(0), {}
    X = np.column_stack([rng.normal(size=400), np.ones(400)])
    for name, rate in (("a_1", 0.2), ("a_2", 0.0)):
        y = np.where(rng.random(400) < rate, 1, rng.random(400) < 1 / (1 + np.exp(-5 * X[:, 0])))
        sessions = np.repeat(np.arange(4), 100)
        fits[name] = fit_lapse_glm(y.astype(int), X, sessions, num_classes=2, n_starts=1)
    return fits


def test_the_table_has_every_rate_of_every_subject():
    fits = subjects()
    table = lapse_table(fits, SIDES)
    assert table.schema == pl.Schema(LAPSE_SCHEMA)
    assert table["name"].to_list() == [*SIDES] * 2
    for (subject,), own in table.group_by("subject"):
        assert own["rate"].to_list() == fits[subject].fitted_params.lapse_rates.tolist()
    assert table.filter(subject="a_1", name="right")["rate"].item() == pytest.approx(0.2, abs=0.06)
    with pytest.raises(InputError, match="subject a_1: a fit of 2 choices"):
        lapse_table(fits, ("left", "center", "right"))


def invented(size, kinds=("class",), choices=SIDES):
    rng, rows = np.random.default_rng(0), []
    for kind in kinds:
        for i in range(size):
            rates = rng.beta(1, 12, len(rate_names(kind, choices))) * (i % 4 != 3)
            rows += [
                (f"mouse_{i}", f"lapse_{kind}", kind, j, name, rates[j], i != 2, None)
                for j, name in enumerate(rate_names(kind, choices))
            ]
    return pl.DataFrame(rows, schema=LAPSE_SCHEMA, orient="row").sample(
        fraction=1, shuffle=True, seed=1
    )


def test_the_figure_shows_all_subjects_and_the_median_of_all():
    table = invented(8)
    figure = lapse_rates(table, "Mice")
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["left", "right"]
    wide = table.pivot(on="name", index="subject", values="rate")
    shown = [line.get_ydata().tolist() for line in ax.lines if line.get_marker() == "o"]
    assert sorted(shown) == sorted(wide.select("left", "right").to_numpy().tolist())
    assert shown.count([0.0, 0.0]) == 2
    medians = [line.get_ydata()[0] for line in ax.lines if line.get_linewidth() == 1.8]
    np.testing.assert_allclose(medians, np.median(wide.select("left", "right"), axis=0))
    note = figure.legends[0].get_title().get_text().replace("\n", " ")
    assert note == "8 subjects, of which 2 never lapse. Not converged: mouse_2."


KINDS = ("class_1", "class", "history", "history_conditioned")
THREE = ("left", "center of the field", "right")


@pytest.mark.parametrize(
    ("size", "kinds", "choices"),
    [(1, KINDS[:1], SIDES), (12, KINDS[1:3], SIDES), (30, KINDS, THREE)],
)
def test_nothing_is_crowded(size, kinds, choices):
    figure = lapse_rates(invented(size, kinds, choices), "Mice of the first cohort")
    assert problems(figure) == []
