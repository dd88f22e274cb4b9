"""The gate: who is let in, and with which status, code and text everybody else is not."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranvier.errors import Unauthenticated
from ranvier.limits import DAY_MS, HOUR_MS, Limits, Ms
from ranvier.protocol.certificates import fingerprint
from ranvier.protocol.keys import OldVerifyKey, build_v2_document
from ranvier.protocol.routes import Mode
from ranvier.protocol.signing import generate_signing_key
from ranvier.services.gate import InboundRequest
from ranvier.services.trust import ClientCertificate, TrustMode, TrustRule
from ranvier.world.faults import Fault
from tests.services.gaterig import ALIAS, TARGET, US, Rig, request, signed
from tests.services.keyrig import IP, KEY, NAME, OTHER_KEY, SEED_RULE, name

PUBLIC = "the request is not authenticated"
BODY = b'{"a":1}'


@pytest.mark.req("AUTH-02", "AUTH-07", "AUTH-20", "D21")
async def test_a_signed_request_comes_out_with_who_sent_it() -> None:
    rig = Rig()
    passed = await rig.ask(method="PUT", target="/_matrix/x", body=BODY)
    assert passed.origin == name()
    assert (passed.key_id, passed.destination) == (KEY.key_id, US)
    assert (passed.method, passed.target) == ("PUT", "/_matrix/x")
    assert (passed.content, passed.body, passed.canonical) == ({"a": 1}, BODY, BODY)
    assert passed.client_certificate == "not asked"
    assert passed.trail.of("key-document"), "the first request of an origin fetches its keys"
    assert rig.heard == [NAME]


async def test_the_second_request_asks_nobody_and_leaves_no_steps() -> None:
    rig = Rig()
    await rig.ask()
    passed = await rig.ask()
    assert rig.fetches == 1
    assert not passed.trail


@pytest.mark.req("AUTH-04")
async def test_white_space_and_order_of_the_body_do_not_matter() -> None:
    rig = Rig()
    passed = await rig.ask(method="PUT", body=b'{"a":1,"b":2}', sent=b'{ "b":2,\n"a": 1 }')
    assert passed.content == {"a": 1, "b": 2}
    assert passed.canonical == b'{"a":1,"b":2}'
    assert passed.body == b'{ "b":2,\n"a": 1 }'


@pytest.mark.req("AUTH-05", "D22")
@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_an_empty_body_is_no_content(method: str) -> None:
    passed = await Rig().ask(method=method)
    assert passed.content is None
    assert passed.canonical is None


@pytest.mark.req("D14-13", "REF14-14")
async def test_the_body_of_a_get_is_content_that_must_be_signed() -> None:
    """2014 had both: a sample that signed it, and a server that did not read it."""
    rig = Rig()
    assert (await rig.ask(body=BODY)).content == {"a": 1}
    unsigned = await rig.refused(sent=BODY)
    assert (unsigned.status, unsigned.code) == (401, "request-signature-invalid")
    no_json = await rig.refused(sent=b"hello")
    assert (no_json.status, no_json.errcode) == (400, "M_NOT_JSON")


@pytest.mark.req("AUTH-17")
async def test_a_header_without_destination_is_for_our_first_name() -> None:
    rig = Rig()
    header = signed().replace(f'destination="{US}",', "")
    assert "destination" not in header
    assert (await rig.ask(authorization=(header,))).destination == US
    for_alias = signed(destination=ALIAS).replace(f'destination="{ALIAS}",', "")
    assert (await rig.refused(authorization=(for_alias,))).status == 401


@pytest.mark.req("AUTH-25", "D39")
async def test_a_request_may_be_for_any_of_our_names() -> None:
    assert (await Rig().ask(destination=ALIAS)).destination == ALIAS


@pytest.mark.req("AUTH-22", "D17", "D14-12")
async def test_several_headers_of_one_origin_pass_if_every_current_key_verifies() -> None:
    rig = Rig()
    rig.peer.keys = (KEY, OTHER_KEY)
    unknown = generate_signing_key(b"u" * 32, "a_unknown")
    both = (signed(key=unknown), signed(key=OTHER_KEY), signed())
    assert (await rig.ask(authorization=both)).key_id == OTHER_KEY.key_id
    wrong = (signed(), signed(key=OTHER_KEY, target="/_matrix/y"))
    assert (await rig.refused(authorization=wrong)).code == "request-signature-invalid"
    assert (await rig.refused(authorization=(signed(key=unknown),))).code == "request-key-unknown"


@pytest.mark.req("D18")
@pytest.mark.parametrize("target", ["/_matrix/x", "/_matrix/x?"])
async def test_where_a_server_lost_the_question_mark_the_signature_says_if_there_was_one(
    target: str,
) -> None:
    spellings = ("/_matrix/x", "/_matrix/x?")
    assert (await Rig().ask(target=target, targets=spellings)).target == target


@pytest.mark.req("D16")
async def test_a_lenient_body_may_hold_what_only_old_rooms_may() -> None:
    rig = Rig()
    body = b'{"a":1.5}'
    odd = request(method="PUT", body=body)
    passed = await rig.gate.authenticate(odd, lenient=True)
    assert passed.content == {"a": 1.5}
    assert (await rig.refused(method="PUT", body=body)).errcode == "M_BAD_JSON"


# --- The status table ---

Odd = dict[str, Any]


def without(parameter: str) -> Odd:
    header = signed()
    parts = [each for each in header[9:].split(",") if not each.startswith(parameter)]
    return {"authorization": ("X-Matrix " + ",".join(parts),)}


DEEP = b'{"a":' + b"[" * 200 + b"]" * 200 + b"}"

TABLE = [
    # what is odd; status, errcode, code
    ({"authorization": ()}, 401, "M_UNAUTHORIZED", "auth-missing"),
    ({"authorization": ("Bearer x",)}, 401, "M_UNAUTHORIZED", "auth-missing"),
    ({"authorization": ("X-Matrix what",)}, 400, "M_UNAUTHORIZED", "xmatrix-syntax"),
    (without("origin"), 400, "M_UNAUTHORIZED", "xmatrix-missing-parameter"),
    (without("key"), 400, "M_UNAUTHORIZED", "xmatrix-missing-parameter"),
    (without("sig"), 400, "M_UNAUTHORIZED", "xmatrix-missing-parameter"),
    ({"authorization": (signed() + ',sig="x"',)}, 400, "M_UNAUTHORIZED", "xmatrix-duplicate"),
    ({"authorization": (signed() + "," * 9000,)}, 400, "M_UNAUTHORIZED", "xmatrix-too-long"),
    ({"authorization": (signed(),) * 17}, 400, "M_UNAUTHORIZED", "xmatrix-too-many"),
    (
        {"authorization": (signed(), signed(origin="b.example"))},
        400,
        "M_UNAUTHORIZED",
        "xmatrix-mixed-origins",
    ),
    ({"destination": "them.example"}, 401, "M_UNAUTHORIZED", "auth-destination"),
    ({"destination": US.upper()}, 401, "M_UNAUTHORIZED", "auth-destination"),
    ({"origin": "http://peer.example"}, 400, "M_UNAUTHORIZED", "auth-origin"),
    ({"origin": "peer_example"}, 400, "M_UNAUTHORIZED", "auth-origin"),
    ({"origin": US}, 401, "M_UNAUTHORIZED", "auth-own-name"),
    ({"origin": ALIAS}, 401, "M_UNAUTHORIZED", "auth-own-name"),
    ({"method": "PUT", "body": BODY, "sent": b"{"}, 400, "M_NOT_JSON", "json-not-json"),
    ({"method": "PUT", "body": BODY, "sent": b'{"\xff":1}'}, 400, "M_NOT_JSON", "json-not-utf8"),
    (
        {"method": "PUT", "body": BODY, "sent": b'{"a":1,"a":1}'},
        400,
        "M_BAD_JSON",
        "json-duplicate-key",
    ),
    ({"method": "PUT", "body": BODY, "sent": b'{"a":1.0}'}, 400, "M_BAD_JSON", "json-not-integer"),
    ({"method": "PUT", "body": BODY, "sent": DEEP}, 400, "M_BAD_JSON", "json-too-deep"),
    ({"method": "PUT", "body": b"[]"}, 400, "M_BAD_JSON", "request-content-not-object"),
    (
        {"method": "PUT", "body": BODY, "sent": b" " * 1001},
        413,
        "M_TOO_LARGE",
        "json-too-large",
    ),
    (
        {"method": "PUT", "body": BODY, "sent": b'{"a":2}'},
        401,
        "M_UNAUTHORIZED",
        "request-signature-invalid",
    ),
    (
        {"method": "PUT", "body": BODY, "sent_method": "POST"},
        401,
        "M_UNAUTHORIZED",
        "request-signature-invalid",
    ),
    ({"targets": (TARGET + "&x",)}, 401, "M_UNAUTHORIZED", "request-signature-invalid"),
    ({"targets": (TARGET.lower(),)}, 401, "M_UNAUTHORIZED", "request-signature-invalid"),
    ({"key": OTHER_KEY}, 401, "M_UNAUTHORIZED", "request-key-unknown"),
    ({"origin": "nowhere.example"}, 401, "M_UNAUTHORIZED", "request-key-unknown"),
    (
        {"authorization": (f'X-Matrix origin={NAME},key="{KEY.key_id}",sig="AAAA"',)},
        401,
        "M_UNAUTHORIZED",
        "request-signature-malformed",
    ),
    (
        {"authorization": (f'X-Matrix origin={NAME},key="rsa:1",sig="AAAA"',)},
        401,
        "M_UNAUTHORIZED",
        "request-key-unknown",
    ),
]


@pytest.mark.req(
    "AUTH-01",
    "AUTH-18",
    "AUTH-23",
    "AUTH-32",
    "SEC-18",
    "API-07",
    "REF14-14",
    "D23",
    "TXN-11",
    "AMB-17",
)
@pytest.mark.parametrize(
    ("odd", "status", "errcode", "code"),
    TABLE,
    ids=[f"{row[3]}-{i}" for i, row in enumerate(TABLE)],
)
async def test_what_is_wrong_has_its_status_and_code(
    odd: Odd, status: int, errcode: str, code: str
) -> None:
    rig = Rig(limits=Limits(listen_body_bytes=1000))
    refusal = await rig.refused(**odd)
    assert (refusal.status, refusal.errcode, refusal.code) == (status, errcode, code)
    assert refusal.errcode != "M_UNRECOGNIZED"
    if status == 401 and code != "auth-missing":
        assert refusal.public == PUBLIC, "the wire does not say what was wrong"
    assert refusal.trail.of("gate")[0].code == code
    assert rig.heard == [], "who is not authenticated changes nothing (D21)"


async def test_no_refusal_shows_a_signature() -> None:
    header = signed(target="/_matrix/y")
    signature = header.partition('sig="')[2].rstrip('"')
    refusal = await Rig().refused(authorization=(header,))
    assert signature not in repr((refusal.message, refusal.public, refusal.trail))


@pytest.mark.req("AUTH-24", "SEC-05", "SEC-06")
@pytest.mark.parametrize(
    "odd",
    [
        {"origin": "http://peer.example"},
        {"destination": "them.example"},
        {"origin": US},
        {"method": "PUT", "body": BODY, "sent": b"{"},
    ],
)
async def test_nothing_goes_out_for_what_is_refused_on_sight(odd: Odd) -> None:
    rig = Rig()
    await rig.refused(**odd)
    assert not rig.world.wire.attempts
    assert not rig.world.dns.asked


@pytest.mark.req("AUTH-32")
async def test_a_header_can_be_judged_before_its_body_is_read() -> None:
    rig = Rig()
    claim = rig.gate.claim((signed(method="PUT", content=BODY),))
    assert (claim.origin, claim.destination) == (name(), US)
    passed = await rig.gate.authenticate(request(method="PUT", body=BODY), claim=claim)
    assert passed.content == {"a": 1}


HEADER = st.one_of(
    st.text(st.characters(max_codepoint=255)),
    st.builds(
        lambda name, value, rest: f"X-Matrix origin={name},key={value},sig=AAAA,{rest}",
        st.sampled_from([NAME, US, "[::1]", "a.b:65536", "", '"\\""', "1.2.3.4"]),
        st.sampled_from([KEY.key_id, "ed25519:", ":", "rsa:1", '"ed25519:\u00e4"']),
        st.text(st.characters(max_codepoint=255), max_size=40),
    ),
    st.just(signed()),
)


@pytest.mark.req("AUTH-23")
@settings(max_examples=150, deadline=None)
@given(
    headers=st.lists(HEADER, max_size=3),
    method=st.text(st.characters(max_codepoint=255), max_size=8),
    target=st.text(st.characters(max_codepoint=255), max_size=40),
    body=st.one_of(st.binary(max_size=40), st.sampled_from([BODY, DEEP, b"null", b'"\\ud800"'])),
    lenient=st.booleans(),
)
def test_whatever_a_stranger_sends_is_refused_and_nothing_else_happens(
    headers: list[str], method: str, target: str, body: bytes, lenient: bool
) -> None:
    odd = InboundRequest(
        method=method, targets=(target,), authorization=tuple(headers), body=body, client="x"
    )

    async def ask() -> None:
        with pytest.raises(Unauthenticated):
            await Rig().gate.authenticate(odd, lenient=lenient)

    asyncio.run(ask())


# --- Keys ---


@pytest.mark.req("KEY2-07", "AUTH-20")
async def test_an_old_key_signs_no_request() -> None:
    rig = Rig()
    rig.peer.body = build_v2_document(
        NAME,
        (OTHER_KEY,),
        valid_until=Ms(rig.world.clock.now() + DAY_MS),
        old_keys=(OldVerifyKey(KEY.verify_key, rig.world.clock.now()),),
    )
    refusal = await rig.refused()
    assert (refusal.status, refusal.code) == (401, "request-key-old")
    assert (await rig.ask(key=OTHER_KEY)).key_id == OTHER_KEY.key_id


@pytest.mark.req("KEYF-06", "KEYF-07")
async def test_after_its_expiry_a_key_is_fetched_anew_and_refused_if_it_is_gone() -> None:
    rig = Rig()
    await rig.ask()
    rig.peer.keys = (OTHER_KEY,)
    rig.world.clock.advance(2 * DAY_MS / 1000)
    refusal = await rig.refused()
    assert (refusal.status, refusal.code) == (401, "request-key-unknown")
    assert rig.fetches == 2
    assert (await rig.ask(key=OTHER_KEY)).key_id == OTHER_KEY.key_id


@pytest.mark.req("KEYF-07")
async def test_an_expired_key_whose_server_is_gone_is_refused_and_the_log_says_why() -> None:
    rig = Rig()
    await rig.ask()
    rig.world.host(IP, 8448, fault=Fault.REFUSE)
    rig.world.clock.advance(2 * DAY_MS / 1000)
    refusal = await rig.refused()
    assert (refusal.status, refusal.code) == (401, "request-key-expired")
    assert "no newer document" in refusal.message
    assert refusal.public == PUBLIC


@pytest.mark.req("KEYF-07")
async def test_a_server_that_publishes_an_expired_document_is_refused() -> None:
    rig = Rig()
    rig.peer.life_ms = -HOUR_MS
    assert (await rig.refused()).code == "request-key-expired"
    assert (await rig.refused()).code == "request-key-expired"
    assert rig.fetches == 1, "it is not asked again at once"


@pytest.mark.req("SEC-06")
async def test_when_too_much_is_being_fetched_the_client_is_told_to_come_again() -> None:
    rig = Rig(limits=Limits(inbound_fetches=0))
    refusal = await rig.refused()
    assert (refusal.status, refusal.errcode) == (429, "M_LIMIT_EXCEEDED")
    assert refusal.code == "auth-busy"
    assert rig.fetches == 0


# --- 2014 ---


@pytest.mark.req("D2", "REF14-14")
async def test_a_name_of_2014_is_an_origin_only_where_it_is_listed() -> None:
    rule = msgspec.structs.replace(SEED_RULE, names=("under_score.example",))
    assert (await Rig(rule).refused(origin="under_score.example")).code == "request-key-unknown"
    assert (await Rig().refused(origin="under_score.example")).code == "auth-origin"


@pytest.mark.req("REF14-12", "D1")
async def test_a_server_of_2014_is_authenticated_by_its_version_1_document() -> None:
    rig = Rig(SEED_RULE, seed=True)
    header = signed().replace(f'destination="{US}",', "")
    assert (await rig.ask(authorization=(header,))).origin == name()
    assert rig.peer.asked == ["/_matrix/key/v1"]


# --- Client certificates ---


def rule(policy: ClientCertificate, *leaves: bytes, mode: Mode = Mode.CURRENT) -> TrustRule:
    return TrustRule(
        names=(NAME,),
        client_certificate=policy,
        leaves=frozenset(map(fingerprint, leaves)),
        mode=mode,
        trust=TrustMode.PUBLISHED_CERTIFICATE if mode is Mode.SEED else TrustMode.WEB_PKI,
    )


OWN, OTHER = b"own certificate", b"another certificate"


@pytest.mark.req("SEED-21", "AUTH-30", "D24")
@pytest.mark.parametrize(
    ("policy", "leaf", "found"),
    [
        (ClientCertificate.IGNORE, OWN, "not asked"),
        (ClientCertificate.IGNORE, OTHER, "not asked"),
        (ClientCertificate.RECORD, OWN, "matched"),
        (ClientCertificate.RECORD, OTHER, "other"),
        (ClientCertificate.RECORD, None, "none"),
        (ClientCertificate.REQUIRE, OWN, "matched"),
        (ClientCertificate.REQUIRE, OTHER, None),
        (ClientCertificate.REQUIRE, None, None),
        (ClientCertificate.REQUIRE, b"", None),
    ],
)
async def test_a_client_certificate_is_ignored_recorded_or_required(
    policy: ClientCertificate, leaf: bytes | None, found: str | None
) -> None:
    rig = Rig(rule(policy, OWN))
    if found is not None:
        assert (await rig.ask(leaf=leaf)).client_certificate == found
        return
    refusal = await rig.refused(leaf=leaf)
    assert (refusal.status, refusal.code) == (401, "auth-client-certificate")
    assert refusal.public == PUBLIC
    assert rig.heard == []


@pytest.mark.req("SEED-21")
async def test_under_published_certificate_the_origins_own_leaf_matches_as_client() -> None:
    rig = Rig(rule(ClientCertificate.REQUIRE, mode=Mode.SEED), seed=True)
    leaf = rig.peer.certificate.leaf
    assert (await rig.ask(leaf=leaf)).client_certificate == "matched"
    assert (await rig.refused(leaf=OTHER)).code == "auth-client-certificate"


async def test_without_the_store_only_configured_client_certificates_match() -> None:
    rig = Rig(rule(ClientCertificate.RECORD, mode=Mode.SEED), seed=True)
    leaf = rig.peer.certificate.leaf
    await rig.ask(leaf=leaf)
    rig.world.store.broken = True
    assert (await rig.ask(leaf=leaf)).client_certificate == "other"
