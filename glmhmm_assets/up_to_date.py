"""Subjects that are up to date: Dagster's record and the storage, compared with files and code now.

A night in which nothing changed therefore starts no run. Even a run that finds everything done
would record an event for every subject and asset, twice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import dagster as dg

from glmhmm_assets.io_managers import UNNAMED, build_io_managers, stem_of
from glmhmm_assets.partitions import known_subjects
from glmhmm_assets.per_subject import code_version
from glmhmm_assets.study import Study

if TYPE_CHECKING:
    from glmhmm_core.trials.scan import Scan

_MADE = dg.DagsterEventType.ASSET_MATERIALIZATION
_DATA = "dagster/data_version"
#: Stands for the subject where an asset is over all of them; no subject has this name.
_ALL = ""


def marks(study: Study) -> dict[str, str]:
    """Digests of settings and code, which the last asset of a subject's run records."""
    return {"settings": study.settings_digest(), "code": code_version(".")}


def _specs(assets: Sequence[dg.AssetsDefinition]) -> list[dg.AssetSpec]:
    return [spec for asset in assets for spec in asset.specs]


@dataclass(frozen=True)
class Record:
    """Record that an instance has of a study.

    Attributes
    ----------
    study, instance
        Whose, and where.
    per_subject
        The study's assets that are partitioned by subject.
    """

    study: Study
    instance: dg.DagsterInstance
    per_subject: Sequence[dg.AssetsDefinition]

    def outdated(self, found: "Scan | None") -> list[str]:
        """Subjects of whom something is missing or older than what it is made of.

        A subject is up to date if its session files are those that arrived last (files that are
        gone count as unchanged), every asset was made after all that it is made of, by the code
        as it is now and with the settings as they are now, and its files are in the storage
        as the last run left them.

        Parameters
        ----------
        found
            Session files as they are; None if they cannot be read.

        Returns
        -------
        subjects
            In the order of the partition set.
        """
        known = known_subjects(self.study, self.instance)
        return [s for s in known if found is None or not self._is_up_to_date(s, found)]

    def has_news_for(self, population: Sequence[dg.AssetsDefinition]) -> bool:
        """True if files arrived, or code changed, since fits of the population were made."""
        newest = max(self._made(self._raw).values(), default=0)
        for spec in _specs(population):
            records = self.instance.fetch_materializations(spec.key, limit=1).records
            made = records[0].asset_materialization if records else None
            if made is None or records[0].storage_id < newest:
                return True
            if (made.tags or {}).get("dagster/code_version") != spec.code_version:
                return True
        return False

    def _is_up_to_date(self, subject: str, found: "Scan") -> bool:
        files = found.subjects.get(subject)
        if files and self._content.get(subject) != files.digest:
            return False
        for spec in _specs(self.per_subject):
            made = self._made(spec.key).get(subject, 0)
            above = [self._made(dep.asset_key) for dep in spec.deps]
            if made <= max((of.get(subject, of.get(_ALL, 0)) for of in above), default=0):
                return False
        return self._is_tracked(subject) and self._is_stored(subject)

    def _is_tracked(self, subject: str) -> bool:
        """True if the subject's last run used the present settings and code."""
        event = self._last(dg.AssetKey([self.study.name, "fit_tracking"]), subject)
        told = event.asset_materialization.metadata if event.asset_materialization else {}
        return self._marks.items() <= {name: fact.value for name, fact in told.items()}.items()

    def _is_stored(self, subject: str) -> bool:
        """True if the subject's files are there, and nobody touched them since its last run."""
        newest = max((spec.key for spec in _specs(self.per_subject)), key=self._at(subject))
        end = self._last(newest, subject).timestamp
        for folder, extension in self._stored:
            try:
                file = self.study.storage / folder / f"{stem_of(subject)}{extension}"
                written = file.stat().st_mtime
            except OSError:
                return False
            if written > end:
                return False
        return True

    def _last(self, key: dg.AssetKey, subject: str) -> dg.EventLogRecord:
        wanted = dg.AssetRecordsFilter(key, asset_partitions=[subject])
        return self.instance.fetch_materializations(wanted, limit=1).records[0]

    def _at(self, subject: str) -> Callable[[dg.AssetKey], int]:
        return lambda key: self._made(key).get(subject, 0)

    def _made(self, key: dg.AssetKey) -> Mapping[str, int]:
        """Place in the record of the last time that an asset was made, by subject."""
        if key not in self._places:
            told = self.instance.get_latest_storage_id_by_partition(key, _MADE)
            self._places[key] = dict(told) or self._made_of_all(key)
        return self._places[key]

    def _made_of_all(self, key: dg.AssetKey) -> dict[str, int]:
        records = self.instance.fetch_materializations(key, limit=1).records
        return {_ALL: records[0].storage_id} if records else {}

    @cached_property
    def _places(self) -> dict[dg.AssetKey, dict[str, int]]:
        return {}

    @cached_property
    def _marks(self) -> Mapping[str, str]:
        return marks(self.study)

    @property
    def _raw(self) -> dg.AssetKey:
        return dg.AssetKey([self.study.name, "raw_sessions"])

    @cached_property
    def _content(self) -> Mapping[str, str]:
        """Digest of each subject's files that arrived last."""
        storage = self.instance.event_log_storage
        told = storage.get_latest_tags_by_partition(self._raw, _MADE, [_DATA])
        return {subject: tags[_DATA] for subject, tags in told.items()}

    @cached_property
    def _stored(self) -> list[tuple[str, str]]:
        """Folders of the assets that leave a file per subject, with the files' extensions."""
        managers = build_io_managers(self.study.home)
        return [
            (key.path[-1], managers[name].extension or "")
            for asset in self.per_subject
            for key in asset.keys
            if (name := asset.get_io_manager_key_for_asset_key(key)) != UNNAMED
        ]
