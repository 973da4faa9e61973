"""The audit trail against real databases that go away, hang and come back, and against journals that are damaged."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.observe.audit import AuditError, AuditFullError
from service.observe.audit.journal import AuditJournal
from service.observe.audit.rows import Row, SettingsVersion
from service.observe.audit.trail import AuditTrail
from service.settings import MEBIBYTE, Settings
from tests.paths import ROOT
from tests.service.live_server import until
from tests.service.observe.audit.postgres import Postgres

VERSION = SettingsVersion("0123456789abcdef", '{"fit":"strict"}')
PATIENCE_S = 30


def row(place: int = 0, **values: Any) -> Row:
    return Row.of("r-1", place, f"{place:064x}", "b" * 64, VERSION.version, key="analyser-1", **values)


def classified(*places: int) -> list[Row]:
    return [
        row(place, predicted_class="hairy-cell", probabilities={"hairy-cell": 0.75, "blast": 0.25}, hairy_flag=True)
        for place in places
    ]


def trail(url: str, folder: Path, **settings: Any) -> AuditTrail:
    return AuditTrail(Settings(audit=url, audit_journal=folder / "journal", **settings))


def record(kept: AuditTrail, rows: Sequence[Row]) -> None:
    kept.journal.record(VERSION, rows).result(PATIENCE_S)


def delivered(kept: AuditTrail) -> int:
    assert kept.forwarder is not None
    return kept.forwarder.delivered


def images(postgres: Postgres) -> list[int]:
    return [index for (index,) in postgres.query("SELECT image_index FROM hal_audit_images ORDER BY image_index")]


def in_journal(folder: Path) -> list[int]:
    with sqlite3.connect(folder / "journal" / "journal.db") as journal:
        return [index for (index,) in journal.execute("SELECT image_index FROM hal_audit_images ORDER BY image_index")]


def test_after_a_clean_stop_every_row_is_in_postgresql(postgres: Postgres, tmp_path: Path) -> None:
    kept = trail(postgres.url, tmp_path)
    record(kept, [*classified(0), row(1, error="wrong_size")])
    record(kept, classified(*range(2, 1500)))
    kept.close()
    # Where the machine is so slow that the database seems to hang, the rest is in the journal.
    assert sorted({*images(postgres), *in_journal(tmp_path)}) == list(range(1500))
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


def test_a_row_that_is_delivered_twice_is_one_row(postgres: Postgres, tmp_path: Path) -> None:
    twice = classified(*range(5))
    kept = trail(postgres.url, tmp_path)
    record(kept, twice)
    until(lambda: delivered(kept) == 5)
    record(kept, twice)
    kept.close()
    assert images(postgres) == list(range(5))


def test_two_services_that_share_a_journal_deliver_each_row_once(postgres: Postgres, tmp_path: Path) -> None:
    postgres.stop()
    try:
        both = [trail(postgres.url, tmp_path) for _ in range(2)]
        for place, kept in enumerate(both):
            record(kept, classified(*range(1000 * place, 1000 * place + 700)))
    finally:
        postgres.start()
    until(lambda: both[0].journal.waiting() == 0)
    for kept in both:
        kept.close()
    assert images(postgres) == [*range(700), *range(1000, 1700)]


def test_a_database_that_hangs_does_not_hold_up_the_end(postgres: Postgres, tmp_path: Path) -> None:
    kept = trail(postgres.url, tmp_path)
    record(kept, classified(0))
    until(lambda: delivered(kept) == 1)
    postgres.pause()
    try:
        record(kept, classified(*range(1, 20)))
        closing = threading.Thread(target=kept.close)
        closing.start()
        closing.join(15)
        assert not closing.is_alive()
    finally:
        postgres.resume()
    again = trail(postgres.url, tmp_path)
    until(lambda: again.journal.waiting() == 0)
    again.close()
    assert images(postgres) == list(range(20))


def test_a_journal_at_its_limit_takes_no_more_until_the_database_is_back(postgres: Postgres, tmp_path: Path) -> None:
    postgres.stop()
    answered: list[int] = []
    try:
        kept = trail(postgres.url, tmp_path, audit_journal_bytes=MEBIBYTE)
        with pytest.raises(AuditFullError):
            for place in range(0, 10_000, 100):
                record(kept, classified(*range(place, place + 100)))
                answered += range(place, place + 100)
        assert answered
        assert kept.journal.bytes() <= MEBIBYTE
        for _ in range(3):  # It is asked again and again whether there is room.
            with pytest.raises(AuditFullError):
                kept.check_room()
            time.sleep(0.6)
    finally:
        postgres.start()
    until(lambda: kept.journal.problem is None)
    kept.check_room()
    kept.close()
    assert images(postgres) == answered


def test_sqlite_keeps_the_same_rows_and_needs_no_other_file(tmp_path: Path) -> None:
    kept = trail(f"sqlite:///{tmp_path}/audit.db", tmp_path)
    record(kept, [*classified(0), row(1, error="cmyk")])
    assert kept.goes_to == "database"
    kept.close()
    assert [path.name for path in tmp_path.iterdir()] == ["audit.db"]
    with sqlite3.connect(tmp_path / "audit.db") as database:
        rows = database.execute("SELECT image_index, predicted_class, hairy_flag, error FROM hal_audit_images")
        found = rows.fetchall()
        assert database.execute("SELECT * FROM hal_audit_settings").fetchall() == [tuple(VERSION)]
    assert found == [(0, "hairy-cell", 1, None), (1, None, None, "cmyk")]


BEFORE = """
CREATE TABLE hal_audit_settings (version TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE hal_audit_images (
    id TEXT PRIMARY KEY, time TEXT NOT NULL, request_id TEXT NOT NULL, image_index INTEGER NOT NULL,
    image_sha256 TEXT NOT NULL, model_sha256 TEXT NOT NULL, settings_version TEXT NOT NULL, predicted_class TEXT,
    probabilities TEXT, hairy_flag BOOLEAN, error TEXT, key TEXT
);
INSERT INTO hal_audit_images VALUES ('0', '2026-01-01', 'r-0', 7, '', '', 'v', NULL, NULL, NULL, 'cmyk', NULL);
"""
"""A file of a release that told no novelty."""


def test_a_file_without_novelty_goes_on_with_it(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "audit.db") as database:
        database.executescript(BEFORE)
    for _ in range(2):
        kept = trail(f"sqlite:///{tmp_path}/audit.db", tmp_path)
        record(kept, [row(0, hairy_flag=False, novelty_score=1.25)])
        kept.close()
    with sqlite3.connect(tmp_path / "audit.db") as database:
        found = database.execute("SELECT image_index, novelty_score FROM hal_audit_images").fetchall()
    assert found == [(7, None), (0, 1.25), (0, 1.25)]


def test_tables_without_novelty_get_its_column(postgres: Postgres, tmp_path: Path) -> None:
    kept = trail(postgres.url, tmp_path)
    record(kept, classified(0))
    until(lambda: delivered(kept) == 1)
    kept.close()
    postgres.query("ALTER TABLE hal_audit_images DROP COLUMN novelty_score")
    kept = trail(postgres.url, tmp_path)
    record(kept, [row(1, hairy_flag=False, novelty_score=1.25)])
    until(lambda: delivered(kept) == 1)
    kept.close()
    query = "SELECT image_index, novelty_score FROM hal_audit_images ORDER BY image_index"
    assert postgres.query(query) == [(0, None), (1, 1.25)]


WRITER = """
import sys
from pathlib import Path
from service.observe.audit.journal import AuditJournal
from service.observe.audit.rows import Row, SettingsVersion
journal = AuditJournal(Path(sys.argv[1]), setting="HAL_AUDIT")
for place in range(10**6):
    row = Row.of("r", place, "0" * 64, "b" * 64, "v")
    journal.record(SettingsVersion("v", "{}"), [row]).result()
    print(place, flush=True)
"""


def test_a_row_that_counted_as_written_survives_a_kill(tmp_path: Path) -> None:
    file = tmp_path / "audit.db"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(file)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        answered = [int(writer.stdout.readline()) for _ in range(50)]
        writer.send_signal(signal.SIGKILL)
        answered += [int(line) for line in writer.stdout.read().splitlines()]
    with sqlite3.connect(file) as database:
        kept = {place for (place,) in database.execute("SELECT image_index FROM hal_audit_images")}
    assert set(answered) <= kept
    assert len(kept) <= len(answered) + 1


def test_rows_that_wait_together_are_one_commit_and_a_cancelled_one_is_not_written(tmp_path: Path) -> None:
    journal = AuditJournal(tmp_path / "audit.db", setting="HAL_AUDIT")
    held = sqlite3.connect(tmp_path / "audit.db", isolation_level=None)
    held.execute("BEGIN IMMEDIATE")
    first = journal.record(VERSION, classified(0))
    until(first.running)
    waiting: list[Future[None]] = [journal.record(VERSION, classified(place)) for place in range(1, 100)]
    assert waiting[-1].cancel()
    before = held.execute("PRAGMA data_version").fetchone()
    held.execute("ROLLBACK")
    for written in waiting[:-1]:
        written.result(PATIENCE_S)
    assert held.execute("PRAGMA data_version").fetchone() != before
    journal.close()
    assert held.execute("SELECT count(*) FROM hal_audit_images").fetchone() == (99,)
    held.close()


def test_journals_that_are_opened_at_once_are_all_opened(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        journals = list(pool.map(lambda _: AuditJournal(tmp_path / "a.db", setting="x", max_bytes=MEBIBYTE), range(8)))
    for journal in journals:
        journal.record(VERSION, classified(0)).result(PATIENCE_S)
    assert journals[0].waiting() == 8
    for journal in journals:
        journal.close()


def test_a_damaged_journal_is_set_aside_and_holds_nothing_up(postgres: Postgres, tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "journal.db").write_bytes(b"no database " * 1000)
    kept = trail(postgres.url, tmp_path)
    record(kept, classified(0))
    kept.close()
    assert images(postgres) == [0]
    (aside,) = (tmp_path / "journal").glob("*.unreadable")
    assert aside.read_bytes().startswith(b"no database")


def test_a_journal_with_a_damaged_page_is_set_aside(postgres: Postgres, tmp_path: Path) -> None:
    postgres.stop()
    try:
        kept = trail(postgres.url, tmp_path)
        record(kept, classified(*range(300)))
        kept.close()
    finally:
        postgres.start()
    with (tmp_path / "journal" / "journal.db").open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(size // 2)
        file.write(os.urandom(size // 4))
    again = trail(postgres.url, tmp_path)
    record(again, classified(1000))
    again.close()
    assert 1000 in images(postgres)
    assert list((tmp_path / "journal").glob("*.unreadable"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("audit.db", "not a database's URL"),
        ("postgresql:/hal@db/hal", "not a database's URL"),
        ("postgresql://hal:secret@db:port/hal", "not a database's URL"),
        ("mysql://u@h/d", "expected sqlite or postgresql"),
        ("postgresql+asyncpg://u:secret@h/d", "expected sqlite or postgresql"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite://var/lib/hal/audit.db", "names no file"),
        ("sqlite:audit.db", "names no file"),
        ("sqlite:///var/lib/hal/audit.db", "absolute path takes one slash more"),
        ("sqlite:////nowhere/audit.db", "no folder /nowhere$"),
        ("sqlite:///.", "cannot be used"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_without_its_password(url: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(AuditError, match=said) as caught:
        trail(url, tmp_path)
    assert "secret" not in str(caught.value)


def test_a_database_that_is_no_sqlite_file_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "audit.db"
    file.write_bytes(b"something else " * 500)
    with pytest.raises(AuditError, match="not a database"):
        trail(f"sqlite:///{file}", tmp_path)
    assert file.read_bytes() == b"something else " * 500


def test_a_journal_that_cannot_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "journal").touch()
    with pytest.raises(AuditError, match="HAL_AUDIT_JOURNAL"):
        trail("postgresql://hal@db/hal", tmp_path)


def test_the_version_of_the_settings_changes_with_whatever_changes_answers(bundle: Any) -> None:
    def version(**settings: Any) -> str:
        return SettingsVersion.of(Settings(**settings), bundle.description, bundle.file(), "cpu", "1").version

    assert version() == version(queue_limit=99)
    assert version() != version(fit="crop")
