"""The file a DSP keeps everything in: one SQLite database, one connection, transactions.

Source: DESIGN, "There and back" and "Sentences that keep it real" (the effects of one request are
one transaction; what was answered outlives a power cut); SQLite documentation (WAL, pragmas).

What a transaction wrote is on the disk when `transaction()` ends without an error, and nothing of
it is there otherwise. Numbers and times stand in the columns as `dsp_stub.columns` writes them.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from dsp_stub.errors import DspValueError

SCHEMA_VERSION = 4
# Another process, such as `hanbench cpl add`, writes for milliseconds.
BUSY_TIMEOUT_S = 5.0
LEAST_DATABASE_BYTES = 512
FILE_MODE = 0o600
FOLDER_MODE = 0o700

_TABLES = """
CREATE TABLE premises (
    id INTEGER PRIMARY KEY,
    uprn TEXT,
    post_code TEXT,
    address_identifier TEXT,
    address_key TEXT,
    import_mpxn TEXT,
    secondary_import_mpan TEXT,
    export_mpan TEXT,
    import_mprn TEXT
);
CREATE INDEX premises_by_uprn ON premises (uprn);
CREATE INDEX premises_by_address ON premises (address_key);

CREATE TABLE responsible (
    premises INTEGER NOT NULL REFERENCES premises (id),
    place INTEGER NOT NULL,
    user TEXT NOT NULL,
    PRIMARY KEY (premises, user)
);

-- One row is one life of a device. The last one counts, those before stay to be read.
CREATE TABLE devices (
    device_id TEXT NOT NULL,
    life INTEGER NOT NULL,
    device_type TEXT NOT NULL,
    status TEXT,
    manufacturer TEXT NOT NULL,
    model TEXT NOT NULL,
    firmware_version TEXT,
    smets_chts_version TEXT,
    gbcs_version TEXT,
    esme_variant TEXT,
    ppmid_variant TEXT,
    associated_gpf TEXT,
    chf TEXT,
    premises INTEGER REFERENCES premises (id),
    date_commissioned TEXT,
    han_variant TEXT,
    csp_region TEXT,
    prenotified_by TEXT,
    before_recovery TEXT,
    deleted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (device_id, life)
);
CREATE INDEX devices_by_chf ON devices (chf);
CREATE INDEX devices_by_premises ON devices (premises);

-- Registration Data: whose a metering point is.
CREATE TABLE registrations (mpxn TEXT PRIMARY KEY, supplier TEXT, network_operator TEXT);

CREATE TABLE future_dated (
    request_id TEXT PRIMARY KEY,
    service TEXT NOT NULL,
    device TEXT NOT NULL,
    due TEXT NOT NULL
);
CREATE INDEX future_dated_by_due ON future_dated (due);

CREATE TABLE schedules (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, device TEXT NOT NULL);

CREATE TABLE cpl (
    manufacturer TEXT NOT NULL,
    model_id TEXT NOT NULL,
    hardware_version TEXT NOT NULL,
    hardware_revision TEXT NOT NULL,
    firmware_version TEXT NOT NULL,
    smets_chts_version TEXT NOT NULL,
    gbcs_version TEXT NOT NULL,
    device_type TEXT NOT NULL,
    image_hash TEXT,
    status TEXT NOT NULL,
    certificates TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (
        manufacturer, model_id, hardware_version, hardware_revision, firmware_version,
        smets_chts_version, gbcs_version
    )
);
CREATE INDEX cpl_by_hash ON cpl (image_hash);

-- SMETS1 models with firmware that are eligible.
CREATE TABLE epcl (
    manufacturer TEXT NOT NULL,
    model TEXT NOT NULL,
    firmware_version TEXT NOT NULL,
    PRIMARY KEY (manufacturer, model, firmware_version)
);

CREATE TABLE specifications (
    version TEXT PRIMARY KEY,
    ivp_start TEXT NOT NULL,
    ivp_end TEXT,
    mvp_start TEXT NOT NULL,
    mvp_end TEXT
);

CREATE TABLE gbcs_applicability (
    specification TEXT NOT NULL REFERENCES specifications (version),
    gbcs_version TEXT NOT NULL,
    start_on TEXT NOT NULL,
    end_on TEXT,
    PRIMARY KEY (specification, gbcs_version)
);

-- What AltHANCo says it has installed.
CREATE TABLE althan_bridges (
    device_id TEXT PRIMARY KEY,
    variant TEXT NOT NULL,
    manufacturer TEXT NOT NULL,
    model TEXT NOT NULL,
    firmware_version TEXT NOT NULL
);

-- A Transform and what is signed after it have one RequestID.
CREATE TABLE requests (
    request_id TEXT NOT NULL,
    is_transform INTEGER NOT NULL,
    originator TEXT,
    service TEXT,
    received_at TEXT,
    response_code TEXT,
    PRIMARY KEY (request_id, is_transform)
);

CREATE TABLE images (sha256 TEXT PRIMARY KEY, data BLOB);

