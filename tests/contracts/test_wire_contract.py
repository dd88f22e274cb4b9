"""Every wire keeps the Wire plug's word: answers, and what each fault raises."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ranvier.errors import (
    AddressRefused,
    ConnectFault,
    ConnectionLost,
    Malformed,
    NetworkFault,
    TimedOut,
    TlsFault,
)
from ranvier.limits import ExchangeLimits
from ranvier.plugs import HttpRequest, HttpResponse
from ranvier.protocol.addresses import Address, AddressPolicy
from ranvier.protocol.certificates import fingerprint
from ranvier.protocol.names import TlsName
from ranvier.protocol.trust import FirstContact, Pinned, Trust, WebPki
from ranvier.world import Credential, Fault, Flaw
from tests.contracts.edges import IMPATIENT, PATIENT, Edge, NetEdge, Stand, WorldEdge

NAME = TlsName("a.test")
IP_NAME = TlsName("127.0.0.1", is_ip=True)
TRUSTS: list[Trust] = [WebPki(), Pinned(frozenset()), FirstContact()]
GET = HttpRequest(method="GET", target="/", host="a.test")
LIMITS = ExchangeLimits(seconds=10, body_bytes=100_000)
IMPATIENT_LIMITS = ExchangeLimits(seconds=0.5, body_bytes=100_000)


@pytest.fixture(params=["world", "net"])
def edge(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Edge]:
    with contextlib.ExitStack() as stack:
        yield WorldEdge() if request.param == "world" else NetEdge(stack, tmp_path)


def pinned(*credentials: Credential) -> Pinned:
    return Pinned(frozenset(fingerprint(each.leaf) for each in credentials))


async def fault_of(
    edge: Edge, stand: Stand, trust: Trust, name: TlsName = NAME
) -> NetworkFault | None:
    """What dialling ends in; an exchange follows if it ends well."""
    try:
        link = await edge.wire().dial(stand.address, name, trust)
    except NetworkFault as fault:
        return fault
    assert (await link.exchange(GET, LIMITS)).status == 200
    await link.close()
    return None


# Certificates


@pytest.mark.req("TLS-02", "TLS-09", "TLS-10")
@pytest.mark.parametrize(
    ("flaw", "code"),
    [
        (None, ""),
        (Flaw.DISORDERED, ""),
        (Flaw.EXPIRED, "tls-expired"),
        (Flaw.NOT_YET_VALID, "tls-not-yet-valid"),
        (Flaw.SELF_SIGNED, "tls-self-signed"),
        (Flaw.UNKNOWN_AUTHORITY, "tls-unknown-authority"),
        (Flaw.MISSING_INTERMEDIATE, "tls-unknown-authority"),
        (Flaw.BAD_SIGNATURE, "tls-unknown-authority"),
        (Flaw.CN_ONLY, "tls-common-name-only"),
        (Flaw.CLIENT_ONLY, "tls-certificate-purpose"),
        (Flaw.EXPIRED_INTERMEDIATE, "tls-expired"),
        (Flaw.WEAK_KEY, "tls-weak"),
    ],
)
async def test_web_pki_judges_each_kind_of_certificate(
    edge: Edge, flaw: Flaw | None, code: str
) -> None:
    credential = edge.authority.issue("a.test", flaw=flaw)
    stand = edge.stand(credential)
    fault = await fault_of(edge, stand, WebPki())
    assert (fault.code if fault else "") == code
    if fault is not None:
        assert isinstance(fault, TlsFault)
        assert fault.certificates == credential.chain
        assert fault.clause == "[s2s:tls]"
        stand.settle()
        assert stand.received == b""


@pytest.mark.req("TLS-02", "TLS-10")
@pytest.mark.parametrize(
    ("held", "name", "code"),
    [
        ("a.test", "a.test", ""),
        ("a.test", "A.TEST", ""),  # DNS knows no letter case
        ("A.test", "a.test", ""),
        ("*.test", "a.test", "tls-name-mismatch"),  # nor a whole top-level domain
        ("*.a.test", "b.a.test", ""),
        ("*.a.test", "a.test", "tls-name-mismatch"),  # a wildcard is one label, not none
        ("*.a.test", "c.b.a.test", "tls-name-mismatch"),  # nor two
        ("b.test", "a.test", "tls-name-mismatch"),
        ("127.0.0.1", "127.0.0.1", ""),
        ("127.0.0.2", "127.0.0.1", "tls-name-mismatch"),
        ("a.test", "127.0.0.1", "tls-name-mismatch"),
        ("127.0.0.1", "a.test", "tls-name-mismatch"),
    ],
)
async def test_web_pki_judges_the_name(edge: Edge, held: str, name: str, code: str) -> None:
    stand = edge.stand(edge.authority.issue(held))
    fault = await fault_of(edge, stand, WebPki(), TlsName(name, name[0].isdigit()))
    assert (fault.code if fault else "") == code


@pytest.mark.req("TLS-10")
async def test_an_ip_address_as_a_dns_name_does_not_count(edge: Edge) -> None:
    stand = edge.stand(edge.authority.issue("127.0.0.1", flaw=Flaw.IP_AS_DNS))
    fault = await fault_of(edge, stand, WebPki(), IP_NAME)
    assert fault is not None
    assert fault.code == "tls-name-mismatch"


@pytest.mark.parametrize(
    ("flaw", "code"),
    [
        (Flaw.EXPIRED, "tls-name-mismatch"),  # the name is judged before the dates
        (Flaw.SELF_SIGNED, "tls-self-signed"),  # the chain before the name
        (Flaw.CLIENT_ONLY, "tls-certificate-purpose"),  # the purpose before the name
    ],
)
async def test_of_two_faults_the_same_one_is_named(edge: Edge, flaw: Flaw, code: str) -> None:
    stand = edge.stand(edge.authority.issue("b.test", flaw=flaw))
    fault = await fault_of(edge, stand, WebPki())
    assert fault is not None
    assert fault.code == code


@pytest.mark.parametrize("flaw", [None, *Flaw])
async def test_a_pin_looks_at_the_leaf_alone(edge: Edge, flaw: Flaw | None) -> None:
    credential = edge.authority.issue("b.test", flaw=flaw)
    stand = edge.stand(credential)
    assert await fault_of(edge, stand, pinned(credential)) is None


async def test_another_leaf_than_the_pinned_ones_gets_no_request(edge: Edge) -> None:
    good, other = edge.authority.issue("a.test"), edge.authority.issue("a.test")
    stand = edge.stand(good)
    fault = await fault_of(edge, stand, pinned(other))
    assert isinstance(fault, TlsFault)
    assert fault.code == "tls-pin-mismatch"
    assert fault.certificates == good.chain
    stand.settle()
    assert stand.received == b""
    assert await fault_of(edge, stand, pinned(other, good)) is None


async def test_a_pin_is_not_for_those_above_the_leaf(edge: Edge) -> None:
    stand = edge.stand(edge.authority.issue("a.test"))
    above = Pinned(frozenset({fingerprint(edge.authority.issue("a.test").chain[1])}))
    fault = await fault_of(edge, stand, above)
    assert fault is not None
    assert fault.code == "tls-pin-mismatch"


@pytest.mark.parametrize("flaw", [None, *Flaw])
async def test_first_contact_takes_any_certificate(edge: Edge, flaw: Flaw | None) -> None:
    stand = edge.stand(edge.authority.issue("b.test", flaw=flaw))
    assert await fault_of(edge, stand, FirstContact()) is None


@pytest.mark.parametrize("flaw", [None, *Flaw])
async def test_a_look_takes_any_chain_and_sends_nothing(edge: Edge, flaw: Flaw | None) -> None:
    credential = edge.authority.issue("b.test", flaw=flaw)
    stand = edge.stand(credential)
    assert (await edge.wire().look(stand.address, NAME)).chain == credential.chain
    stand.settle()
    assert stand.received == b""
    assert stand.connections == 1


@pytest.mark.req("TLS-06", "TLS-07")
async def test_sni_is_the_name_and_is_absent_for_an_address(edge: Edge) -> None:
    stand = edge.stand(edge.authority.issue("a.test", "127.0.0.1"))
    await edge.wire().look(stand.address, NAME)
    await edge.wire().look(stand.address, TlsName("A.Test"))
    await edge.wire().look(stand.address, IP_NAME)
    assert stand.names == ["a.test", "A.Test", None]


async def test_sni_chooses_the_certificate(edge: Edge) -> None:
    one, two = edge.authority.issue("a.test"), edge.authority.issue("b.test")
    stand = edge.stand(one, sni={"b.test": two})
    assert (await edge.wire().look(stand.address, NAME)).leaf == one.leaf
    assert (await edge.wire().look(stand.address, TlsName("b.test"))).leaf == two.leaf
    assert (await edge.wire().look(stand.address, IP_NAME)).leaf == one.leaf


@pytest.mark.parametrize("text", ["", ".", ".a.test", "a..test", "a" * 64 + ".test", "a\0b.test"])
async def test_a_name_that_tls_cannot_ask_for_is_a_fault(edge: Edge, text: str) -> None:
    stand = edge.stand(edge.authority.issue("a.test"))
    for trust in TRUSTS:
        fault = await fault_of(edge, stand, trust, TlsName(text))
        assert isinstance(fault, TlsFault)
        assert fault.code == "tls-name-unusable"


# Addresses


@pytest.mark.req("SEC-05")
@pytest.mark.parametrize(
    "ip", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "169.254.169.254", "0.0.0.0"]
)
async def test_policy_is_applied_before_any_connection(edge: Edge, ip: str) -> None:
    stand = edge.stand(edge.authority.issue("a.test"))
    wire = edge.wire(AddressPolicy())
    to = Address(ip, stand.address.port)
    with pytest.raises(AddressRefused) as refused:
        await wire.look(to, NAME)
    assert refused.value.code == "address-refused"
    for trust in TRUSTS:
        with pytest.raises(AddressRefused):
            await wire.dial(to, NAME, trust)
    assert stand.connections == 0


async def test_an_exact_address_can_be_allowed(edge: Edge) -> None:
    stand, other = (edge.stand(edge.authority.issue("a.test")) for _ in range(2))
    wire = edge.wire(AddressPolicy(allowed=frozenset({stand.address})))
    assert (await wire.look(stand.address, NAME)).chain
    with pytest.raises(AddressRefused):
        await wire.look(other.address, NAME)
    assert other.connections == 0


@pytest.mark.parametrize("ip", ["localhost", "127.1", "0x7f.1", "0177.0.0.1", "", "fe80::1%lo"])
async def test_only_ip_addresses_are_connected_to(edge: Edge, ip: str) -> None:
    stand = edge.stand(edge.authority.issue("a.test"))
    with pytest.raises(Malformed):
        await edge.wire().dial(Address(ip, stand.address.port), NAME, WebPki())
    assert stand.connections == 0


async def test_the_mapped_form_of_an_address_leads_to_it(edge: Edge) -> None:
    stand = edge.stand(edge.authority.issue("a.test"))
    mapped = Address(f"::ffff:{stand.address.ip}", stand.address.port)
    assert (await edge.wire().look(mapped, NAME)).chain


# Connecting


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (Fault.REFUSE, ConnectFault, "connect-refused"),
        (Fault.BLACK_HOLE, TimedOut, "connect-timeout"),
        (Fault.RESET, TlsFault, "tls-closed"),
        (Fault.TLS_SILENT, TimedOut, "tls-timeout"),
        (Fault.TLS_GARBAGE, TlsFault, "tls-not-tls"),
        (Fault.TLS_ALERT, TlsFault, "tls-alert"),
    ],
)
async def test_each_way_not_to_connect_has_its_code(
    edge: Edge, fault: Fault, kind: type[NetworkFault], code: str
) -> None:
    stand = edge.stand(edge.authority.issue("a.test"), fault=fault)
    wire = edge.wire(limits=IMPATIENT if kind is TimedOut else PATIENT)
    began = edge.clock.tick()
    for trust in TRUSTS:
        with pytest.raises(kind) as raised:
            await wire.dial(stand.address, NAME, trust)
        assert raised.value.code == code
    with pytest.raises(kind) as raised:
        await wire.look(stand.address, NAME)
    assert raised.value.code == code
    assert edge.clock.tick() - began < 4 * IMPATIENT.connect_seconds + 5


async def test_facts_say_what_is_known_of_a_connection(edge: Edge) -> None:
    credential = edge.authority.issue("a.test")
    stand = edge.stand(credential)
    link = await edge.wire().dial(stand.address, NAME, WebPki())
    assert link.facts.address == stand.address
    assert link.facts.certificates.chain == credential.chain
    assert link.facts.tls_version == "TLSv1.3"
    assert link.facts.cipher.startswith("TLS_")
    assert link.facts.tcp_seconds >= 0
    assert link.facts.tls_seconds >= 0
    await link.close()


async def test_dialling_can_be_cancelled(edge: Edge) -> None:
    stand = edge.stand(edge.authority.issue("a.test"), fault=Fault.TLS_SILENT)
    task = asyncio.create_task(edge.wire().dial(stand.address, NAME, WebPki()))
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# Our own certificate


@pytest.mark.req("SEED-20")
@pytest.mark.parametrize(
    ("ours", "present", "asks", "shown"),
    [
        (True, True, True, True),
        (True, False, True, False),  # nobody said that this name shall see it
        (True, True, False, False),  # nobody asks
        (False, True, True, False),  # there is none
    ],
)
async def test_our_certificate_is_shown_if_both_sides_want_it(
    edge: Edge, ours: bool, present: bool, asks: bool, shown: bool
) -> None:
    credential, client = (
        edge.authority.issue("a.test"),
        edge.authority.issue("us.test", flaw=Flaw.CLIENT_ONLY),
    )
    stand = edge.stand(credential, asks_client=asks)
    wire = edge.wire(client=client if ours else None)
    for trust in (WebPki(), pinned(credential)):
        link = await wire.dial(stand.address, NAME, trust, present=present)
        assert link.facts.offered is (ours and present)
        assert (await link.exchange(GET, LIMITS)).status == 200
        await link.close()
    assert stand.presented == [client.leaf if shown else b""] * 2


@pytest.mark.req("SEED-14", "SEED-20")
async def test_a_first_contact_and_a_look_never_see_our_certificate(edge: Edge) -> None:
    stand = edge.stand(edge.authority.issue("a.test"), asks_client=True)
    wire = edge.wire(client=edge.authority.issue("us.test", flaw=Flaw.CLIENT_ONLY))
    link = await wire.dial(stand.address, NAME, FirstContact(), present=True)
    assert not link.facts.offered
    await link.close()
    await wire.look(stand.address, NAME)
    assert stand.presented == [b"", b""]


@pytest.mark.parametrize("present", [True, False])
async def test_a_refusal_of_our_certificate_shows_when_reading(edge: Edge, present: bool) -> None:
    stand = edge.stand(edge.authority.issue("a.test"), fault=Fault.REFUSES_CLIENT)
    wire = edge.wire(client=edge.authority.issue("us.test", flaw=Flaw.CLIENT_ONLY))
    for pause in (0.0, 0.1):
        link = await wire.dial(stand.address, NAME, WebPki(), present=present)
        await edge.clock.sleep(pause)
        with pytest.raises(ConnectionLost) as raised:
            await link.exchange(GET, LIMITS)
        assert raised.value.code == "client-certificate-refused"
        assert not link.reusable
        await link.close()


# Exchanging


def sized(body: bytes, *headers: tuple[str, str]) -> HttpResponse:
    return HttpResponse(status=200, headers=headers, body=body)


@pytest.mark.parametrize(
    "request_",
    [
        GET,
        HttpRequest(method="GET", target="/x?", host="a.test:8448"),
        HttpRequest(method="GET", target="/%2F%2f//x?y=%20&z#f", host="[::1]:1"),
        HttpRequest(
            method="PUT",
            target="/y",
            host="A.test",
            headers=(("Content-Type", "application/json"), ("X-Twice", "1"), ("X-Twice", "2")),
            body=b'{"a":"\xc3\xa9"}',
        ),
        HttpRequest(method="POST", target="/empty", host="a.test"),
        HttpRequest(method="DELETE", target="/z", host="a.test", headers=(("x", ""),)),
    ],
    ids=lambda each: f"{each.method}-{each.target}",
)
@pytest.mark.req("TLS-01")
async def test_requests_go_out_byte_for_byte(edge: Edge, request_: HttpRequest) -> None:
    stand = edge.stand(edge.authority.issue("a.test"))
    link = await edge.wire().dial(stand.address, NAME, WebPki())
    assert (await link.exchange(request_, LIMITS)).status == 200
    await link.close()
    stand.settle()
    lines = [f"{request_.method} {request_.target} HTTP/1.1", f"Host: {request_.host}"]
    lines += [f"{name}: {value}" for name, value in request_.headers]
    if request_.body or request_.method in ("POST", "PUT"):
        lines.append(f"Content-Length: {len(request_.body)}")
    assert stand.received == "\r\n".join([*lines, "", ""]).encode() + request_.body


@pytest.mark.parametrize(
    "request_",
    [
        HttpRequest(method="GET", target="/ x", host="a.test"),
        HttpRequest(method="GET", target="/\r\nx: y", host="a.test"),
        HttpRequest(method="GET", target="/é", host="a.test"),
        HttpRequest(method="GET", target="/", host="a.test\r\nx: y"),
        HttpRequest(method="GET", target="/", host="a.test", headers=(("x y", "z"),)),
        HttpRequest(method="GET", target="/", host="a.test", headers=(("x", "y\nz: 1"),)),
        HttpRequest(method="G T", target="/", host="a.test"),
    ],
)
async def test_what_is_no_http_is_never_sent(edge: Edge, request_: HttpRequest) -> None:
    stand = edge.stand(edge.authority.issue("a.test"))
    link = await edge.wire().dial(stand.address, NAME, WebPki())
    with pytest.raises(ConnectionLost) as raised:
        await link.exchange(request_, LIMITS)
    assert raised.value.code == "request-unsendable"
    assert link.reusable
    assert stand.received == b""
    assert (await link.exchange(GET, LIMITS)).status == 200
    await link.close()


async def test_answers_come_with_lower_case_names_in_order_and_repeats(edge: Edge) -> None:
    answer = sized(b"{}", ("X-B", "1"), ("x-A", "two words"))
    stand = edge.stand(edge.authority.issue("a.test"), lambda target: answer)
    link = await edge.wire().dial(stand.address, NAME, WebPki())
    response = await link.exchange(GET, LIMITS)
    assert response.headers == (("x-b", "1"), ("x-a", "two words"), ("content-length", "2"))
    assert (response.status, response.body) == (200, b"{}")
    assert response.header("x-b") == "1"
    await link.close()


@pytest.mark.req("API-09")
@pytest.mark.parametrize("status", [200, 204, 301, 302, 304, 404, 429, 500])
async def test_every_status_is_an_answer(edge: Edge, status: int) -> None:
    answer = HttpResponse(status=status, headers=(("location", "https://evil.test/"),))
    stand = edge.stand(edge.authority.issue("a.test"), lambda target: answer)
    link = await edge.wire().dial(stand.address, NAME, WebPki())
    assert (await link.exchange(GET, LIMITS)).status == status
    await link.close()
    assert stand.connections == 1


async def test_one_exchange_follows_another(edge: Edge) -> None:
    stand = edge.stand(edge.authority.issue("a.test"), lambda target: sized(target.encode("ascii")))
    link = await edge.wire().dial(stand.address, NAME, WebPki())
    for place in range(5):
        assert link.reusable
        request = HttpRequest(method="GET", target=f"/{place}", host="a.test")
        assert (await link.exchange(request, LIMITS)).body == b"/%d" % place
    await link.close()
    assert not link.reusable
    assert stand.connections == 1


async def test_a_peer_that_says_close_is_believed(edge: Edge) -> None:
    stand = edge.stand(
        edge.authority.issue("a.test"), lambda target: sized(b"", ("connection", "close"))
    )
    link = await edge.wire().dial(stand.address, NAME, WebPki())
    assert (await link.exchange(GET, LIMITS)).status == 200
    assert not link.reusable
    with pytest.raises(ConnectionLost) as raised:
        await link.exchange(GET, LIMITS)
    assert raised.value.code == "connection-closed"
    await link.close()


async def test_a_peer_that_left_in_silence_is_noticed(edge: Edge) -> None:
    stand = edge.stand(edge.authority.issue("a.test"), keeps_alive=False)
    link = await edge.wire().dial(stand.address, NAME, WebPki())
    assert (await link.exchange(GET, LIMITS)).status == 200
    stand.settle()
    assert not link.reusable
    with pytest.raises(ConnectionLost) as raised:
        await link.exchange(GET, LIMITS)
    assert raised.value.code == "connection-closed"
    assert not link.reusable
    await link.close()


async def test_a_closed_link_takes_no_request_and_may_be_closed_again(edge: Edge) -> None:
    stand = edge.stand(edge.authority.issue("a.test"))
    link = await edge.wire().dial(stand.address, NAME, WebPki())
    await link.close()
    await link.close()
    with pytest.raises(ConnectionLost) as raised:
        await link.exchange(GET, LIMITS)
    assert raised.value.code == "connection-closed"


async def test_one_exchange_at_a_time(edge: Edge) -> None:
    stand = edge.stand(edge.authority.issue("a.test"), lambda target: Fault.HANGS)
    link = await edge.wire().dial(stand.address, NAME, WebPki())
    first = asyncio.create_task(link.exchange(GET, IMPATIENT_LIMITS))
    await asyncio.sleep(0)
    assert not link.reusable
    with pytest.raises(ConnectionLost) as raised:
        await link.exchange(GET, LIMITS)
    assert raised.value.code == "connection-closed"
    with pytest.raises(TimedOut):
        await first
    await link.close()


@pytest.mark.req("SEC-07")
@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (Fault.CLOSES, ConnectionLost, "no-answer"),
        (Fault.HANGS, TimedOut, "exchange-timeout"),
        (Fault.GARBAGE, ConnectionLost, "not-http"),
        (Fault.HALF, ConnectionLost, "connection-lost"),
        (Fault.HALF_HEAD, ConnectionLost, "connection-lost"),
        (Fault.SLOW, TimedOut, "exchange-timeout"),
        (Fault.ENDLESS, ConnectionLost, "body-too-large"),
        (Fault.ENDLESS_HEAD, ConnectionLost, "head-too-large"),
        (Fault.TOO_LARGE, ConnectionLost, "body-too-large"),
    ],
)
async def test_each_bad_answer_has_its_code_and_ends_the_link(
    edge: Edge, fault: Fault, kind: type[NetworkFault], code: str
) -> None:
    stand = edge.stand(edge.authority.issue("a.test"), lambda target: fault)
    link = await edge.wire().dial(stand.address, NAME, WebPki())
    limits = IMPATIENT_LIMITS if kind is TimedOut else LIMITS
    with pytest.raises(kind) as raised:
        await link.exchange(GET, limits)
    assert raised.value.code == code
    assert not link.reusable
    await link.close()


@pytest.mark.req("SEC-07")
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (sized(b"x" * 1000), ""),
        (sized(b"x" * 1001), "body-too-large"),
        (sized(b"", *((f"x-{place}", "y") for place in range(9))), ""),  # and content-length
        (sized(b"", *((f"x-{place}", "y") for place in range(10))), "too-many-headers"),
        (sized(b"", ("x", "y" * 3900)), ""),
        (sized(b"", ("x", "y" * 4100)), "head-too-large"),
    ],
    ids=["body", "body+1", "headers", "headers+1", "head", "head+"],
)
async def test_limits_hold_to_the_last_one(edge: Edge, answer: HttpResponse, code: str) -> None:
    limits = ExchangeLimits(head_bytes=4096, head_count=10, body_bytes=1000, seconds=5)
    stand = edge.stand(edge.authority.issue("a.test"), lambda target: answer)
    link = await edge.wire().dial(stand.address, NAME, WebPki())
    if not code:
        assert (await link.exchange(GET, limits)).body == answer.body
    else:
        with pytest.raises(ConnectionLost) as raised:
            await link.exchange(GET, limits)
        assert raised.value.code == code
        assert not link.reusable
    await link.close()


async def test_a_cancelled_exchange_ends_the_link(edge: Edge) -> None:
    stand = edge.stand(edge.authority.issue("a.test"), lambda target: Fault.HANGS)
    link = await edge.wire().dial(stand.address, NAME, WebPki())
    task = asyncio.create_task(link.exchange(GET, LIMITS))
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not link.reusable
    await link.close()


async def test_many_connections_at_once_do_not_mix(edge: Edge) -> None:
    stand = edge.stand(edge.authority.issue("a.test"), lambda target: sized(target.encode("ascii")))
    wire = edge.wire()

    async def one(place: int) -> bytes:
        link = await wire.dial(stand.address, NAME, WebPki())
        request = HttpRequest(method="GET", target=f"/{place}", host="a.test")
        body = (await link.exchange(request, ExchangeLimits())).body
        await link.close()
        return body

    bodies = await asyncio.gather(*(one(place) for place in range(10)))
    assert bodies == [b"/%d" % place for place in range(10)]
