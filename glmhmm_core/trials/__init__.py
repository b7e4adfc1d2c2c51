"""Trials: session files into one canonical table, cleaned, with a report of what was dropped."""
