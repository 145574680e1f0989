"""Where jobs and their results are kept, so that a server which was killed goes on with them."""

import json
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

FAULT = "an error of the server, which its log names"
"""Why a job failed that did nothing wrong."""


class State(StrEnum):
    """What a job has come to."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self in (State.DONE, State.FAILED, State.CANCELLED)


@dataclass(frozen=True)
class Job:
    """Something that was asked of a model.

    Args:
        id: its name, which cannot be guessed.
        model: name of the model.
        verb: what to do.
        request: the numbers and words, as JSON values.
        files: what was uploaded, by name: the suffix of its form and its bytes.
        state: what it has come to.
        reason: why it failed, in a sentence.
        created: when it was submitted, in seconds since 1970.
        finished: when it was over, or None.
    """

    id: str
    model: str
    verb: str
    request: Mapping[str, Any]
    files: Mapping[str, tuple[str, bytes]] = field(default_factory=dict)
    state: State = State.QUEUED
    reason: str | None = None
    created: float = field(default_factory=time.time)
    finished: float | None = None


@dataclass(frozen=True)
class Result:
    """What a job gave.

    Args:
        media: type of the content.
        name: of a file to keep it in.
        data: the content.
    """

    media: str
    name: str
    data: bytes


@dataclass(frozen=True)
class Outcome:
    """How a job ended, or is so far.

    Args:
        state: what it has come to.
        reason: why it failed, in a sentence.
        result: what it gave.
    """

    state: State
    reason: str | None = None
    result: Result | None = None

    @property
    def ours(self) -> bool:
        """Whether it failed by a fault of the server."""
        return self.reason == FAULT


class Store(ABC):
    """Jobs by their names; safe to be asked by several threads."""

    @abstractmethod
    def put(self, job: Job) -> None:
        """Keep a new job, with its files."""

    @abstractmethod
    def move(self, id: str, state: State, reason: str | None = None, result: Result | None = None) -> bool:
        """Say how a job ended; whether that is news, which it is not for one that is over."""

    @abstractmethod
    def get(self, id: str) -> Job | None:
        """The job of a name, or None."""

    @abstractmethod
    def result(self, id: str) -> Result | None:
        """What it gave, or None."""

    @abstractmethod
    def pending(self) -> Sequence[Job]:
        """Jobs that are not over, the oldest first; that one runs is known to the server alone that runs it."""

    @abstractmethod
    def forget(self, before: float) -> None:
        """Drop jobs that were over before a time."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the files."""


_TABLES = """
create table if not exists jobs (id text primary key, model text, verb text, request text, state text, reason text,
    created real, finished real, media text, name text, data blob);
create table if not exists files (job text, name text, suffix text, data blob, primary key (job, name));
create index if not exists by_state on jobs (state);
create index if not exists by_finished on jobs (finished);
"""


class SQLite(Store):
    """Jobs in a file of SQLite.

    Args:
        path: of the file; ":memory:" keeps nothing.
    """

    def __init__(self, path: str | Path) -> None:
        self._lock = threading.Lock()
        self._base = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._base.row_factory = sqlite3.Row
        self._base.execute("pragma journal_mode = wal")
        self._base.execute("pragma synchronous = normal")  # a killed server loses nothing; a power cut, the last moment
        self._base.executescript(_TABLES)
        self._base.execute("update jobs set state = 'queued' where state = 'running'")  # which servers once kept

    def put(self, job: Job) -> None:
        """See the base class."""
        values = (job.id, job.model, job.verb, json.dumps(job.request), job.state, job.created)
        with self._lock, self._base:
            self._base.execute("begin")
            self._base.execute("insert into jobs (id, model, verb, request, state, created) values (?, ?, ?, ?, ?, ?)",
                               values)  # fmt: skip
            rows = [(job.id, name, suffix, data) for name, (suffix, data) in job.files.items()]
            self._base.executemany("insert into files values (?, ?, ?, ?)", rows)

    def move(self, id: str, state: State, reason: str | None = None, result: Result | None = None) -> bool:
        """See the base class."""
        given = (None, None, None) if result is None else (result.media, result.name, result.data)
        with self._lock, self._base:
            self._base.execute("begin")
            changed = self._base.execute(
                "update jobs set state = ?, reason = ?, finished = ?, media = ?, name = ?, data = ?"
                " where id = ? and state = 'queued'",
                (state, reason, time.time(), *given, id),
            ).rowcount
            self._base.execute("delete from files where job = ?", (id,))
        return bool(changed)

    def get(self, id: str) -> Job | None:
        """See the base class."""
        found = self._rows("select * from jobs where id = ?", id)
        return self._job(found[0]) if found else None

    def result(self, id: str) -> Result | None:
        """See the base class."""
        found = self._rows("select media, name, data from jobs where id = ? and data is not null", id)
        return Result(*found[0]) if found else None

    def pending(self) -> Sequence[Job]:
        """See the base class."""
        return [*map(self._job, self._rows("select * from jobs where state = 'queued' order by created, rowid"))]

    def forget(self, before: float) -> None:
        """See the base class."""
        with self._lock:
            self._base.execute("delete from jobs where finished < ?", (before,))

    def close(self) -> None:
        """See the base class."""
        with self._lock:
            self._base.close()

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock, closing(self._base.execute(query, values)) as found:
            return found.fetchall()

    def _job(self, row: sqlite3.Row) -> Job:
        files = self._rows("select name, suffix, data from files where job = ?", row["id"])
        return Job(
            row["id"],
            row["model"],
            row["verb"],
            json.loads(row["request"]),
            {name: (suffix, data) for name, suffix, data in files},
            State(row["state"]),
            row["reason"],
            row["created"],
            row["finished"],
        )
