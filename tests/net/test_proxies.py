"""What proxies in front of us say of the client is believed from them alone."""

from __future__ import annotations

import base64
import json
import ssl
from typing import Any
from urllib.parse import quote

import pytest

from ranvier.errors import BadConfiguration
from ranvier.net.heads import Refused
from ranvier.net.proxies import Proxies, TrustedProxy, read_certificate
from tests.rigs import certs
from tests.rigs.listening import get, listening

DER = certs.good("client.test").leaf
BASE64 = base64.b64encode(DER).decode()
PEM = ssl.DER_cert_to_PEM_cert(DER)
NAME = "X-Client-Certificate"
OURS = TrustedProxy(networks=("127.0.0.1/32",), certificate_header=NAME)
FOREIGN = TrustedProxy(networks=("192.0.2.0/24", "2001:db8::/32"), certificate_header=NAME)


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


GOOD = [
    # (as it stands in the header, why)
    (quote(PEM, safe=""), "nginx: $ssl_client_escaped_cert"),
    (quote(PEM, safe="/+="), "percent-encoded where it must be"),
    (quote(PEM.replace("\n", "\r\n"), safe=""), "other line ends"),
    (BASE64, "HAProxy: %[ssl_c_der,base64]"),
    (f":{BASE64}:", "Client-Cert of RFC 9440"),
    (f"  :{BASE64}:\t", "with white space around"),
]

BAD = [
    (":", "half of RFC 9440"),
    ("::", "RFC 9440 with nothing in it"),
    (f":{BASE64}", "no colon at the end"),
    (f":{BASE64}:;p=1", "a parameter, which RFC 9440 does not have"),
    (BASE64[:-2], "cut short"),
    (BASE64.replace("A", "-"), "another alphabet"),
    (base64.b64encode(b"hello").decode(), "no DER"),
    (quote(PEM + PEM, safe=""), "two certificates"),
    (PEM.replace("\n", ""), "PEM without its lines"),
    (quote(PEM.replace("CERTIFICATE", "PRIVATE KEY"), safe=""), "another PEM"),
    (quote(PEM[:-30], safe=""), "PEM cut short"),
    ("(null)", "a word of a proxy's own"),
]


@pytest.mark.parametrize("text", [each for each, _ in GOOD], ids=[why for _, why in GOOD])
@pytest.mark.req("SEED-21")
def test_a_certificate_is_read_in_each_form(text: str) -> None:
    assert read_certificate(text.encode()) == DER


@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_header_means_that_no_certificate_was_shown(text: str) -> None:
    assert read_certificate(text.encode()) is None


@pytest.mark.parametrize("text", [each for each, _ in BAD], ids=[why for _, why in BAD])
def test_what_is_no_certificate_is_refused(text: str) -> None:
    with pytest.raises(Refused) as caught:
        read_certificate(text.encode())
    assert (caught.value.status, caught.value.code) == (400, "client-cert-malformed")


@pytest.mark.parametrize(
    ("ip", "header"),
    [
        ("192.0.2.1", b"x-client-certificate"),
        ("::ffff:192.0.2.1", b"x-client-certificate"),  # a socket for both families
        ("2001:db8::5", b"x-client-certificate"),
        ("192.0.3.1", None),
        ("fe80::1%eth0", None),
        ("10.0.0.1", b""),  # a proxy that tells nothing
    ],
)
@pytest.mark.req("D20")
def test_a_proxy_is_known_by_its_address(ip: str, header: bytes | None) -> None:
    silent = TrustedProxy(networks=("10.0.0.0/8",))
    assert Proxies([FOREIGN, silent]).header_of(ip) == header


@pytest.mark.parametrize("network", ["10.0.0.1/8", "proxy.example", ""])
def test_a_network_that_is_none_is_an_error(network: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        Proxies([TrustedProxy(networks=(network,))])
    assert caught.value.code == "proxy-network"


@pytest.mark.parametrize("name", ["X Client", "X:", "x\u00e4", "Authorization", "host"])
def test_a_header_that_cannot_be_it_is_an_error(name: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        Proxies([TrustedProxy(networks=("10.0.0.1",), certificate_header=name)])
    assert caught.value.code == "proxy-header-name"


async def told(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the certificate and the names of the headers that the application sees."""
    if scope["type"] == "http":
        leaf = scope["extensions"]["ranvier"]["peer_leaf"]
        names = [name.decode() for name, _ in scope["headers"]]
        body = json.dumps({"leaf": leaf and leaf.hex(), "names": names}).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@pytest.mark.req("SEED-21", "D20")
async def test_the_certificate_of_a_proxys_client_is_the_peers() -> None:
    async with listening(told, proxies=(OURS,)) as house, await house.call() as caller:
        reply = await caller.ask(get("/x", f"{NAME}: {BASE64}", "X-Other: a"))
        assert reply.json == {"leaf": DER.hex(), "names": ["host", "x-other"]}
        assert (await caller.ask(get("/x", f"{NAME}:"))).json["leaf"] is None  # of another client
        assert (await caller.ask(get("/x"))).json["leaf"] is None


@pytest.mark.req("D20")
async def test_from_everybody_else_the_header_is_dropped() -> None:
    async with listening(told, proxies=(FOREIGN,)) as house:
        for lines in ([f"{NAME.upper()}: {BASE64}"], [f"{NAME}: a", f"{NAME}: b"]):
            assert (await house.once(get("/x", *lines))).json == {"leaf": None, "names": ["host"]}


async def test_a_header_of_another_proxy_is_dropped_too() -> None:
    other = TrustedProxy(networks=("192.0.2.0/24",), certificate_header="X-Other")
    async with listening(told, proxies=(OURS, other)) as house:
        reply = await house.once(get("/x", f"X-Other: {BASE64}"))
        assert reply.json == {"leaf": None, "names": ["host"]}


@pytest.mark.req("D20")
@pytest.mark.parametrize("target", ["/x", "/_matrix/federation/v1/version"])
async def test_a_header_given_twice_is_refused(target: str) -> None:
    async with listening(told, proxies=(OURS,)) as house:
        reply = await house.once(get(target, f"{NAME}: {BASE64}", f"{NAME}: {BASE64}"))
        assert (reply.status, house.refused) == (400, {"client-cert-twice": 1})


async def test_a_header_in_an_unknown_form_is_refused_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with listening(told, proxies=(OURS,)) as house:
        assert (await house.once(get("/x", f"{NAME}: nonsense"))).status == 400
        assert house.refused == {"client-cert-malformed": 1}
    assert "in a form that is not known" in caplog.text
    assert "nonsense" not in caplog.text


async def test_the_proxys_own_certificate_is_not_the_clients() -> None:
    context = ssl._create_unverified_context()
    context.load_cert_chain(*certs.good("proxy.test").files)
    async with listening(told, asking=True, proxies=(OURS,)) as house:
        assert (await house.once(get("/x"), context)).json["leaf"] is None
        reply = await house.once(get("/x", f"{NAME}: {BASE64}"), context)
        assert reply.json["leaf"] == DER.hex()
