"""Tasks: what an experiment is, read from TOML; the built-in ones lie beside this file."""
