"""Subjects as partitions: a study's partition set, and the tags that ask one run for many of them.

What belongs here is everything that knows how Dagster names partitions; which subjects to ask for
is decided in ``automation.py``.
"""

from collections.abc import Collection, Sequence

import dagster as dg

from glmhmm_assets.study import Study

#: Tag on every run that automation asks for; its value is the study's name.
STUDY_TAG = "glmhmm/study"


def subjects_of(study: Study) -> dg.DynamicPartitionsDefinition:
    """Partition set of a study: one partition per subject, in the order in which they came."""
    return dg.DynamicPartitionsDefinition(name=study.partitions_name)


def known_subjects(study: Study, instance: dg.DagsterInstance) -> list[str]:
    """Subjects that are partitions by now, in the order that ranges follow."""
    return list(subjects_of(study).get_partition_keys(dynamic_partitions_store=instance))


def range_tags(order: Sequence[str], asked: Collection[str]) -> dict[str, str]:
    """Tags that make one run cover the smallest range of partitions with all of ``asked`` in it.

    Dagster itself would split subjects that do not lie side by side into a run per stretch. The
    subjects between them are recomputed too, which the store of fits makes cheap.

    Parameters
    ----------
    order
        All subjects, in the order of the partition set.
    asked
        Those that the run is for; at least one.
    """
    positions = [order.index(subject) for subject in asked]
    return {
        "dagster/asset_partition_range_start": order[min(positions)],
        "dagster/asset_partition_range_end": order[max(positions)],
    }
