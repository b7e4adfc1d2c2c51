"""An extended Kalman filter and smoother for softmax choices, a trial at a time, in NumPy."""

import numpy as np


def filter_and_smooth(y, X, session_ids, steps, session_steps, scale, num_classes, baseline=0):
    """Log-likelihood, P(class) before each trial (T, C), smoothed means and SDs (T, C-1, M)."""
    rows, M = num_classes - 1, X.shape[1]
    rest = [c for c in range(num_classes) if c != baseline]
    mean, cov = np.zeros(rows * M), np.diag(np.tile(scale**2, rows))
    probs, means, covs, predicted = [], [], [], []
    ll = 0.0
    for t, (choice, x) in enumerate(zip(y, X, strict=True)):
        if t > 0:
            new = session_ids[t] != session_ids[t - 1]
            cov = cov + np.diag(np.tile((session_steps if new else steps) ** 2, rows))
        predicted.append((mean, cov))
        # Logits softened by their variance.
        variance = [x @ cov[r * M : (r + 1) * M, r * M : (r + 1) * M] @ x for r in range(rows)]
        logits = mean.reshape(rows, M) @ x / np.sqrt(1 + np.pi / 8 * np.array(variance))
        odds = np.exp(np.insert(logits, baseline, 0.0))
        p = odds / odds.sum()
        probs.append(p)
        if choice >= 0:
            ll += np.log(p[choice])
            q = p[rest]
            noise = np.diag(q) - np.outer(q, q)
            slope = np.kron(noise, x)  # (C-1, (C-1) M)
            spread = slope @ cov @ slope.T + noise
            gain = cov @ slope.T @ np.linalg.inv(spread)
            mean = mean + gain @ ((np.arange(num_classes) == choice)[rest] - q)
            cov = cov - gain @ spread @ gain.T
        means.append(mean)
        covs.append(cov)
    smoothed = [(mean, cov)]
    for t in range(len(y) - 2, -1, -1):
        back = covs[t] @ np.linalg.inv(predicted[t + 1][1])
        later = smoothed[-1]
        smoothed.append(
            (
                means[t] + back @ (later[0] - predicted[t + 1][0]),
                covs[t] + back @ (later[1] - predicted[t + 1][1]) @ back.T,
            )
        )
    smoothed.reverse()
    shape = (len(y), rows, M)
    sds = np.sqrt([np.diag(c) for _, c in smoothed]).reshape(shape)
    return ll, np.array(probs), np.array([m for m, _ in smoothed]).reshape(shape), sds
