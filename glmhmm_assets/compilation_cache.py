"""Where JAX keeps the programs that it compiled, so that the next run finds them."""

from glmhmm_assets.study import Study


def use_compilation_cache(study: Study) -> None:
    """Let JAX find the programs that earlier runs compiled, unless the environment says where."""
    import jax

    folder = "jax_compilation_cache_dir"
    if not getattr(jax.config, folder):
        jax.config.update(folder, str(study.home / "cache" / "jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
