"""The learned population's figure shows the numbers of its table."""

import pytest
from core.plots.cases import learned

from glmhmm_core.plots.hierarchy import population_weights


def test_means_spreads_and_subjects_stand_where_the_table_says():
    figure = population_weights(learned(), 2, "Mice", {"without fits": ["dora"]})
    panels = [ax for ax in figure.axes if ax.get_title(loc="left")]
    assert [ax.get_title(loc="left") for ax in panels] == ["engaged", "disengaged"]
    for rank, ax in enumerate(panels):
        means = [line.get_ydata()[0] for line in ax.lines if line.get_linewidth() == 1.8]
        assert means == [4.0 + rank, -0.5 + rank]
        edges = [c.get_paths()[0].get_extents() for c in ax.collections if len(c.get_paths()) == 1]
        reach = sorted({(round(e.y0, 6), round(e.y1, 6)) for e in edges})
        assert (4.0 + rank - 3.0, 4.0 + rank + 3.0) in reach
        assert (-0.75 + rank, -0.25 + rank) in reach
        shown = [c.lines[0].get_ydata().tolist() for c in ax.containers]
        assert shown == [[3.0 + rank, 5.0 + rank], [0.0 + rank, -1.0 + rank]]
    assert panels[0].get_ylabel() == "Weight: log-odds of\nright over left"
    (legend,) = figure.legends
    note = legend.get_title().get_text().replace("\n", " ")
    assert "+0.0050 bits per trial" in note
    assert "above zero in 1 of 2" in note
    assert "Left out: 1 subject without fits (dora)." in note


def test_another_model_is_refused():
    with pytest.raises(ValueError, match="no model of 3 states"):
        population_weights(learned(), 3, "Mice")
