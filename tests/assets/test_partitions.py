"""Ranges of partitions: one run covers what is asked for, as tightly as a range can."""

import dagster as dg
from hypothesis import given
from hypothesis import strategies as st

from glmhmm_assets.partitions import range_tags

START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@given(st.lists(st.text(min_size=1), min_size=1, unique=True), st.data())
def test_the_range_is_the_smallest_with_all_asked(order, data):
    asked = data.draw(st.lists(st.sampled_from(order), min_size=1, unique=True))
    tags = range_tags(order, asked)
    first, last = order.index(tags[START]), order.index(tags[END])
    assert set(asked) <= set(order[first : last + 1])
    assert order[first] in asked
    assert order[last] in asked


def test_dagster_makes_one_run_of_it_in_definition_order():
    """Guard the tags' names, which are no part of Dagster's typed interface."""
    subjects = dg.DynamicPartitionsDefinition(name="s")
    seen = []

    @dg.asset(partitions_def=subjects)
    def one(context: dg.AssetExecutionContext) -> None:
        seen.append(context.partition_keys)

    order = ["mouse 2", "ünï-ß", "c.d", "a_1"]
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("s", order)
        tags = range_tags(order, ["c.d", "mouse 2"])
        assert dg.materialize([one], instance=instance, tags=tags).success
    assert seen == [["mouse 2", "ünï-ß", "c.d"]]
