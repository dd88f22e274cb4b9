"""Today's discovery and keys, judged by unmodified current Synapse servers.

Each way of being found gets a name of its own, because a peer remembers routes
and keys. Synapse finds us, judges our certificate for the name that the way
says, verifies our key document and hands it on with its own signature; then our
own client must come to the same route.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import signedjson.key
import signedjson.sign

from tests.peers import naming, proxy, scripted
from tests.peers.internet import Internet
from tests.peers.ours import Ours, ask
from tests.peers.synapse import Synapse

pytestmark = [pytest.mark.peer("synapse"), pytest.mark.peer("nginx")]

_HOUR_MS = 3_600_000
_FED, _OLD = "_matrix-fed._tcp", "_matrix._tcp"


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the discovery table; ``{n}`` is a fresh name, ``{ip}`` a fresh address."""

    step: str
    server_name: str = "{n}"
    delegated: str = ""
    records: tuple[str, ...] = ()
    port: int = 8448
    host: str
    """The exact ``Host`` header."""
    certificate: str
    """The name that the certificate must have; SNI is the same, or absent for an address."""

    def filled(self, name: str, ip: str) -> Way:
        """This row with its name and address."""

        def fill(text: str) -> str:
            return text.replace("{n}", name).replace("{ip}", ip)

        return msgspec.structs.replace(
            self,
            server_name=fill(self.server_name),
            delegated=fill(self.delegated),
            records=tuple(fill(each) for each in self.records),
            host=fill(self.host),
            certificate=fill(self.certificate),
        )


def _srv(service: str, at: str, port: int) -> tuple[str, str]:
    return (
        naming.srv(f"{service}.{at}", "target.{n}", port),
        naming.host("target.{n}", "{ip}"),
    )


_HERE = naming.host("{n}", "{ip}")  # port 443 refuses there
_DELEGATED = naming.host("hs.{n}", "{ip}")
_DEAD = naming.srv(_OLD + ".hs.{n}", "target.{n}", 1)  # must not be used

WAYS = [
    Way(step="1", server_name="{ip}", host="{ip}", certificate="{ip}"),
    Way(step="1", server_name="{ip}:8501", port=8501, host="{ip}:8501", certificate="{ip}"),
    Way(
        step="2",
        server_name="{n}:8502",
        port=8502,
        records=(_HERE, naming.srv(_FED + ".{n}", "{n}", 1)),
        host="{n}:8502",
        certificate="{n}",
    ),
    Way(step="3.1", delegated="{ip}:8503", port=8503, host="{ip}:8503", certificate="{ip}"),
    Way(step="3.1", delegated="{ip}", host="{ip}", certificate="{ip}"),
    Way(
        step="3.2",
        delegated="hs.{n}:8504",
        port=8504,
        records=(_DELEGATED,),
        host="hs.{n}:8504",
        certificate="hs.{n}",
    ),
    Way(
        step="3.3",
        delegated="hs.{n}",
        port=8505,
        records=(*_srv(_FED, "hs.{n}", 8505), _DEAD),
        host="hs.{n}",
        certificate="hs.{n}",
    ),
    Way(
        step="3.4",
        delegated="hs.{n}",
        port=8506,
        records=_srv(_OLD, "hs.{n}", 8506),
        host="hs.{n}",
        certificate="hs.{n}",
    ),
    Way(
        step="3.5",
        delegated="hs.{n}",
        records=(_DELEGATED,),
        host="hs.{n}",
        certificate="hs.{n}",
    ),
    Way(
        step="4",
        port=8507,
        records=(_HERE, *_srv(_FED, "{n}", 8507)),
        host="{n}",
        certificate="{n}",
    ),
    Way(
        step="5",
        port=8508,
        records=(_HERE, *_srv(_OLD, "{n}", 8508)),
        host="{n}",
        certificate="{n}",
    ),
    Way(step="6", records=(_HERE,), host="{n}", certificate="{n}"),
]


