"""Speed and memory beside peers, beside a floor and against size, as ratios of one run.

Every program here prints one table: ``python -m benchmarks.floor``, ``.peers``, ``.study``,
``.scaling``, ``.optima`` and ``.gpu``. Nothing in it is imported by the project.
"""
