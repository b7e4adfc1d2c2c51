"""Tidy tables out of fits, keyed by subject, session, trial, number of states and state."""
