"""Every setting of one installation: its type, its default, its purpose and unit, and what None means.

These texts are what `headwater config explain` prints. Rooms never see this file: they are handed plain values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from headwater.core.duration import parse_ms
from headwater.core.errors import ConfigError, DeclarationError
from headwater.serving.scopes import parse as parse_scopes

PREFIX = "HEADWATER_"


def _duration(text: str) -> str:
    try:
        parse_ms(text)
    except DeclarationError as error:
        raise ValueError("a duration like 250ms, 3h or 7d") from error
    return text


def _scopes(text: str) -> str:
    try:
        parse_scopes(text, where="")
    except ConfigError as error:
        raise ValueError(f"all, nothing, or {error.expected}") from error
    return text


Duration = Annotated[str, AfterValidator(_duration)]
Count = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Server(_Section):
    """The door: where events and questions come in, and how much waits there."""

    host: str = "127.0.0.1"
    """Address to listen on. The default is reachable from this machine only; 0.0.0.0 means every interface."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """TCP port to listen on; 0 lets the system choose a free one."""
    token_file: Path | None = None
    """File with a token that opens everything, sent as `Authorization: Bearer ...`. None means that only keys do."""
    without_key: Annotated[str, AfterValidator(_scopes)] = "all"
    """What callers without a key may do where host is a loopback address and no token is set: all, nothing, or scopes."""
    hosts: str = ""
    """Names, separated by commas and without port, under which the gateway may be called besides the loopback ones."""
    max_event_bytes: Count = 1 << 20
    """Longest text of one event, in bytes; a longer one goes to quarantine, cut to this length."""
    max_body_bytes: Count = 64 << 20
    """Longest request body, in bytes; beyond it the answer is 413 and nothing is stored."""
    max_waiting_events: Count = 100_000
    """Number of events that a gateway holds in memory before they are on disk; beyond it the answer is 429."""
    max_lag_events: Count = 100_000
    """Number of events on disk that the learner may still have to learn; beyond it the answer to more is 503."""
    linger_ms: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How long a commit waits for company when several producers are at the door, in milliseconds, 0 to 1."""
    silent_s: Annotated[float, Field(ge=1, le=3600)] = 60.0
    """A gateway that lives and answers nobody for so long, in seconds, is ended, and another started in its place."""
    model_deadline_ms: Annotated[float, Field(gt=0, le=60_000)] = 300.0
    """Longest time for an answer of a model that runs in a process of its own, in milliseconds; then the last good one's."""
    model_memory_mb: Count = 2048
    """What such a model may take of memory, in MiB, beyond what it shares with the others."""


class Log(_Section):
    """The log of events: the only truth."""

    url: str | None = None
    """Where the log lives, for example lmdb:///var/lib/headwater/log. None means LMDB inside the state directory."""
    dedupe_for: Duration = "7d"
    """How long an event's id is remembered, as a duration of arrival time; a resend within it is stored once."""
    retention_age: Duration | None = None
    """Events older than this (a duration of event time) may be dropped. None means that all are kept."""
    retention_bytes: Count | None = None
    """The oldest events are dropped where the log is larger than this, in bytes. None means that all are kept."""

    @property
    def dedupe_for_ms(self) -> int:
        return parse_ms(self.dedupe_for)

    @property
    def retention_age_ms(self) -> int | None:
        return None if self.retention_age is None else parse_ms(self.retention_age)


class Learner(_Section):
    """The loop that learns: how often it saves and publishes."""

    checkpoint_every_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Longest time between two checkpoints of the stream's progress, in seconds; a restart folds the rest again."""
    checkpoint_every_events: Count = 100_000
    """Number of events after which a checkpoint is due; a disk that takes longer to write one makes it more."""
    publish_every_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 2.0
    """Shortest time between two snapshots handed to the gateways, in milliseconds; 0 publishes after every batch."""
    idle_after: Duration | None = "10m"
    """A source silent for this long (a duration of wall time) no longer holds the watermark back. None means never idle."""
    model_deadline_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """Longest time that a model in a process of its own may take to learn a block, or to score some questions, in seconds."""
    model_memory_mb: Count = 4096
    """What such a model may take of memory, in MiB, beyond what it shares with the others."""
    tell_features: bool = False
    """true = write the features of every question to the stream _features, for its followers, with each checkpoint."""

    @property
    def idle_after_ms(self) -> int | None:
        return None if self.idle_after is None else parse_ms(self.idle_after)


class Logging(_Section):
    """What the processes tell of themselves on stderr."""

    format: Literal["console", "json"] = "console"
    """console = lines for a person; json = one JSON object per line for a collector."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least serious message that is written."""


class Settings(BaseSettings):
    """All settings of one installation; `config.load` makes it."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="_", env_nested_max_split=1, env_ignore_empty=True,
        env_parse_none_str="none", extra="forbid", frozen=True, use_attribute_docstrings=True,
    )  # fmt: skip

    state_dir: Path = Path(".headwater")
    """Folder of everything that must survive a restart. A relative one in the file counts from the file's folder."""
    server: Server = Server()
    log: Log = Log()
    learner: Learner = Learner()
    logging: Logging = Logging()

    @property
    def log_url(self) -> str:
        """The log's URL, also where none is set."""
        return self.log.url or f"lmdb://{quote(str((self.state_dir / 'log').resolve()))}"

    @property
    def registry_dir(self) -> Path:
        """The folder of the catalogue of versions and of their files."""
        return self.state_dir / "registry"
