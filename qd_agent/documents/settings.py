"""Settings of the documents: which transport, and which frames are of interest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, Self, TypeAlias, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

MEBIBYTE = 1 << 20

Broker = Annotated[str, StringConstraints(pattern=r"^[^,\s]+:\d+$")]
Topic = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class ZmqSettings(BaseModel):
    """Documents from ZMQ, as bluesky's Publisher and Proxy send them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["zmq"] = Field(default="zmq", description="the transport; this one when left out")
    address: str = Field(
        default="tcp://127.0.0.1:5578",
        min_length=1,
        description="endpoint to connect to: the outgoing side of the bluesky proxy",
    )
    prefix: str = Field(
        default="",
        pattern=r"^[^ ]*$",
        description="take documents with this prefix only; empty takes every prefix; no spaces",
    )
    max_document_bytes: int = Field(
        default=64 * MEBIBYTE, ge=1024, description="larger documents are refused, bytes"
    )
    receive_high_water_mark: int = Field(
        default=10_000,
        ge=1,
        description="documents that the socket holds for us before it drops newer ones",
    )
    curve_server_key: Path | None = Field(
        default=None,
        description="file with the publisher's (or proxy's) public key, as `qd-agent keys` makes "
        "it: documents are taken from who holds its secret half only, and travel encrypted (CURVE)",
    )
    curve_secret_key: Path | None = Field(
        default=None,
        description="file with the agent's own key pair for CURVE, readable by its owner alone; "
        "the publisher must know its public half",
    )

    @model_validator(mode="after")
    def _both_keys_or_none(self) -> Self:
        if (self.curve_server_key is None) != (self.curve_secret_key is None):
            raise ValueError(
                "CURVE needs both curve_server_key and curve_secret_key; `qd-agent keys DIR` makes "
                "them"
            )
        return self

    @property
    def shown(self) -> str:
        """Where documents come from, in a few words."""
        return self.address


class KafkaSettings(BaseModel):
    """Documents from Kafka, as bluesky-kafka's Publisher sends them."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    kind: Literal["kafka"] = Field(description="the transport; needs `qd-agent[kafka]`")
    brokers: list[Broker] = Field(min_length=1, description="some of the brokers, host:port each")
    topics: list[Topic] = Field(
        min_length=1, description="topics that documents are published to, such as nsls2.bluesky"
    )
    group: str = Field(
        default="qd-agent",
        min_length=1,
        max_length=255,
        description="consumer group: agents of one group share the documents among them, so give "
        "every agent its own",
    )
    start: Literal["earliest", "latest"] = Field(
        default="earliest",
        description="where a group begins that has never read: earliest, all that the brokers have "
        "kept; latest, with what comes from now on",
    )
    max_document_bytes: int = Field(
        default=64 * MEBIBYTE, ge=1024, description="larger documents are refused, bytes"
    )
    security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
        default="plaintext",
        description="ssl: encrypted; sasl: with a user and a password; sasl_ssl: both",
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="how the password is shown"
    )
    sasl_username: str | None = Field(default=None, min_length=1, description="user, for sasl")
    sasl_password_file: Path | None = Field(
        default=None, description="file whose first line is the password"
    )
    sasl_password_env: EnvironmentName | None = Field(
        default=None, description="environment variable that holds the password"
    )
    tls_ca_file: Path | None = Field(
        default=None,
        description="PEM file of the CA that vouches for the brokers; without it those that the "
        "system trusts",
    )
    tls_certificate_file: Path | None = Field(
        default=None, description="PEM file of our own certificate, for brokers that ask for one"
    )
    tls_key_file: Path | None = Field(
        default=None, description="PEM file of its private key, without a passphrase"
    )

    @model_validator(mode="after")
    def _secrets_fit_the_security(self) -> Self:
        passwords = [self.sasl_password_file, self.sasl_password_env]
        given = sum(password is not None for password in passwords)
        if self.security.startswith("sasl"):
            if self.sasl_username is None or given != 1:
                raise ValueError(
                    f"{self.security} needs sasl_username and one of sasl_password_file and "
                    "sasl_password_env"
                )
        elif given or self.sasl_username is not None:
            raise ValueError(f"a user or password is given, but security is {self.security}")
        files = (self.tls_ca_file, self.tls_certificate_file, self.tls_key_file)
        if any(files) and not self.encrypted:
            raise ValueError(f"files for TLS are given, but security is {self.security}")
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_certificate_file and tls_key_file go together")
        return self

    @property
    def encrypted(self) -> bool:
        """Whether documents travel encrypted."""
        return self.security.endswith("ssl")

    @property
    def shown(self) -> str:
        """Where documents come from, in a few words."""
        return f"{'+'.join(self.topics)} at {self.brokers[0]}"


class TiledStreamSettings(BaseModel):
    """Documents from the raw runs in Tiled (`tiled.uri`, `tiled.raw_container`), as they grow."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["tiled"] = Field(description="the transport; Tiled needs a streaming cache")
    max_message_bytes: int = Field(
        default=256 * MEBIBYTE,
        ge=1 << 16,
        description="larger updates (a whole image inside of one) are skipped; what they announce "
        "is read all the same",
    )
    poll_s: float = Field(
        default=30.0,
        ge=1.0,
        description="an open run of which no update comes is read again after so long, s",
    )

    @property
    def shown(self) -> str:
        """Where documents come from, in a few words."""
        return "the raw runs in Tiled"


