"""The DSP's database: what was committed is there afterwards, and nothing else is."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsp_stub.store import SCHEMA_VERSION, Store, StoreError

# A child that commits numbered rows and says of each that it is committed.
_WRITER = """
import sys
from pathlib import Path
from dsp_stub.store import Store

store = Store(Path(sys.argv[1]))
for number in range(1_000_000):
    with store.transaction() as connection:
        connection.execute("INSERT INTO images VALUES (?, ?)", (str(number), b"x" * 2000))
        connection.execute(
            "INSERT INTO attempts (event, detail) VALUES ('committed', ?)", (str(number),)
        )
    print(number, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "dsp.sqlite"


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(None) as opened:
        yield opened


def record(store: Store, event: str) -> None:
    store.connection.execute("INSERT INTO attempts (event) VALUES (?)", (event,))


def record_and_raise(store: Store, error: BaseException) -> None:
    with store.transaction():
        record(store, "lost")
        raise error


def events(store: Store) -> list[str]:
    rows = store.connection.execute("SELECT event FROM attempts ORDER BY id")
    return [event for (event,) in rows]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- transactions ------------------------------------------------------------------------------


def test_what_a_transaction_wrote_is_read_by_the_next_to_open_the_file(path: Path) -> None:
    with Store(path) as store, store.transaction():
        record(store, "first")
    with Store(path) as store:
        assert events(store) == ["first"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_nothing_of_a_transaction_that_failed_is_there(
    store: Store, error: type[BaseException]
) -> None:
    with store.transaction():
        record(store, "before")
    with pytest.raises(error):
        record_and_raise(store, error("lost"))
    assert events(store) == ["before"]
    assert not store.connection.in_transaction
    with store.transaction():
        record(store, "after")
    assert events(store) == ["before", "after"]


def test_another_connection_sees_nothing_before_the_commit(path: Path) -> None:
    with Store(path) as writer, Store(path) as reader:
        with writer.transaction():
            record(writer, "first")
            assert events(reader) == []
        assert events(reader) == ["first"]


def test_an_inner_transaction_is_lost_with_the_outer_one(store: Store) -> None:
    def outer() -> None:
        with store.transaction():
            with store.transaction():
                record(store, "inner")
            raise ValueError("outer")

    with pytest.raises(ValueError, match="outer"):
        outer()
    assert events(store) == []


def test_an_inner_transaction_that_failed_leaves_the_outer_one_whole(store: Store) -> None:
    def inner() -> None:
        with store.transaction():
            record(store, "inner")
            with store.transaction():
                record(store, "innermost")
            raise ValueError("inner")

    with store.transaction():
        record(store, "outer")
        with pytest.raises(ValueError, match="inner"):
            inner()
        with store.transaction():
            record(store, "second inner")
    assert events(store) == ["outer", "second inner"]


@given(st.recursive(st.booleans(), lambda steps: st.tuples(st.booleans(), st.lists(steps))))
def test_only_what_stands_in_whole_transactions_is_kept(
    steps: bool | tuple[bool, list[object]],
) -> None:
    """A step is a row to write, or a transaction of steps that ends well or not."""
    with Store(None) as store:
        rows = iter(range(10**6))

        def run(step: object) -> list[str]:
            if not isinstance(step, tuple):
                event = str(next(rows))
                record(store, event)
                return [event]
            ends_well, inner = step
            written: list[str] = []
            try:
                with store.transaction():
                    for one in inner:
                        written += run(one)
                    if not ends_well:
                        raise RuntimeError
            except RuntimeError:
                return []
            return written

        assert run(steps) == events(store)
        assert not store.connection.in_transaction


def test_a_second_writer_that_waits_too_long_is_told_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsp_stub.store.BUSY_TIMEOUT_S", 0.0)
    with Store(path) as first, Store(path) as second:
        with first.transaction():
            with (
                pytest.raises(StoreError, match=r"dsp\.sqlite cannot be written: .*locked"),
                second.transaction(),
            ):
                record(second, "too late")
            record(first, "first")
        with second.transaction():
            record(second, "second")
        assert events(first) == ["first", "second"]


def test_a_full_disk_loses_the_transaction_and_nothing_before_it(path: Path) -> None:
    with Store(path) as store:
        with store.transaction():
            record(store, "before")
        (pages,) = store.connection.execute("PRAGMA page_count").fetchone()
        store.connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        with (
            pytest.raises(StoreError, match="cannot be written: database or disk is full"),
            store.transaction() as connection,
        ):
            connection.executemany(
                "INSERT INTO images VALUES (?, ?)", [("a", b"small"), ("b", bytes(100_000))]
            )
        assert store.connection.execute("SELECT * FROM images").fetchall() == []
        with store.transaction():
            record(store, "after")
        assert events(store) == ["before", "after"]


def test_a_mistake_in_a_statement_is_not_taken_for_a_broken_file(store: Store) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"), store.transaction():
        store.connection.execute("SELECT * FROM absent")


# -- what the database refuses -----------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM attempts",
        "UPDATE attempts SET event = 'other'",
        "INSERT OR REPLACE INTO attempts (id, event) VALUES (1, 'other')",
        "INSERT INTO attempts (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET event = 'other'",
    ],
)
def test_the_log_of_attempts_only_grows(store: Store, statement: str) -> None:
    with store.transaction():
        record(store, "first")
    with pytest.raises(sqlite3.IntegrityError, match="log of attempts"), store.transaction():
        store.connection.execute(statement)
    assert events(store) == ["first"]


def test_the_broker_has_one_row(store: Store) -> None:
    store.connection.execute("INSERT INTO broker VALUES (1, '1')")
    with pytest.raises(sqlite3.IntegrityError), store.transaction():
        store.connection.execute("INSERT INTO broker VALUES (2, '2')")


