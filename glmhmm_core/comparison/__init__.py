"""Comparison: scores, parameter counts, information criteria."""
