"""The options of everything that goes out, and the federation that they make."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter

from ranvier.config import Config, Outgoing, Peer, load_config
from ranvier.edges import load_edge
from ranvier.errors import BadConfiguration, Malformed
from ranvier.federation import Federation
from ranvier.protocol.addresses import parse_address
from ranvier.protocol.names import parse_server_name_2014
from ranvier.protocol.routes import Mode
from ranvier.services.trust import TrustMode


@Parameter(name="*")
@dataclass(frozen=True)
class Going:
    """Shared by every command that asks others."""

    config: Path | None = None
    """Read this ranvier.toml first, and use its store; the options below win over it."""
    dns: Annotated[list[str], Parameter(negative="", show_default=False)] = field(
        default_factory=list
    )
    """DNS server as IP or IP:PORT, instead of the system's. May be given again."""
    ca: Path | None = None
    """PEM file of the authorities to believe, instead of the system's."""
    mode: Literal["current", "2014"] | None = None
    """By which text NAME is found and asked: today's, or that of November 2014 (DNS alone,
    key version 1). Without it: current, or what the configuration says of NAME."""
    trust: str | None = None
    """web-pki (the default), published-certificate (the rule of 2014, for NAME alone, by
    first use), or what NAME enters by under that rule: sha256:HEX of its certificate, or
    KEYID=BASE64 of its verify key."""
    allow_private: Annotated[bool, Parameter(negative="", show_default=False)] = False
    """Connect to private and loopback addresses too."""
    timeout: float | None = None
    """Seconds for one whole answer, 60 if not given."""
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False
    """Print the same facts as JSON."""

    def federation(
        self, name: str, *, data: Path | None = None, origin: str | None = None
    ) -> Federation:
        """A federation that asks as these options say; it sends nothing that waits.

        ``data``: where our files are if nothing is configured; ``origin``: our own name in
        place of the configured one. Raises: BadConfiguration, Malformed.
        """
        config = load_config(self.config) if self.config else Config(data=str(data or "."))
        listed = self._peer(name, config)
        return Federation(
            origin,
            config=msgspec.structs.replace(
                config,
                outgoing=self._outgoing(config.outgoing),
                peers=(listed, *config.peers) if listed else config.peers,
            ),
            store=config.path(config.store.path) if self.config else None,
            delivering=False,
        )

    def chosen_mode(self) -> Mode | None:
        """The mode that was asked for."""
        return None if self.mode is None else Mode(self.mode)

    def _outgoing(self, outgoing: Outgoing) -> Outgoing:
        if self.ca is not None and not load_edge("is-there")(self.ca):
            raise BadConfiguration("config-ca-file", f"--ca: there is no file {str(self.ca)!r}")
        for each in self.dns:
            _check_dns(each)
        return msgspec.structs.replace(
            outgoing,
            dns=tuple(self.dns) or outgoing.dns,
            ca_file=str(self.ca) if self.ca else outgoing.ca_file,
            allow_private=self.allow_private or outgoing.allow_private,
            timeout=outgoing.timeout if self.timeout is None else self.timeout,
        )

    def _peer(self, name: str, config: Config) -> Peer | None:
        """What ``--mode`` and ``--trust`` say, for this one name and no other (SEC-20).

        What only one of them says leaves the other as the configuration has it.
        """
        if self.mode is None and self.trust is None:
            return None
        parsed = parse_server_name_2014(name)
        listed = next((peer for peer in config.peers if peer.rule().lists(parsed)), Peer())
        listed = msgspec.structs.replace(listed, names=(name,), networks=())
        if self.mode is not None:
            listed = msgspec.structs.replace(listed, mode=Mode(self.mode))
        if self.trust is not None:
            trust, leaves, verify_keys = _trust(self.trust)
            listed = msgspec.structs.replace(
                listed, trust=trust, certificate_sha256=leaves, verify_keys=verify_keys
            )
        return listed


def _check_dns(text: str) -> None:
    """A slip of the pen is named by its option."""
    try:
        parse_address(text, 53)
    except Malformed as error:
        raise Malformed(error.code, f"--dns: {error.message}", clause=error.clause) from None


def _trust(text: str) -> tuple[TrustMode, tuple[str, ...], dict[str, str]]:
    if text == TrustMode.WEB_PKI:
        return TrustMode.WEB_PKI, (), {}
    if text == TrustMode.PUBLISHED_CERTIFICATE:
        return TrustMode.PUBLISHED_CERTIFICATE, (), {}
    if text.startswith("sha256:"):
        return TrustMode.PUBLISHED_CERTIFICATE, (text.removeprefix("sha256:"),), {}
    key_id, found, key = text.partition("=")
    if found and ":" in key_id:
        return TrustMode.PUBLISHED_CERTIFICATE, (), {key_id: key}
    raise BadConfiguration(
        "config-trust",
        f"--trust {text!r}: use web-pki, published-certificate, sha256:HEX or KEYID=BASE64",
    )
