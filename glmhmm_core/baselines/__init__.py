"""Baselines: what a GLM-HMM must beat. GLM, lapse GLMs, private alternatives, drifting weights.

Letters, beside the house's: P weights of one model, L lapse rates, F splits into training and
test sessions.
"""