CREATE TABLE updates (
    id INTEGER PRIMARY KEY,
    request_id TEXT,
    device TEXT,
    hub TEXT,
    image_sha256 TEXT,
    firmware_version TEXT,
    state TEXT,
    started_at TEXT,
    deadline TEXT,
    ended_at TEXT
);
CREATE INDEX updates_by_device ON updates (device, state);
CREATE INDEX updates_by_state ON updates (state, deadline);
CREATE INDEX updates_by_request ON updates (request_id, device);

CREATE TABLE attempts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT,
    request_id TEXT,
    device TEXT,
    event TEXT,
    detail TEXT,
    life INTEGER
);
CREATE INDEX attempts_by_device ON attempts (device, id);

-- The last requests that were refused: a table that anybody can write to has an end.
CREATE TABLE refusals (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    request_id TEXT,
    service TEXT,
    code TEXT NOT NULL,
    detail TEXT NOT NULL
);

CREATE TABLE commands (
    device TEXT,
    counter TEXT,
    other_information BLOB,
    request_id TEXT,
    service TEXT,
    subject TEXT,
    deadline TEXT,
    points TEXT,
    PRIMARY KEY (device, counter)
);

-- Commands in the name of a user, each known to its hub by the id.
CREATE TABLE user_commands (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    device TEXT NOT NULL,
    originator TEXT NOT NULL,
    counter TEXT NOT NULL,
    message_code INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    service TEXT NOT NULL,
    subject TEXT NOT NULL,
    deadline TEXT NOT NULL,
    payload BLOB NOT NULL,
    UNIQUE (device, originator, counter)
);

-- What each hub last told of its device log.
CREATE TABLE device_logs (chf TEXT PRIMARY KEY, payload BLOB NOT NULL);

CREATE TABLE accepted (device TEXT PRIMARY KEY, counter TEXT);

CREATE TABLE broker (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    originator_counter TEXT
);

-- The key pairs of the ACB that devices were told of after the first.
CREATE TABLE acb_keys (
    key_id TEXT PRIMARY KEY,
    certificate BLOB NOT NULL,
    private_key BLOB NOT NULL
);

-- The certificate in a place of a device: held, offered and not confirmed, or waiting for its time.
CREATE TABLE credentials (
    device TEXT NOT NULL,
    place TEXT NOT NULL,
    standing TEXT NOT NULL,
    certificate BLOB NOT NULL,
    PRIMARY KEY (device, place, standing)
);

CREATE TABLE orders (
    party TEXT NOT NULL,
    device TEXT NOT NULL,
    counter TEXT NOT NULL,
    other_information BLOB NOT NULL,
    purpose TEXT NOT NULL,
    place TEXT NOT NULL,
    deadline TEXT NOT NULL,
    PRIMARY KEY (party, device, counter)
);

CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT,
    destination TEXT,
    body BLOB,
    image_sha256 TEXT,
    request_id TEXT,
    attempts INTEGER,
    next_at TEXT,
    expires_at TEXT
);
CREATE INDEX outbox_by_destination ON outbox (destination, id);
CREATE INDEX outbox_by_time ON outbox (next_at);
CREATE INDEX outbox_by_request ON outbox (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX outbox_by_expiry ON outbox (expires_at) WHERE expires_at IS NOT NULL;

-- The devices of one 11.1 or 11.4 stand apart until each has its row in updates.
CREATE TABLE campaigns (
    id INTEGER PRIMARY KEY,
    request_id TEXT NOT NULL UNIQUE,
    originator TEXT NOT NULL,
    service TEXT NOT NULL,
    image_sha256 TEXT NOT NULL,
    image_hash TEXT NOT NULL,
    firmware_version TEXT NOT NULL,
    state TEXT NOT NULL,
    device_count INTEGER NOT NULL,
    placed INTEGER NOT NULL,
    accepted_at TEXT NOT NULL,
    deadline TEXT NOT NULL,
    due_at TEXT
);
CREATE INDEX campaigns_by_state ON campaigns (state, id);
CREATE INDEX campaigns_by_originator ON campaigns (originator, service, accepted_at);
CREATE INDEX campaigns_by_due ON campaigns (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE campaign_devices (campaign INTEGER PRIMARY KEY, devices BLOB, hubs BLOB);

CREATE TABLE security_log (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT,
    device TEXT,
    reason TEXT,
    detail TEXT
);
"""

# What the database itself refuses, whoever asks.
_TRIGGERS = (
    "CREATE TRIGGER attempts_stay BEFORE DELETE ON attempts "
    "BEGIN SELECT RAISE(ABORT, 'nothing is taken from the log of attempts'); END",
    "CREATE TRIGGER attempts_keep BEFORE UPDATE ON attempts "
    "BEGIN SELECT RAISE(ABORT, 'nothing in the log of attempts is changed'); END",
    "CREATE TRIGGER cpl_stays BEFORE DELETE ON cpl "
    "BEGIN SELECT RAISE(ABORT, 'an entry of the CPL is Removed, never deleted'); END",
    "CREATE TRIGGER cpl_keeps BEFORE UPDATE ON cpl "
    "WHEN NOT (OLD.status = 'Current' AND NEW.status = 'Removed') OR "
    "(OLD.manufacturer, OLD.model_id, OLD.hardware_version, OLD.hardware_revision, "
    "OLD.firmware_version, OLD.smets_chts_version, OLD.gbcs_version, OLD.device_type) IS NOT "
    "(NEW.manufacturer, NEW.model_id, NEW.hardware_version, NEW.hardware_revision, "
    "NEW.firmware_version, NEW.smets_chts_version, NEW.gbcs_version, NEW.device_type) OR "
    "(OLD.image_hash, OLD.certificates) IS NOT (NEW.image_hash, NEW.certificates) "
    "BEGIN SELECT RAISE(ABORT, 'an entry of the CPL goes from Current to Removed only'); END",
    "CREATE TRIGGER devices_stay BEFORE DELETE ON devices "
    "BEGIN SELECT RAISE(ABORT, 'a life of a device is never deleted'); END",
)


class StoreError(DspValueError):
    """The database cannot be opened, read or written; the sentence names the file."""


class Store:
    """The database of one DSP, for the thread that opened it. A path of None is one in memory,
    which ends with its Store."""

    def __init__(self, path: Path | None) -> None:
        self._name = "the database in memory" if path is None else str(path)
        self._path = path
        self._depth = 0
        if path is not None:
            self._create(path)
        with self._named_errors("opened"):
            # Absolute, since a file may be called ":memory:".
            self.connection = sqlite3.connect(
                ":memory:" if path is None else path.absolute(),
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
            )
        try:
            with self._named_errors("opened"):
                self._open()
        except BaseException:
            self.connection.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything inside is written, or, on any exception, nothing of it.

        Inside another transaction it is a part of that one: undone alone when it fails, and with
        the outer one when that fails. No `await` inside: the connection is everybody's.
        """
        point = f"depth_{self._depth}"
        begin, commit = "BEGIN IMMEDIATE", "COMMIT"
        rollback: tuple[str, ...] = ("ROLLBACK",)
        if self._depth:
            begin, commit = f"SAVEPOINT {point}", f"RELEASE {point}"
            rollback = (f"ROLLBACK TO {point}", commit)
        with self._named_errors("written"):
            self.connection.execute(begin)
            self._depth += 1
            try:
                yield self.connection
                self.connection.execute(commit)
            except BaseException:
                # A full disk ends a transaction by itself.
                if self.connection.in_transaction:
                    for statement in rollback:
                        self.connection.execute(statement)
                raise
            finally:
                self._depth -= 1

    # -- opening ---------------------------------------------------------------------------

    def _create(self, path: Path) -> None:
        """An empty file for its owner alone, if there is none; SQLite's own files beside it follow
        its mode. A folder that was there keeps its mode: it may be anybody's."""
        try:
            path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE))
            # SQLite takes what is shorter than any page for an empty file, and would write over it.
            if 0 < path.stat().st_size < LEAST_DATABASE_BYTES:
                raise StoreError(f"{self._name} cannot be opened: file is not a database")
        except StoreError:
            raise
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise StoreError(f"{self._name} cannot be opened: {reason}") from None

    def _open(self) -> None:
        # Looked at before anything is set: somebody else's file stays as it is. The two values
        # are read at one moment, since another process may be making the tables.
        self.connection.execute("BEGIN")
        self._require_version()
        self.connection.execute("COMMIT")
        if self._path is not None:
            self._path.chmod(FILE_MODE)
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "secure_delete = ON",
            # KiB: the inventory of a campaign is read without going to the disk for every page.
            "cache_size = -32768",
            # Else INSERT OR REPLACE deletes rows past the triggers that refuse it.
            "recursive_triggers = ON",
        ):
            self.connection.execute(f"PRAGMA {pragma}").fetchall()
        with self.transaction():
            # Once more, for two that open a new file at one time.
            if self._require_version() == SCHEMA_VERSION:
                return
            for statement in (*_TABLES.split(";")[:-1], *_TRIGGERS):
                self.connection.execute(statement)
            self.connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _require_version(self) -> int:
        """SCHEMA_VERSION, or 0 for a new file. Raises StoreError for anything else."""
        version: int
        (version,) = self.connection.execute("PRAGMA user_version").fetchone()
        (tables,) = self.connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if version == SCHEMA_VERSION or (version == 0 and not tables):
            return version
        if version == 0:
            raise StoreError(f"{self._name} is a database of something else than a DSP")
        raise StoreError(
            f"{self._name} is a database of version {version}, this hanbench has version "
            f"{SCHEMA_VERSION}: use the hanbench that made it, or a new folder"
        )

    @contextmanager
    def _named_errors(self, done: str) -> Iterator[None]:
        """What the caller cannot help as a StoreError: a full disk, a lock, a damaged file.
        Broken constraints and statements that are none stay what they are."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISUSE):
                raise
            raise StoreError(f"{self._name} cannot be {done}: {error}") from error
