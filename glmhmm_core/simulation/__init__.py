"""Simulated subjects with known truth."""
