"""Which of a subject's fits stand: the newest, or earlier ones while the newest are held.

What belongs here is the bookkeeping; whether a refit may stand is decided by
``comparison.succession`` in the core. What was decided is in the log of refits, the fits
themselves in the store of fits.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from glmhmm_assets.defs.checks import shown_fit
from glmhmm_assets.resources.fit_store import FitStore
from glmhmm_assets.resources.refit_log import RefitLog
from glmhmm_assets.study import Study

if TYPE_CHECKING:
    from glmhmm_core.design.design import Design
    from glmhmm_core.fitting.result import SubjectFits


@dataclass(frozen=True)
class Standing:
    """A subject's fits after a run.

    Attributes
    ----------
    fits
        Those that stand: what tables and figures are of.
    champion
        Whether they were promoted. They were not where the newest are held and none before
        them is of the data as they are.
    newest, promotion
        The fits of the data as they are, and what became of them.
    """

    fits: "SubjectFits"
    champion: bool
    newest: "SubjectFits"
    promotion: str

    @property
    def held(self) -> bool:
        """Whether the newest fits are held for review."""
        return not self.promotion.startswith("promoted")


def fit_store(study: Study) -> FitStore:
    """Give the study's store of subjects' fits."""
    return FitStore(study.storage / "fits")


def refit_log(study: Study) -> RefitLog:
    """Give the study's log of refits."""
    return RefitLog(study.storage / "refits")


def champion_of(study: Study, subject: str, design: "Design") -> "SubjectFits | None":
    """Give the fits that were promoted last, if they are of the design's model."""
    from glmhmm_core.comparison.succession import is_of_same_model

    pointer = refit_log(study).champion(subject)
    champion = fit_store(study).find(subject, pointer[1]) if pointer else None
    same = champion is not None and is_of_same_model(champion, design, study.fit_settings())
    return champion if same else None


def settle(
    study: Study, design: "Design", newest: "SubjectFits", inputs: str, *, by_hand: bool
) -> Standing:
    """Decide which of a subject's fits stand, and write it down.

    Parameters
    ----------
    design
        The data as they are.
    newest, inputs
        The fits of them, and what these are kept under.
    by_hand
        Whether a person promotes them, whatever the rule says. Only fits that were held before
        can be: nobody has looked at others.
    """
    from glmhmm_core.comparison.succession import still_holds
    from glmhmm_core.tables.refits import refit_table

    subject = newest.subject
    before = champion_of(study, subject, design)  # before the log says anything of the newest
    promotion = _decide(study, newest, by_hand)
    refit_log(study).add(refit_table(newest, inputs, promotion, datetime.now(UTC)))
    if promotion.startswith("promoted"):
        return Standing(newest, True, newest, promotion)
    if before is not None and still_holds(before, design):
        return Standing(before, True, newest, promotion)
    return Standing(newest, False, newest, promotion)


def held_fits(study: Study, standing: "SubjectFits") -> "SubjectFits | None":
    """Give the subject's newest fits, if others stand and they are held for review."""
    newest = refit_log(study).newest(standing.subject)
    if newest is None or newest[0] == standing.fingerprint:
        return None
    return fit_store(study).find(standing.subject, newest[1])


def status_of(study: Study, fits: "SubjectFits") -> dict[str, str]:
    """Say of a subject's fits whether they are its champion, and what became of them."""
    log = refit_log(study)
    champion = log.champion(fits.subject)
    promotion = log.promotion_of(fits.subject, fits.fingerprint)
    is_it = champion is not None and champion[0] == fits.fingerprint
    return {"champion": str(is_it).lower(), "promotion": promotion or "none"}


def _decide(study: Study, newest: "SubjectFits", by_hand: bool) -> str:
    """What becomes of the newest fits; those that were promoted once, and come back, are again."""
    from glmhmm_core.comparison.succession import reason_to_hold
    from glmhmm_core.tables.refits import BY_HAND, HELD, PROMOTED

    before = refit_log(study).promotion_of(newest.subject, newest.fingerprint)
    if before is not None and (by_hand or before.startswith(PROMOTED)):
        return before if before.startswith(PROMOTED) else BY_HAND
    reason = reason_to_hold(shown_fit(study, newest))
    return PROMOTED if reason is None else HELD + reason
