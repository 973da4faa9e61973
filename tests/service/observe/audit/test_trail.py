"""The audit trail against real databases that go away, hang and come back, and against real full disks."""

import logging
import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.observe.audit import AuditError
from service.observe.audit.rows import Row, SettingsVersion
from service.observe.audit.spool import Spool
from service.observe.audit.trail import AuditTrail
from service.settings import Settings
from tests.service.live_server import until
from tests.service.observe.audit.postgres import Postgres

pytest.importorskip("sqlalchemy", reason="the extra 'audit' is not installed")

VERSION = SettingsVersion({"fit": "strict"}, "0123456789abcdef")


def row(place: int = 0, **values: Any) -> Row:
    return Row("r-1", place, f"{place:064x}", "b" * 64, VERSION.version, key="analyser-1", **values)


def classified(place: int) -> Row:
    return row(place, predicted_class="hairy-cell", probabilities={"hairy-cell": 0.75, "blast": 0.25}, hairy_flag=True)


def trail(url: str, folder: Path, **settings: Any) -> AuditTrail:
    made = AuditTrail(Settings(audit=url, audit_spool=folder / "spool", **settings))
    made.describe(VERSION)
    return made


def images(postgres: Postgres) -> list[int]:
    return [index for (index,) in postgres.query("SELECT image_index FROM hal_audit_images ORDER BY image_index")]


def spooled(folder: Path) -> list[Path]:
    return sorted((folder / "spool").glob("*.jsonl"))


def test_after_a_clean_stop_every_row_is_in_postgresql(postgres: Postgres, tmp_path: Path) -> None:
    kept = trail(postgres.url, tmp_path)
    kept.record([classified(0), row(1, error="wrong_size")])
    kept.record(classified(place) for place in range(2, 1500))
    kept.close()
    # Where the machine is so slow that the database seems to hang, the rest is on disk.
    on_disk = [each.image_index for path in spooled(tmp_path) for each in Spool.read(path)]
    assert sorted({*images(postgres), *on_disk}) == list(range(1500))
    assert images(postgres)[:2] == [0, 1]
    (first, second) = postgres.query(
        "SELECT request_id, image_sha256, predicted_class, probabilities, hairy_flag, error, key, settings_version, "
        "time FROM hal_audit_images ORDER BY image_index LIMIT 2"
    )
    assert first[:8] == (
        "r-1",
        "0" * 64,
        "hairy-cell",
        {"hairy-cell": 0.75, "blast": 0.25},
        True,
        None,
        "analyser-1",
        VERSION.version,
    )
    assert abs(datetime.now(UTC) - first[8]) < timedelta(minutes=1)
    assert second[2:6] == (None, None, None, "wrong_size")
    assert postgres.query("SELECT version, document FROM hal_audit_settings") == [(VERSION.version, {"fit": "strict"})]


def test_postgresql_stopped_and_started_loses_and_doubles_nothing(postgres: Postgres, tmp_path: Path) -> None:
    kept = trail(postgres.url, tmp_path)
    kept.record(classified(place) for place in range(10))
    until(lambda: kept.state().written == 10)
    postgres.stop()
    try:
        kept.record(classified(place) for place in range(10, 700))
        until(lambda: kept.state().waiting == 0)
        state = kept.state()
        assert state.problem
        assert state.spooled_bytes > 0
        assert not state.full
    finally:
        postgres.start()
    kept.record(classified(place) for place in range(700, 800))
    until(lambda: kept.state().written == 800)
    assert kept.state().problem is None
    assert kept.state().spooled_bytes == 0
    kept.close()
    assert images(postgres) == list(range(800))


def test_stopped_while_the_database_is_away_the_rows_wait_for_the_next_start(
    postgres: Postgres, tmp_path: Path
) -> None:
    postgres.stop()
    try:
        kept = trail(postgres.url, tmp_path)
        kept.record(classified(place) for place in range(30))
        kept.close()
        assert kept.state().logged == 0
        assert spooled(tmp_path)
    finally:
        postgres.start()
    again = trail(postgres.url, tmp_path)
    until(lambda: again.state().written == 30)
    again.close()
    assert images(postgres) == list(range(30))
    assert spooled(tmp_path) == []


