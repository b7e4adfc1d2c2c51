"""What is wrong with a figure's layout, found by measuring its text where it is drawn."""

from itertools import combinations

from matplotlib.axis import Tick
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


def problems(figure):
    """Sentences about text that is cut off or lies on other text."""
    figure.draw_without_rendering()
    return list(_problems(figure))


def _problems(figure):
    renderer = FigureCanvasAgg(figure).get_renderer()
    page = figure.bbox
    texts = [(text, text.get_window_extent(renderer)) for text in visible_texts(figure)]
    for text, box in texts:
        if box.x0 < page.x0 - 1 or box.x1 > page.x1 + 1:
            yield f"{text.get_text()!r} is cut off at a side"
        if box.y0 < page.y0 - 1 or box.y1 > page.y1 + 1:
            yield f"{text.get_text()!r} is cut off above or below"
    for (one, a), (other, b) in combinations(texts, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        along = min(a.y1, b.y1) - max(a.y0, b.y0)
        if across > 1 and along > 2:
            yield f"{one.get_text()!r} lies on {other.get_text()!r}"


def visible_texts(figure):
    """Every text of a figure that is seen, of ticks those within the limits of their axes."""
    of_ticks = {id(label) for tick in figure.findobj(Tick) for label in (tick.label1, tick.label2)}
    texts = [text for text in figure.findobj(Text) if id(text) not in of_ticks]
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            places = axis.get_majorticklocs()
            for place, tick in zip(places, axis.get_major_ticks(len(places)), strict=True):
                if low <= place <= high:
                    texts += [tick.label1, tick.label2]
    return [
        text
        for text in texts
        if text.get_visible()
        and text.get_text().strip()
        and (text.axes is None or text.axes.axison or text in text.axes.texts)
    ]
