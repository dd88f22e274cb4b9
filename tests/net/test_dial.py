"""Dialling: real sockets, real handshakes, every bad certificate, and what the listener saw."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import warnings
from pathlib import Path

import pytest

from ranvier.errors import (
    AddressRefused,
    BadConfiguration,
    ConnectFault,
    Malformed,
    NetworkFault,
    TimedOut,
    TlsFault,
)
from ranvier.limits import Limits
from ranvier.net.clock import SystemClock
from ranvier.net.dial import NetWire
from ranvier.plugs import HttpRequest
from ranvier.protocol.addresses import Address, AddressPolicy
from ranvier.protocol.names import TlsName
from ranvier.protocol.trust import FirstContact, Pinned, Trust, WebPki
from tests.rigs import certs
from tests.rigs.certs import Kind
from tests.rigs.tls import TlsListener, answering

NAME = TlsName("a.test")
LOOPBACK = TlsName("127.0.0.1", is_ip=True)
LOOPBACK_6 = TlsName("::1", is_ip=True)
GET = HttpRequest(method="GET", target="/", host="a.test")

BAD = [
    (Kind.MISSING_INTERMEDIATE, NAME, "tls-unknown-authority"),
    (Kind.WRONG_NAME, NAME, "tls-name-mismatch"),
    (Kind.UNKNOWN_AUTHORITY, NAME, "tls-unknown-authority"),
    (Kind.SELF_SIGNED, NAME, "tls-self-signed"),
    (Kind.EXPIRED, NAME, "tls-expired"),
    (Kind.NOT_YET_VALID, NAME, "tls-not-yet-valid"),
    (Kind.COMMON_NAME_ONLY, NAME, "tls-common-name-only"),
    (Kind.V1_SELF_SIGNED, NAME, "tls-self-signed"),
    (Kind.CLIENT_ONLY, NAME, "tls-certificate-purpose"),
    (Kind.WEAK_KEY, NAME, "tls-weak"),
    (Kind.WRONG_NAME, LOOPBACK, "tls-name-mismatch"),
    (Kind.COMMON_NAME_ONLY, LOOPBACK, "tls-common-name-only"),
    (Kind.IP_TEXT_AS_DNS, LOOPBACK, "tls-name-mismatch"),
]


async def say_hello(wire: NetWire, to: Address, name: TlsName, trust: Trust) -> int:
    link = await wire.dial(to, name, trust)
    try:
        return (await link.exchange(GET, Limits().exchange(body_bytes=1000))).status
    finally:
        await link.close()


# The judgement


@pytest.mark.req("TLS-02", "TLS-09", "TLS-10")
@pytest.mark.parametrize(("kind", "name", "code"), BAD, ids=lambda value: str(value))
async def test_a_bad_certificate_is_refused_and_not_one_application_byte_is_sent(
    wire: NetWire, kind: Kind, name: TlsName, code: str
) -> None:
    identity = certs.certificate(kind, name.text)
    with TlsListener(identity, answering()) as listener:
        with pytest.raises(TlsFault) as refused:
            await wire.dial(listener.address, name, WebPki())
        listener.settle()
    assert refused.value.code == code
    assert refused.value.certificates == identity.chain
    assert refused.value.clause == "[s2s:tls]"
    assert listener.accepted == 2, "the judged connection, and the look for evidence"
    assert listener.application_bytes == b""


@pytest.mark.req("TLS-02")
@pytest.mark.parametrize("kind", [Kind.GOOD, Kind.WITH_INTERMEDIATE])
async def test_a_good_certificate_is_taken_and_its_facts_are_known(
    wire: NetWire, kind: Kind
) -> None:
    identity = certs.certificate(kind, "a.test")
    with TlsListener(identity, answering()) as listener:
        link = await wire.dial(listener.address, NAME, WebPki())
        assert (await link.exchange(GET, Limits().exchange(body_bytes=9))).body == b"{}"
        await link.close()
    facts = link.facts
    assert facts.address == listener.address
    assert facts.certificates.chain == identity.chain
    assert facts.tls_version == listener.connections[0].version == "TLSv1.3"
    assert facts.cipher == listener.connections[0].cipher
    assert facts.tcp_seconds > 0
    assert facts.tls_seconds > 0
    assert listener.accepted == 1


@pytest.mark.req("SEC-11", "DISC-11")
async def test_a_certificate_for_the_srv_target_alone_is_refused(wire: NetWire) -> None:
    with TlsListener(certs.good("target.test"), answering()) as listener:
        with pytest.raises(TlsFault, match="not good for") as refused:
            await wire.dial(listener.address, NAME, WebPki())
        listener.settle()
        assert listener.application_bytes == b""
        listener.identity = certs.good("a.test")
        assert await say_hello(wire, listener.address, NAME, WebPki()) == 200
    assert refused.value.code == "tls-name-mismatch"


@pytest.mark.req("TLS-02")
async def test_a_wildcard_covers_one_label(wire: NetWire) -> None:
    with TlsListener(certs.good("*.a.test"), answering()) as listener:
        assert await say_hello(wire, listener.address, TlsName("b.a.test"), WebPki()) == 200
        for name in ("a.test", "c.b.a.test"):
            with pytest.raises(TlsFault):
                await wire.dial(listener.address, TlsName(name), WebPki())


@pytest.mark.req("TLS-06", "DISC-17")
async def test_sni_is_the_tls_name_and_case_does_not_matter_to_the_certificate(
    wire: NetWire,
) -> None:
    with TlsListener(certs.good("a.test"), answering()) as listener:
        assert await say_hello(wire, listener.address, NAME, WebPki()) == 200
        assert await say_hello(wire, listener.address, TlsName("A.Test"), WebPki()) == 200
        await wire.look(listener.address, TlsName("looked.test"))
    assert [each.sni for each in listener.connections] == ["a.test", "A.Test", "looked.test"]


@pytest.mark.req("TLS-07", "TLS-10")
async def test_an_ip_address_has_no_sni_and_needs_an_ip_san(wire: NetWire) -> None:
    with TlsListener(certs.good("127.0.0.1", "::1"), answering()) as listener:
        assert await say_hello(wire, listener.address, LOOPBACK, WebPki()) == 200
        assert await say_hello(wire, listener.address, LOOPBACK_6, WebPki()) == 200
        await wire.look(listener.address, LOOPBACK)
    assert [each.sni for each in listener.connections] == [None, None, None]


async def test_ipv6_is_dialled(wire: NetWire) -> None:
    with TlsListener(certs.good("::1"), answering(), ip="::1") as listener:
        assert await say_hello(wire, listener.address, LOOPBACK_6, WebPki()) == 200
    assert listener.connections[0].client.ip == "::1"


# Authorities


@pytest.mark.req("TLS-04")
async def test_an_own_ca_file_replaces_the_systems_authorities(
    clock: SystemClock, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", certs.authority().file)
    policy = AddressPolicy(allow_private=True)
    wire = NetWire(clock, limits, policy, certs.unknown_authority().file)
    with TlsListener(certs.certificate(Kind.UNKNOWN_AUTHORITY, "a.test"), answering()) as listener:
        assert await say_hello(wire, listener.address, NAME, WebPki()) == 200
        listener.identity = certs.good("a.test")
        with pytest.raises(TlsFault):
            await wire.dial(listener.address, NAME, WebPki())


@pytest.mark.req("TLS-03")
async def test_an_authority_in_the_systems_store_is_honoured(
    clock: SystemClock, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = AddressPolicy(allow_private=True)
    with TlsListener(certs.good("a.test"), answering()) as listener:
        with pytest.raises(TlsFault):
            await NetWire(clock, limits, policy).dial(listener.address, NAME, WebPki())
        monkeypatch.setenv("SSL_CERT_FILE", certs.authority().file)
        wire = NetWire(clock, limits, policy)
        assert await say_hello(wire, listener.address, NAME, WebPki()) == 200


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b"", "is no PEM file"), (b"no certificate\n", "is no PEM file")],
)
def test_a_ca_file_that_cannot_be_used_is_bad_configuration(
    clock: SystemClock, limits: Limits, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadConfiguration, match=rf"ca\.pem.*{reason}") as told:
        NetWire(clock, limits, AddressPolicy(), str(file)).prepare()
    assert told.value.code == "ca-file-unusable"


async def test_certificates_that_only_the_strict_rules_refuse_are_taken(wire: NetWire) -> None:
    """No key identifiers, as in many a home-made chain: Python 3.13 would refuse by default."""
    wire.prepare()
    context = wire._contexts.of(WebPki())
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert not context.hostname_checks_common_name
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_context_is_made_once_per_trust(wire: NetWire) -> None:
    assert wire._contexts.of(WebPki()) is wire._contexts.of(WebPki())
    assert wire._contexts.of(FirstContact()) is wire._contexts.of(Pinned(frozenset()))
    assert wire._contexts.of(WebPki()) is not wire._contexts.of(FirstContact())


# Pins and first contact


@pytest.mark.req("TLS-05", "SEED-18", "TLS-09")
@pytest.mark.parametrize("kind", list(Kind))
async def test_a_pin_looks_at_the_leaf_and_at_nothing_else(wire: NetWire, kind: Kind) -> None:
    identity = certs.certificate(kind, "a.test")
    other = certs.good("other.test")
    with TlsListener(identity, answering()) as listener:
        pin = Pinned(frozenset({identity.fingerprint, other.fingerprint}))
        assert await say_hello(wire, listener.address, NAME, pin) == 200
        before = listener.application_bytes
        with pytest.raises(TlsFault, match=identity.fingerprint) as refused:
            await wire.dial(listener.address, NAME, Pinned(frozenset({other.fingerprint})))
        listener.settle()
        assert listener.application_bytes == before
    assert refused.value.code == "tls-pin-mismatch"
    assert refused.value.certificates == identity.chain


@pytest.mark.parametrize("kind", list(Kind))
async def test_first_contact_takes_any_certificate(wire: NetWire, kind: Kind) -> None:
    with TlsListener(certs.certificate(kind, "a.test"), answering()) as listener:
        assert await say_hello(wire, listener.address, NAME, FirstContact()) == 200
    assert listener.connections[0].sni == "a.test"


@pytest.mark.parametrize("kind", list(Kind))
async def test_a_look_takes_the_chain_and_sends_nothing(wire: NetWire, kind: Kind) -> None:
    identity = certs.certificate(kind, "a.test")
    with TlsListener(identity, answering()) as listener:
        assert (await wire.look(listener.address, NAME)).chain == identity.chain
        listener.settle()
    assert listener.connections[0].handshake == "done"
    assert listener.application_bytes == b""


# Addresses


@pytest.mark.req("SEC-05", "TLS-09", "D25")
@pytest.mark.parametrize(
    "ip",
    ["127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "10.0.0.1",
     "169.254.169.254", "fe80::1", "fd00::1", "0.0.0.0", "::", "224.0.0.1"],
)  # fmt: skip
async def test_no_connection_is_made_to_a_private_address(
    clock: SystemClock, limits: Limits, ip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_socket(*_: object) -> None:
        raise AssertionError("a socket was made")

    wire = NetWire(clock, limits, AddressPolicy(), certs.authority().file)
    with TlsListener(certs.good("a.test"), answering()) as listener:
        monkeypatch.setattr("ranvier.net.stream.socket.socket", no_socket)
        for trust in (WebPki(), FirstContact(), Pinned(frozenset())):
            with pytest.raises(AddressRefused) as refused:
                await wire.dial(Address(ip, listener.address.port), NAME, trust)
            assert refused.value.code == "address-refused"
        with pytest.raises(AddressRefused):
            await wire.look(Address(ip, listener.address.port), NAME)
        monkeypatch.undo()
    assert listener.accepted == 0


@pytest.mark.req("SEC-05")
async def test_an_exact_address_may_be_allowed_and_its_neighbour_port_is_not(
    clock: SystemClock, limits: Limits
) -> None:
    identity = certs.good("a.test")
    with TlsListener(identity, answering()) as ours, TlsListener(identity, answering()) as other:
        policy = AddressPolicy(allowed=frozenset({ours.address}))
        wire = NetWire(clock, limits, policy, certs.authority().file)
        assert await say_hello(wire, ours.address, NAME, WebPki()) == 200
        with pytest.raises(AddressRefused):
            await wire.dial(other.address, NAME, WebPki())
    assert other.accepted == 0


@pytest.mark.parametrize("ip", ["localhost", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", ""])
async def test_a_name_is_never_connected_to(wire: NetWire, ip: str) -> None:
    with TlsListener(certs.good("a.test"), answering()) as listener:
        with pytest.raises(Malformed):
            await wire.dial(Address(ip, listener.address.port), NAME, WebPki())
        with pytest.raises(Malformed):
            await wire.look(Address(ip, listener.address.port), NAME)
    assert listener.accepted == 0


# What goes wrong before the judgement


def _silence(sock: socket.socket, stopping: threading.Event) -> bool:
    return stopping.wait(10) or True


def _reset(sock: socket.socket, stopping: threading.Event) -> bool:
    linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    sock.recv(65536)
    return True


def _close(sock: socket.socket, stopping: threading.Event) -> bool:
    sock.recv(65536)
    return True


def _plain_http(sock: socket.socket, stopping: threading.Event) -> bool:
    first = sock.recv(65536)
    assert first[:2] == b"\x16\x03", "the first byte of all is a TLS handshake's"
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    return True


def _noise(sock: socket.socket, stopping: threading.Event) -> bool:
    sock.recv(65536)
    sock.sendall(bytes(range(256)) * 100)
    return True


def _half_a_record(sock: socket.socket, stopping: threading.Event) -> bool:
    sock.recv(65536)
    sock.sendall(b"\x16\x03\x03\x40\x00" + b"\x02\x00\x10\x00" + bytes(100))
    sock.shutdown(socket.SHUT_WR)
    return _close(sock, stopping)


@pytest.mark.req("TLS-01")
@pytest.mark.parametrize(
    ("before", "code"),
    [
        (_reset, "tls-closed"),
        (_close, "tls-closed"),
        (_half_a_record, "tls-closed"),
        (_plain_http, "tls-not-tls"),
        (_noise, "tls-not-tls"),
    ],
)
async def test_what_is_no_handshake_is_told_apart(wire: NetWire, before: object, code: str) -> None:
    with TlsListener(certs.good("a.test"), before=before) as listener:  # type: ignore[arg-type] # see the table
        for trust in (WebPki(), FirstContact()):
            with pytest.raises(TlsFault) as failed:
                await wire.dial(listener.address, NAME, trust)
            assert (failed.value.code, failed.value.certificates) == (code, ())
        with pytest.raises(TlsFault, match=r"."):
            await wire.look(listener.address, NAME)
    assert listener.accepted == 3


def _only_old(context: ssl.SSLContext) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")


async def test_old_versions_of_tls_are_refused(wire: NetWire) -> None:
    with (
        TlsListener(certs.good("a.test"), answering(), tweak=_only_old) as listener,
        pytest.raises(TlsFault) as failed,
    ):
        await wire.dial(listener.address, NAME, WebPki())
    assert failed.value.code == "tls-version"


def _only_12(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2


async def test_tls_1_2_is_spoken_and_judged_alike(wire: NetWire) -> None:
    with TlsListener(certs.good("a.test"), answering(), tweak=_only_12) as listener:
        assert await say_hello(wire, listener.address, NAME, WebPki()) == 200
        listener.identity = certs.certificate(Kind.EXPIRED, "a.test")
        seen = listener.application_bytes
        with pytest.raises(TlsFault) as refused:
            await wire.dial(listener.address, NAME, WebPki())
        listener.settle()
        assert listener.application_bytes == seen
    assert listener.connections[0].version == "TLSv1.2"
    assert refused.value.code == "tls-expired"
    assert refused.value.certificates == certs.certificate(Kind.EXPIRED, "a.test").chain


def _alert(context: ssl.SSLContext) -> None:
    context.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME


async def test_an_alert_is_told_apart(wire: NetWire) -> None:
    with (
        TlsListener(certs.good("a.test"), answering(), tweak=_alert) as listener,
        pytest.raises(TlsFault) as failed,
    ):
        await wire.dial(listener.address, NAME, WebPki())
    assert failed.value.code == "tls-alert"
    assert "UNRECOGNIZED_NAME" in failed.value.message


async def test_a_name_that_no_sni_can_carry_is_a_fault_and_no_crash(wire: NetWire) -> None:
    with TlsListener(certs.good("a.test"), answering()) as listener:
        for name in ("a..test", ".test", "a" * 64 + ".test", "a\0.test"):
            with pytest.raises(TlsFault) as failed:
                await wire.dial(listener.address, TlsName(name), WebPki())
            assert failed.value.code == "tls-name-unusable"


async def test_a_handshake_without_end_is_cut(clock: SystemClock) -> None:
    policy = AddressPolicy(allow_private=True)
    wire = NetWire(clock, Limits(handshake_bytes=100), policy, certs.authority().file)
    with (
        TlsListener(certs.good("a.test"), answering()) as listener,
        pytest.raises(TlsFault) as failed,
    ):
        await wire.look(listener.address, NAME)
    assert failed.value.code == "tls-handshake-too-long"


# No TCP, no time


async def test_a_port_where_nothing_listens_refuses(wire: NetWire) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        to = Address("127.0.0.1", free.getsockname()[1])
        with pytest.raises(ConnectFault) as failed:
            await wire.dial(to, NAME, WebPki())
    assert failed.value.code == "connect-refused"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConnectionRefusedError(111, "refused"), "connect-refused"),
        (ConnectionResetError(104, "reset"), "connect-reset"),
        (OSError(101, "no network"), "connect-unreachable"),
        (OSError(113, "no route"), "connect-unreachable"),
        (OSError(24, "too many files"), "connect-failed"),
    ],
)
async def test_each_failure_of_tcp_has_its_code(
    wire: NetWire, error: OSError, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", fails)
    with pytest.raises(ConnectFault) as failed:
        await wire.dial(Address("127.0.0.1", 1), NAME, WebPki())
    assert failed.value.code == code


async def test_a_full_backlog_runs_into_the_time_limit(clock: SystemClock) -> None:
    policy = AddressPolicy(allow_private=True)
    wire = NetWire(clock, Limits(connect_seconds=0.2), policy, certs.authority().file)
    with socket.socket() as full, socket.socket() as one, socket.socket() as two:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for each in (one, two):
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        with pytest.raises(TimedOut) as late:
            await wire.dial(Address("127.0.0.1", full.getsockname()[1]), NAME, WebPki())
    assert late.value.code == "connect-timeout"


async def test_a_silent_handshake_runs_into_the_time_limit(clock: SystemClock) -> None:
    policy = AddressPolicy(allow_private=True)
    wire = NetWire(clock, Limits(connect_seconds=0.2), policy, certs.authority().file)
    wire.prepare()
    with TlsListener(certs.good("a.test"), before=_silence) as listener:
        began = clock.tick()
        with pytest.raises(TimedOut) as late:
            await wire.dial(listener.address, NAME, WebPki())
        with pytest.raises(TimedOut):
            await wire.look(listener.address, NAME)
        assert clock.tick() - began < 5
    assert late.value.code == "tls-timeout"


async def test_evidence_that_does_not_come_leaves_the_refusal_as_it_is(clock: SystemClock) -> None:
    """The second connection is silent: the first one's verdict counts, within the same time."""
    policy = AddressPolicy(allow_private=True)
    wire = NetWire(clock, Limits(connect_seconds=1.0), policy, certs.authority().file)
    wire.prepare()
    turns = iter([False, True])

    def second_is_silent(sock: socket.socket, stopping: threading.Event) -> bool:
        return next(turns) and _silence(sock, stopping)

    identity = certs.certificate(Kind.COMMON_NAME_ONLY, "a.test")
    with TlsListener(identity, answering(), before=second_is_silent) as listener:
        began = clock.tick()
        with pytest.raises(TlsFault) as refused:
            await wire.dial(listener.address, NAME, WebPki())
        assert clock.tick() - began < 3
    assert (refused.value.code, refused.value.certificates) == ("tls-name-mismatch", ())


async def test_a_cancelled_dial_leaves_no_socket(wire: NetWire) -> None:
    with TlsListener(certs.good("a.test"), before=_silence) as listener:
        dialling = asyncio.create_task(wire.dial(listener.address, NAME, WebPki()))
        while not listener.accepted:
            await asyncio.sleep(0.01)
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling


async def test_many_at_once(wire: NetWire) -> None:
    with TlsListener(certs.good("a.test"), answering()) as listener:
        statuses = await asyncio.gather(
            *(say_hello(wire, listener.address, NAME, WebPki()) for _ in range(20))
        )
    assert statuses == [200] * 20
    assert issubclass(TlsFault, NetworkFault)