def test_a_device_is_at_premises_that_are_there(store: Store) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"), store.transaction():
        store.connection.execute(
            "INSERT INTO devices (device_id, life, device_type, manufacturer, model, premises) "
            "VALUES ('0', 1, 'CAD', 'a', 'b', 7)"
        )


# -- the file ----------------------------------------------------------------------------------


def test_the_file_is_for_its_owner_alone(path: Path) -> None:
    old_mask = os.umask(0)
    try:
        with Store(path) as store, store.transaction():
            record(store, "first")
            assert mode(path.parent) == 0o700
            names = sorted(one.name for one in path.parent.iterdir())
            assert names == ["dsp.sqlite", "dsp.sqlite-shm", "dsp.sqlite-wal"]
            assert {mode(one) for one in path.parent.iterdir()} == {0o600}
    finally:
        os.umask(old_mask)


def test_a_file_others_could_read_is_closed_to_them(path: Path) -> None:
    Store(path).close()
    path.chmod(0o644)
    Store(path).close()
    assert mode(path) == 0o600


def test_the_commit_waits_for_the_disk(path: Path) -> None:
    with Store(path) as store:
        pragmas = ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        values = [store.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
        assert values == ["wal", 2, 1, 1]


def test_what_was_deleted_is_not_in_the_file_any_more(path: Path) -> None:
    secret = b"an install code nobody should find"
    with Store(path) as store:
        store.connection.execute("INSERT INTO outbox (body) VALUES (?)", (secret,))
        store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        assert secret in path.read_bytes()
        store.connection.execute("DELETE FROM outbox")
    assert secret not in path.read_bytes()


def test_a_file_of_another_version_is_left_alone(path: Path) -> None:
    with Store(path) as store:
        store.connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(
        StoreError, match=rf"dsp\.sqlite is a database of version {SCHEMA_VERSION + 1}"
    ):
        Store(path)
    assert path.read_bytes() == before


def test_the_database_of_another_program_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE notes (text)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="a database of something else than a DSP"):
        Store(path)
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("data", [b"x", b"no database at all" * 1000], ids=["short", "long"])
def test_a_file_that_is_no_database_is_named_and_left_alone(path: Path, data: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(data)
    path.chmod(0o644)
    with pytest.raises(StoreError, match=r"dsp\.sqlite cannot be opened: file is not a database"):
        Store(path)
    assert path.read_bytes() == data
    assert mode(path) == 0o644


def test_a_damaged_database_is_named(path: Path) -> None:
    with Store(path) as store:
        for number in range(100):
            record(store, f"event {number}" * 100)
    data = bytearray(path.read_bytes())
    data[100:4096] = os.urandom(3996)  # the page of the schema, behind the file's header
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"dsp\.sqlite cannot be opened"):
        Store(path)


def test_a_place_where_no_file_can_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "dsp.sqlite", tmp_path / ("a" * 300)):
        with pytest.raises(StoreError, match="cannot be opened: "):
            Store(path)
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(tmp_path)


def test_a_file_named_like_the_one_in_memory_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Store(Path(":memory:")) as store:
        record(store, "first")
    assert (tmp_path / ":memory:").exists()


def test_two_that_open_a_new_file_at_one_time_both_can_use_it(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from dsp_stub.store import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "store.connection.execute(\"INSERT INTO attempts (event) VALUES ('here')\")"
    )
    children = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(4)]
    assert [child.wait() for child in children] == [0] * 4
    with Store(path) as store:
        assert events(store) == ["here"] * 4


# -- kills -------------------------------------------------------------------------------------


def kill_while_writing(path: Path, after_rows: int, more_octets: int) -> int:
    """Kill a writer once it said it committed so many rows more; how many it has in all."""
    child = subprocess.Popen(
        [sys.executable, "-c", _WRITER.replace("range(1", f"range({_rows(path)}, 1"), str(path)],
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    said = b"".join(child.stdout.readline() for _ in range(after_rows))
    said += child.stdout.read(more_octets)  # not at the end of a line: in the middle of the next
    child.send_signal(signal.SIGKILL)
    said += child.stdout.read()
    child.wait()
    child.stdout.close()
    assert child.returncode == -signal.SIGKILL
    return int(said.split(b"\n")[-2])


def _rows(path: Path) -> int:
    if not path.exists():
        return 0
    with Store(path) as store:
        (count,) = store.connection.execute("SELECT COUNT(*) FROM images").fetchone()
        return int(count)


def assert_whole(path: Path, last_said: int) -> None:
    with Store(path) as store:
        connection = store.connection
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        details = [int(n) for (n,) in connection.execute("SELECT detail FROM attempts ORDER BY id")]
        images = [int(n) for (n,) in connection.execute("SELECT sha256 FROM images")]
        # The row after the last that was said may have been committed before the kill.
        assert len(details) in (last_said + 1, last_said + 2)
        assert details == list(range(len(details)))
        assert sorted(images) == details


@pytest.mark.parametrize("seed", range(3))
def test_every_row_said_to_be_committed_outlives_a_kill(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(2):
        last = kill_while_writing(path, chance.randrange(1, 60), chance.randrange(2))
        assert_whole(path, last)


@pytest.mark.matrix
def test_every_row_outlives_many_kills(path: Path) -> None:
    chance = random.Random(2026)
    kills = 100 if os.environ.get("HANBENCH_MATRIX") == "full" else 10
    for _ in range(kills):
        last = kill_while_writing(path, chance.randrange(1, 400), chance.randrange(3))
        assert_whole(path, last)
