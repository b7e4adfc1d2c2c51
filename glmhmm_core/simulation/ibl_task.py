"""The visual decision task of the International Brain Laboratory: stimuli, blocks and times.

A session begins with 90 unbiased trials; then blocks in which 20 % or 80 % of the stimuli are
on the left take turns. Contrasts are drawn alike in every block.
"""

from dataclasses import dataclass

import numpy as np

#: Trials at the start of a session with a left stimulus as often as a right one.
UNBIASED_TRIALS = 90
#: Trials of a block: exponential of mean 60 cut to this range (IBL 2021, eLife 10:e63711).
BLOCK_TRIALS, BLOCK_MEAN = (20, 100), 60.0
#: A session of at least this many trials holds all three blocks.
MIN_TRIALS = UNBIASED_TRIALS + BLOCK_TRIALS[1] + 1
#: Contrasts, and how often each is shown: .159 at zero and the rest in four equal parts, as in
#: the 181,530 trials of Ashwood et al. (2022) without their five mice with other contrasts.
CONTRASTS = np.array([0.0, 0.0625, 0.125, 0.25, 1.0])
CONTRAST_PROBS = np.array([0.159, *[0.841 / 4] * 4])
#: Seconds after which a trial without a choice ends.
NO_GO_SECONDS = 60.0
#: Response times by state (engaged, biased left, biased right), lognormal: median in seconds
#: and standard deviation of the logarithm. No fitted values are published; the shape is this
#: project's own, quick and regular when engaged, slower and with a heavier tail when not.
RESPONSE_MEDIAN = np.array([0.35, 0.50, 0.50])
RESPONSE_LOG_SD = np.array([0.45, 0.90, 0.90])


@dataclass(frozen=True)
class Stimuli:
    """What a session shows, one entry per trial.

    Attributes
    ----------
    probability_left : float64 (T,)
        Block: .5, .2 or .8.
    contrast : float64 (T,)
        Contrast of the stimulus, 0..1.
    right : bool (T,)
        Whether the stimulus is on the right; decides the reward where the contrast is 0 too.
    """

    probability_left: np.ndarray
    contrast: np.ndarray
    right: np.ndarray

    @property
    def signed_contrast(self) -> np.ndarray:
        """Contrast, negative on the left, shape (T,)."""
        return np.where(self.right, self.contrast, -self.contrast)


def draw_stimuli(
    num_trials: int, block_rng: np.random.Generator, stimulus_rng: np.random.Generator
) -> Stimuli:
    """Draw a session's stimuli; a longer session begins with the trials of a shorter one."""
    probability_left = [0.5] * UNBIASED_TRIALS
    block = block_rng.choice([0.2, 0.8])
    while len(probability_left) < num_trials:
        probability_left += [block] * _block_length(block_rng)
        block = 1 - block
    left = np.round(probability_left[:num_trials], 1)
    u = stimulus_rng.random((num_trials, 2))
    contrast = CONTRASTS[np.searchsorted(np.cumsum(CONTRAST_PROBS)[:-1], u[:, 0], side="right")]
    return Stimuli(probability_left=left, contrast=contrast, right=u[:, 1] >= left)


def _block_length(rng: np.random.Generator) -> int:
    shortest, longest = BLOCK_TRIALS
    while not shortest <= (length := int(rng.exponential(BLOCK_MEAN))) <= longest:
        pass
    return length


def draw_times(
    states: np.ndarray, made: np.ndarray, correct: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw when stimuli appear and responses come, in seconds from the session's start.

    Parameters
    ----------
    states : int (T,)
        State on each trial.
    made, correct : bool (T,)
        Whether a choice was made, and whether it was rewarded.
    rng
        Source of the random numbers.

    Returns
    -------
    onset, response : float64 (T,)
        Times of the stimulus and of the response. The next stimulus comes 2 s after a reward
        and 3 s after an error.
    """
    seconds = RESPONSE_MEDIAN[states] * np.exp(
        RESPONSE_LOG_SD[states] * rng.standard_normal(len(states))
    )
    seconds = np.where(made, np.minimum(seconds, NO_GO_SECONDS), NO_GO_SECONDS)
    whole = seconds + np.where(correct, 2.0, 3.0)
    onset = np.cumsum(whole) - whole + 1.0
    return onset, onset + seconds
