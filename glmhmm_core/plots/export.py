"""Figures as PNG files, whole or absent, that say what they were drawn from."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, PngImagePlugin

from glmhmm_core.whole_file import beside

_SOURCE = "Source"
#: The chunk that every PNG file ends with.
_END = bytes.fromhex("0000000049454e44ae426082")
#: zlib's level: the next ones take twice as long for files that are a tenth smaller.
_COMPRESSION = 4


def save_png(figure: Figure, path: Path, dpi: int = 150, source: str = "") -> Path:
    """Write the figure as a PNG file, whole or not at all.

    Parameters
    ----------
    figure
        Any figure.
    path
        Where to; its folder is made.
    dpi
        Dots per inch.
    source
        What it is drawn from, in one word (a digest); ``source_of`` reads it.
    """
    said = PngImagePlugin.PngInfo()
    said.add_text(_SOURCE, source)
    picture = _drawn(figure, dpi)
    with beside(path) as place, place.open("wb") as file:
        picture.save(file, "png", compress_level=_COMPRESSION, dpi=(dpi, dpi), pnginfo=said)
    return path


def source_of(path: Path) -> str | None:
    """Source that a PNG file names; None if it names none, or there is no whole file."""
    try:
        with path.open("rb") as file:
            file.seek(-len(_END), os.SEEK_END)
            if file.read() != _END:
                return None
            file.seek(0)
            with Image.open(file, formats=["png"]) as picture:
                found = picture.info.get(_SOURCE)
    except Exception:  # absent, or damaged, which Pillow tells by almost any error
        return None
    return str(found) if found else None


def _drawn(figure: Figure, dpi: int) -> Image.Image:
    """The figure's pixels.

    ``Figure.savefig`` draws it twice, once in vain for its layout, which needs no drawing.
    """
    with _laid_out(figure, dpi) as canvas:
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


@contextlib.contextmanager
def _laid_out(figure: Figure, dpi: int) -> Iterator[FigureCanvasAgg]:
    """The figure's canvas, with everything in its place; the figure is left as it was."""
    dpi_before, engine = figure.dpi, figure.get_layout_engine()
    canvas_before = figure.canvas
    try:
        figure.set_dpi(dpi)
        canvas = FigureCanvasAgg(figure)
        if engine is not None:
            engine.execute(figure)
            figure.set_layout_engine("none")
        yield canvas
    finally:
        figure.set_layout_engine(engine)
        figure.set_dpi(dpi_before)
        figure.set_canvas(canvas_before)