def test_a_row_that_is_delivered_twice_is_one_row(postgres: Postgres, tmp_path: Path) -> None:
    twice = [classified(place) for place in range(5)]
    kept = trail(postgres.url, tmp_path)
    kept.record(twice)
    kept.record(twice)
    kept.close()
    assert images(postgres) == list(range(5))


def test_a_database_that_hangs_does_not_hold_up_the_end(postgres: Postgres, tmp_path: Path) -> None:
    kept = trail(postgres.url, tmp_path)
    kept.record([classified(0)])
    until(lambda: kept.state().written == 1)
    postgres.pause()
    try:
        kept.record(classified(place) for place in range(1, 20))
        closing = threading.Thread(target=kept.close)
        closing.start()
        closing.join(15)
        assert not closing.is_alive()
    finally:
        postgres.resume()
    again = trail(postgres.url, tmp_path)
    until(lambda: not spooled(tmp_path) and again.state().waiting == 0)
    again.close()
    assert images(postgres) == list(range(20))


def test_where_neither_database_nor_spool_takes_rows_no_more_are_wanted_until_one_does(
    postgres: Postgres, tmp_path: Path
) -> None:
    postgres.stop()
    try:
        kept = trail(postgres.url, tmp_path, audit_spool_bytes=1024)
        kept.record([classified(0)])
        until(lambda: kept.state().spooled_bytes > 0)
        kept.record(classified(place) for place in range(1, 9))
        until(lambda: kept.full)
        assert kept.state().waiting == 8
    finally:
        postgres.start()
    until(lambda: not kept.full)
    kept.close()
    assert images(postgres) == list(range(9))


def test_what_nothing_keeps_is_at_least_in_the_log(
    postgres: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    postgres.stop()
    try:
        kept = trail(postgres.url, tmp_path, audit_spool_bytes=1024)
        with caplog.at_level(logging.CRITICAL, "hal.audit"):
            kept.record(classified(place) for place in range(9))
            until(lambda: kept.full)
            kept.close()
    finally:
        postgres.start()
    rows = [record.fields["row"] for record in caplog.records if hasattr(record, "fields")]
    assert [each["image_index"] for each in rows] == list(range(9))
    assert kept.state().logged == 9


def test_sqlite_keeps_the_same_rows(tmp_path: Path) -> None:
    kept = trail(f"sqlite:///{tmp_path}/audit.db", tmp_path)
    kept.record([classified(0), row(1, error="cmyk")])
    kept.close()
    with sqlite3.connect(tmp_path / "audit.db") as database:
        rows = database.execute("SELECT image_index, predicted_class, hairy_flag, error FROM hal_audit_images")
        found = rows.fetchall()
    assert found == [(0, "hairy-cell", 1, None), (1, None, None, "cmyk")]


def test_a_batch_on_disk_that_cannot_be_read_is_set_aside_and_holds_nothing_up(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "0-broken.jsonl").write_text("{")
    kept = trail(f"sqlite:///{tmp_path}/audit.db", tmp_path)
    kept.record([classified(0)])
    until(lambda: not spooled(tmp_path) and kept.state().written == 1)
    kept.close()
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["0-broken.unreadable"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("audit.db", "not a database's URL"),
        ("mysql://u@h/d", "expected sqlite or postgresql"),
        ("postgresql+asyncpg://u:secret@h/d", "expected sqlite or postgresql"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_without_its_password(url: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(AuditError, match=said) as caught:
        trail(url, tmp_path)
    assert "secret" not in str(caught.value)


def test_a_spool_that_cannot_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "spool").touch()
    with pytest.raises(AuditError, match="HAL_AUDIT_SPOOL"):
        trail(f"sqlite:///{tmp_path}/audit.db", tmp_path)


def test_the_version_of_the_settings_changes_with_whatever_changes_answers(bundle: Any) -> None:
    def version(**settings: Any) -> str:
        return SettingsVersion.of(Settings(**settings), bundle.description, bundle.file(), "cpu", "1").version

    assert version() == version(queue_limit=99)
    assert version() != version(fit="crop")