@pytest.fixture(params=WAYS, ids=lambda way: f"{way.step}-{way.delegated or way.server_name}")
def published(internet: Internet, request: pytest.FixtureRequest) -> Iterator[tuple[Way, Ours]]:
    """Our server, published by one way and by no other."""
    name, ip = internet.name("way"), internet.ip()
    way: Way = request.param.filled(name, ip)
    records = list(way.records)
    if way.delegated:
        at = internet.ip()
        records.append(naming.host(name, at))
        block = proxy.well_known(at, internet.certificate(name), way.delegated)
        nginx = internet.nginx(block)
    internet.dns.add(*records)
    pair = internet.certificate(way.certificate)
    ours = Ours(internet, way.server_name, ip=ip, port=way.port, pair=pair)
    yield way, ours
    ours.close()
    if way.delegated:
        internet.end(nginx)


@pytest.mark.req("DISC-01", "DISC-02", "DISC-03", "DISC-04", "DISC-05", "DISC-06", "DISC-07")
@pytest.mark.req("DISC-08", "DISC-09", "DISC-10", "DISC-11", "DISC-12", "DISC-14")
@pytest.mark.req("KEY2-01", "KEY2-02", "KEY2-03", "KEY2-08", "KEY2-10", "KEY2-13")
def test_synapse_and_we_ourselves_find_us_by_each_way(
    internet: Internet, alpha: Synapse, published: tuple[Way, Ours]
) -> None:
    way, ours = published
    minimum = int(time.time() * 1000) + _HOUR_MS
    (document,) = alpha.fetch_keys(ours.name, ours.key_id, minimum)
    assert document["server_name"] == ours.name
    assert document["valid_until_ts"] >= minimum
    verify(document, ours.name, ours.key_id, scripted.public(ours.key))
    verify(document, alpha.server_name, *key_of(alpha))

    route = route_to(internet, ours.name)
    assert (route["step"], route["host_header"]) == (way.step, way.host)
    assert route["tls_name"]["text"] == way.certificate
    assert route["addresses"] == [f"{ours.ip}:{way.port}"]
    fetched = ask(internet, "keys", "fetch", ours.name)
    assert fetched.exit == 0
    assert [each["key_id"] for each in fetched.data["keys"]] == [ours.key_id]


@pytest.mark.req("KEYF-01", "KEYF-02", "KEYF-03")
@pytest.mark.parametrize(
    ("peer", "step", "host"),
    [("alpha", "4", "alpha.test"), ("beta", "3.2", "hs.beta.test:8500")],
)
def test_we_find_a_real_synapse_and_verify_its_keys(
    internet: Internet, peer: str, step: str, host: str, request: pytest.FixtureRequest
) -> None:
    synapse: Synapse = request.getfixturevalue(peer)
    route = route_to(internet, synapse.server_name)
    assert (route["step"], route["host_header"]) == (step, host)
    key_id, key = key_of(synapse)
    fetched = ask(internet, "keys", "fetch", synapse.server_name)
    assert fetched.exit == 0
    assert fetched.data["version"] == "v2"
    (outcome,) = fetched.data["keys"]
    assert (outcome["key_id"], outcome["key"], outcome["verdict"]) == (key_id, key, "good")


def route_to(internet: Internet, name: str) -> dict[str, Any]:
    """The one route that our own client finds."""
    resolved = ask(internet, "resolve", name)
    assert resolved.exit == 0, resolved
    (route,) = resolved.data["routes"]
    return dict(route)


def key_of(synapse: Synapse) -> tuple[str, str]:
    """Its key id and public key, as it says itself."""
    listed = synapse.request("GET", "/_matrix/key/v2/server").json["verify_keys"]
    ((key_id, held),) = listed.items()
    return str(key_id), str(held["key"])


def verify(document: dict[str, Any], name: str, key_id: str, key: str) -> None:
    """By the reference implementation of JSON signing."""
    raw = scripted.decode(key)
    signedjson.sign.verify_signed_json(
        document, name, signedjson.key.decode_verify_key_bytes(key_id, raw)
    )
