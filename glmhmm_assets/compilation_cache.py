"""Where JAX keeps the programs that it compiled, so that the next run finds them."""

import os
from pathlib import Path

from glmhmm_assets.study import Study


def use_compilation_cache(study: Study) -> None:
    """Let JAX find the programs that earlier runs compiled, unless the environment says where.

    A folder there that cannot be written is not used: JAX would warn at every program.
    """
    import jax

    folder = "jax_compilation_cache_dir"
    named = getattr(jax.config, folder)
    if not named or not _writable(Path(named)):
        jax.config.update(folder, str(study.home / "cache" / "jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)
