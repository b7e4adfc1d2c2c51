"""Figures as PNG: whole files for people, small pictures for the pages of a pipeline."""

import io
import os
import tempfile
import warnings
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from glmhmm_core.plots.style import SMALL_PAPER

#: Sizes relative to the figure's own at which a small picture is drawn: smaller paper at the
#: same type size keeps the type legible; the larger ones are for figures that need the room.
_PAPER = (SMALL_PAPER, 0.85, 1.0)
_COLORS = (128, 64, 32, 16)


def save_png(figure: Figure, path: Path, dpi: int = 150) -> Path:
    """Write the figure as a PNG file, whole or not at all.

    Parameters
    ----------
    figure
        Any figure.
    path
        Where to; its folder is made.
    dpi
        Dots per inch.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            figure.savefig(file, format="png", dpi=dpi)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


def thumbnail(figure: Figure, width: int = 400, max_bytes: int = 30_000) -> bytes:
    """The figure as a small PNG that can still be read.

    Drawn anew on smaller paper with the type at its size, not shrunk; colors are reduced until
    it fits into ``max_bytes``. The figure itself is left as it was.

    Parameters
    ----------
    figure
        Any figure.
    width
        Width in pixels.
    max_bytes
        Largest size of the file.
    """
    picture = _on_small_paper(figure, width)
    while True:
        for colors in _COLORS:
            out = io.BytesIO()
            picture.quantize(colors, dither=Image.Dither.NONE).save(out, "png", optimize=True)
            if out.tell() <= max_bytes:
                return out.getvalue()
        picture = picture.resize((picture.width * 3 // 4, picture.height * 3 // 4))


def _on_small_paper(figure: Figure, width: int) -> Image.Image:
    width_inches, height_inches = (float(side) for side in figure.get_size_inches())
    try:
        for scale in _PAPER:
            buffer = io.BytesIO()
            figure.set_size_inches(width_inches * scale, height_inches * scale)
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                figure.savefig(buffer, format="png", dpi=width / (width_inches * scale))
            if not any("constrained_layout not applied" in str(one.message) for one in told):
                break
    finally:
        figure.set_size_inches(width_inches, height_inches)
    return Image.open(buffer).convert("RGB")
