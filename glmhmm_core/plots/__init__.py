"""Figures out of tables: one file per family, matplotlib figures without pyplot, no computing."""
