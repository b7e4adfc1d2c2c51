"""What MLflow is told of one model, as a plain value; how it is written is in ``model_store``.

Whatever is fitted or judged becomes one of these: a GLM-HMM (``model_run``), or what the cohort
decided (``cohort_run``). Nothing here imports MLflow or opens a store.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

#: What a metric's name may not have in MLflow.
_REFUSED = re.compile(r"[^/\w.\- ]")


@dataclass(frozen=True)
class Findings:
    """What was made of a model after it was fitted; it may change while the fit stays.

    Attributes
    ----------
    metrics
        Numbers by name.
    tables
        Tables by name; the run has them as CSV.
    figures
        Picture files.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    figures: Sequence[Path] = ()

    def digest(self) -> str:
        """SHA-256 of all of it, by which a run knows whether it has these already."""
        said = [
            sorted(self.metrics.items()),
            [(name, self.tables[name].write_csv()) for name in sorted(self.tables)],
            [(f.name, hashlib.sha256(f.read_bytes()).hexdigest()) for f in self.figures],
        ]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


@dataclass(frozen=True)
class LoggedModel:
    """One model of one subject as its run says it.

    Subject, model, number of states and fingerprint make a run: a finished one with the same is
    taken as it is, and only its findings are brought up to date.

    Attributes
    ----------
    subject
        Whose model it is; "cohort" of all subjects together.
    model
        Which kind: "glm", "glmhmm", "lapse_class" ...
    num_states
        1 of models without states.
    fingerprint
        Hash of data, settings and sources that made the model.
    about
        What it is, as the opening of the run's description (Markdown).
    asset
        Asset of the graph that made it, for the link back.
    params
        What was decided before the fit.
    metrics
        Where it ended; see :func:`known`.
    tags
        Further tags to find it by.
    status
        Tags that may change while the fit stays.
    traces
        Metrics that have a value at every step, by name.
    files
        What writes each of its files, by name.
    findings
        What was made of it.
    of_all
        Whether that asset is over all subjects, without partitions.
    """

    subject: str
    model: str
    num_states: int
    fingerprint: str
    about: str
    asset: str
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    status: Mapping[str, str] = field(default_factory=dict)
    traces: Mapping[str, Sequence[float]] = field(default_factory=dict)
    files: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)
    of_all: bool = False

    @property
    def key(self) -> tuple[str, int]:
        """Which of the subject's models it is."""
        return self.model, self.num_states

    @property
    def name(self) -> str:
        """Name of the run: "ann K=3" of a GLM-HMM, "ann lapse_class" of another model."""
        kind = [] if self.model in ("glm", "glmhmm") else [self.model]
        states = [f"K={self.num_states}"] if self.num_states > 1 or not kind else []
        return " ".join([self.subject, *kind, *states])


def known(values: Mapping[str, float | None]) -> dict[str, float]:
    """Metrics out of values by name: what is not known has none, and names are MLflow's."""
    return {
        _REFUSED.sub("_", name): float(value)
        for name, value in values.items()
        if value is not None and not math.isnan(value)
    }
