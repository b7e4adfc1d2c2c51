"""The one error of the core: input that cannot be used, with its place and its remedy."""


class InputError(ValueError):
    """Something that was given cannot be used.

    Parameters
    ----------
    problem
        What is wrong, as one sentence without its full stop.
    where
        File, row, subject, session, option or argument it was found in.
    remedy
        What the reader can do about it, as one sentence.

    Examples
    --------
    >>> print(InputError("no column 'choice'", where="a.csv", remedy="Add it."))
    a.csv: no column 'choice'. Add it.
    """

    def __init__(self, problem: str, *, where: str, remedy: str) -> None:
        super().__init__(f"{where}: {problem}. {remedy}")
        self.problem, self.where, self.remedy = problem, where, remedy
