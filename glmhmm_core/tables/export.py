"""Tables as CSV files for other programs: no text is taken for a formula."""

from pathlib import Path

import polars as pl

#: Text that a spreadsheet would compute, unless it is a number.
_FORMULA = r"^[=+\-@\t\r\n＝＋－＠]"
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


def write_csv(table: pl.DataFrame, path: Path) -> None:
    """Write a table as CSV, with a ``'`` before text that a spreadsheet would take for a formula.

    Names and reasons come from the files of others; see OWASP's page on CSV injection. Numbers
    are written as they are.

    Parameters
    ----------
    table
        Any table.
    path
        The file.
    """
    text = [
        pl.col(name).cast(pl.String)
        for name, kind in table.schema.items()
        if kind in (pl.String, pl.Categorical, pl.Enum)
    ]
    marked = table.with_columns(
        pl.when(_is_formula(one)).then(pl.concat_str(pl.lit("'"), one)).otherwise(one).name.keep()
        for one in text
    )
    heads = pl.DataFrame({"name": table.columns}, {"name": pl.String})
    risky = heads.filter(_is_formula(pl.col("name")))["name"]
    marked.rename({name: f"'{name}" for name in risky}).write_csv(path)


def _is_formula(text: pl.Expr) -> pl.Expr:
    return text.str.contains(_FORMULA) & ~text.str.contains(_NUMBER)
