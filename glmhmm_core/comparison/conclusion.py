"""What the held-out scores of a subject's models, or of a cohort's, come to: in words.

Claims are about the GLM-HMM with the best score on interleaved folds; it is held against the GLM,
the best lapse GLM and drifting weights. What transition regressors, sessions of two kinds and
priors learned from all subjects add is said against the plain GLM-HMM of as many states. A
difference within one standard error is none.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from glmhmm_core.comparison.contenders import Contender, bits_per_trial, session_gain

Gain = tuple[float | None, float | None]
WORDS = {
    "interleaved": "On interleaved folds",
    "prospective": "On prospective folds, trained on the past alone,",
}

#: What more than a plain GLM-HMM a model may have, by its name; a plural noun.
MORE = {
    "glmhmm_t": "transition regressors",
    "glmhmm_sessions": "sessions of two kinds",
    "hierarchical": "priors learned from all subjects",
}
#: What else a gain of theirs may come from, by kind of folds and model. Ordinary fits to the past
#: have no population to start from: the one that is there has seen the future.
DOUBT = {
    ("prospective", "hierarchical"): ", which may be in part their start: they begin at the "
    "population's mean, the plain fits only at restarts of their own",
}


def conclude(models: Sequence[Contender]) -> str:
    """What one subject's held-out sessions say; models that did not converge take no part."""
    usable = {(m.model, m.num_states): m for m in models if m.converged}
    scores = {key: bits_per_trial(model.interleaved) for key, model in usable.items()}

    def gain(kind: str, own: tuple[str, int], other: tuple[str, int]) -> Gain:
        return session_gain(getattr(usable[own], kind), getattr(usable[other], kind))

    said = sentences({key: score for key, score in scores.items() if score is not None}, gain)
    out = [m for m in models if not m.converged]
    if out:
        names = ", ".join(_label(m.model, m.num_states) for m in out)
        said.append(f"Left out, not converged: {names}.")
    return " ".join(said)


def sentences(
    scores: Mapping[tuple[str, int], float],
    gain: Callable[[str, tuple[str, int], tuple[str, int]], Gain],
) -> list[str]:
    """One or two sentences per kind of folds.

    Parameters
    ----------
    scores
        Held-out bits per trial on interleaved folds by model and number of states.
    gain
        (kind of folds, model, other model) to the paired gain and its standard error; None
        where it is not known.
    """
    hidden = {key: score for key, score in scores.items() if key[0].startswith("glmhmm")}
    if not hidden:
        return ["There is no held-out score of a model with states."]
    best = max(hidden, key=lambda key: hidden[key])
    lapses = {key: score for key, score in scores.items() if key[0].startswith("lapse")}
    rivals = [("glm", 1)] if ("glm", 1) in scores else []
    rivals += [max(lapses, key=lambda key: lapses[key])] if lapses else []
    rivals += [("drifting_weights", 1)] if ("drifting_weights", 1) in scores else []
    said = []
    for kind, words in WORDS.items():
        parts = []
        for rival in rivals:
            value, error = gain(kind, best, rival)
            if value is not None:
                parts.append(verdict(value, error, _label(*rival)))
        if parts:
            said.append(f"{words} {_label(*best)} {'; '.join(parts)}.")
        more = _additions(kind, scores, partial(gain, kind))
        if more:
            said.append(f"{words.rstrip(',')}, {'; '.join(more)}.")
    return said or ["There is no other model to compare with."]


def _additions(
    kind: str,
    scores: Mapping[tuple[str, int], float],
    gain: Callable[[tuple[str, int], tuple[str, int]], Gain],
) -> list[str]:
    """What each addition gains over the plain model of as many states, at the best number."""
    said = []
    for model, addition in MORE.items():
        plain = {k: ("glmhmm" if k > 1 else "glm", k) for name, k in scores if name == model}
        both = [k for k, other in plain.items() if other in scores]
        if not both:
            continue
        best = max(both, key=lambda k: scores[model, k])
        value, error = gain((model, best), plain[best])
        if value is not None:
            # One state has one optimum, wherever a fit begins.
            doubt = DOUBT.get((kind, model), "") if best > 1 and value > 0 else ""
            said.append(f"{addition} {verdict(value, error, f'the plain {_plain(best)}')}{doubt}")
    return said


def _plain(num_states: int) -> str:
    return "GLM" if num_states == 1 else f"{num_states} states"


def verdict(gain: float, error: float | None, other: str) -> str:
    """A gain in bits per trial over another model, as the rest of a sentence about states."""
    size = f"{abs(gain):.4f} bits per trial"
    if error is None or math.isnan(error):
        return f"{'gain' if gain > 0 else 'lose'} {size} against {other} (error unknown)"
    if abs(gain) <= error:
        return f"cannot be told from {other} ({gain:+.4f}, SE {error:.4f})"
    return f"{'beat' if gain > 0 else 'lose to'} {other} by {size} (SE {error:.4f})"


def _label(model: str, num_states: int) -> str:
    if model.startswith("glmhmm") or model in MORE:
        more = f" with {MORE[model]}" if model in MORE else ""
        return f"{num_states} state{'s'[: num_states > 1]}{more}"
    names = {"glm": "the GLM", "drifting_weights": "drifting weights"}
    return names.get(model, f"the best lapse GLM ({model.removeprefix('lapse_')})")
