"""The campaign with damaged study and task files, in short; in full it is run by hand."""

from campaigns.fuzz_toml_files import campaign


def test_damaged_study_and_task_files_are_read_or_told(tmp_path):
    counts = campaign(inputs=150, seed=3, keep=tmp_path)
    assert set(counts) == {"read", "told"}, counts
    assert sum(counts.values()) == 150