def _kind(value: object) -> str:
    """Tell settings apart by their `kind`; without one they are ZMQ's, as before the choice."""
    if isinstance(value, Mapping):
        kind = cast("Mapping[str, object]", value).get("kind", "zmq")
    else:
        kind = getattr(value, "kind", "zmq")
    return kind if isinstance(kind, str) else "no text"


SourceSettings: TypeAlias = Annotated[
    Annotated[ZmqSettings, Tag("zmq")]
    | Annotated[KafkaSettings, Tag("kafka")]
    | Annotated[TiledStreamSettings, Tag("tiled")],
    Discriminator(_kind),
]
"""Settings of one source of documents; `kind` says which."""

KINDS: Mapping[str, type[BaseModel]] = MappingProxyType(
    {"zmq": ZmqSettings, "kafka": KafkaSettings, "tiled": TiledStreamSettings}
)
"""The settings of sources by their `kind`."""


class RouterSettings(BaseModel):
    """Which streams and data keys hold frames to be sized, and how much may be held back."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    streams: list[str] = Field(
        default=["primary"], min_length=1, description="event streams whose frames are sized"
    )
    dark_streams: list[str] = Field(
        default=["dark"], description="event streams whose frames are dark frames"
    )
    data_keys: list[str] | None = Field(
        default=None,
        description="data keys of the detectors; none given means every key that declares a "
        "two-dimensional array, inside the event or in a file",
    )
    strips: list[str] = Field(
        default=[],
        description="data keys of detectors with one axis (strips, or images integrated already); "
        "those that `detectors` describes as such need not be named here",
    )

    max_open_runs: int = Field(
        default=64,
        ge=1,
        description="runs followed at once; beyond it the one silent for longest is closed",
    )
    max_waiting_frames: int = Field(
        default=100_000,
        ge=1,
        description="frames held back until their event comes; beyond it the oldest go on "
        "without readings; also the largest number of frames that one document may announce",
    )

    quiet_s: float = Field(
        default=60.0,
        ge=1.0,
        description="an open run whose files have not grown for so long is looked into: frames in "
        "them that nobody announced are taken, and none waits for its event any longer, s",
    )

    @model_validator(mode="after")
    def _streams_are_one_or_the_other(self) -> Self:
        both = set(self.streams) & set(self.dark_streams)
        if both:
            raise ValueError(f"{sorted(both)} cannot be both in streams and in dark_streams")
        return self
