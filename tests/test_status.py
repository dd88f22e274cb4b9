"""Every way in which a signed request can be wrong, on real sockets, and what is answered.

The rows are the page ``docs/reference/status.md``; the last test holds the two equal.
After a refusal no handler ran and nothing was stored.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from ranvier.faces.answers import refused
from tests.rigs import certs
from tests.rigs.status import (
    GONE,
    KEY,
    OLD,
    PROFILE,
    SEND,
    STRANGE,
    Stage,
    stage,
    transaction,
)

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "status.md"
NOBODY = "the request is not authenticated"
UNREADABLE = "the Authorization header cannot be read"

Make = Callable[[Stage], bytes]
Before = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True)
class Row:
    """``says`` is the public text, ending in ``...`` if more follows; ``code`` our log's."""

    section: str
    what: str
    status: int
    errcode: str
    says: str
    code: str
    make: Make
    before: Before | None = None
    certificate: bool = False


def body(stage: Stage) -> bytes:
    return transaction(stage.peer)


def put(**signing: Any) -> Make:
    return lambda stage: stage.put(body(stage), **signing)


def sent(made: Make, old: str, new: str) -> Make:
    """Changed after it was signed; of the same length."""

    def change(stage: Stage) -> bytes:
        request = made(stage)
        assert request.count(old.encode()) == 1
        return request.replace(old.encode(), new.encode())

    return change


def headers(change: Callable[[Stage, str], tuple[str, ...]]) -> Make:
    """The signed header, changed or multiplied."""

    def make(stage: Stage) -> bytes:
        content = body(stage)
        signed = stage.header(content=content)
        return stage.raw("PUT", SEND + "1", *change(stage, signed), body=content)

    return make


def edited(old: str, new: str) -> Make:
    return headers(lambda _, signed: (signed.replace(old, new, 1),))


def content(text: bytes) -> Make:
    """A body that no signature is computed for: it is refused before that."""
    return lambda stage: stage.raw(
        "PUT", "/_matrix/federation/v1/send/1", stage.header(content=b"{}"), body=text
    )


def of(**changes: object) -> Make:
    """A transaction with these members."""
    return lambda stage: stage.put(transaction(stage.peer, **changes))


def at(target: str) -> Make:
    return lambda stage: stage.put(body(stage), target)


def forged(stage: Stage, signed: str) -> tuple[str, ...]:
    return (re.sub(r'sig="[^"]+"', f'sig="{"A" * 86}"', signed),)


# --- What was before ---


async def expired(stage: Stage) -> None:
    stage.document = lambda: stage.good_document(days=-1)


async def unreadable(stage: Stage) -> None:
    stage.document = lambda: b"<html>"


async def revoked(stage: Stage) -> None:
    """It was good, and used; then the owner took it back."""
    stage.document = lambda: stage.good_document(KEY, GONE)
    assert (await stage.ask(stage.get(key=GONE))).status == 200
    stage.handled.clear()
    stage.document = lambda: stage.good_document(KEY)
    await stage.federation.fetch_keys(stage.peer, fresh=True)


async def with_certificate(stage: Stage, name: str) -> None:
    stage.client = ssl._create_unverified_context()
    stage.client.load_cert_chain(*certs.good(name).files)


async def other_certificate(stage: Stage) -> None:
    await with_certificate(stage, "localhost")


HEADER = "The header"
WHO = "Who signed"
WHAT = "What was signed"
BODY = "The body"
TRANSACTION = "The transaction"
PATH = "The path"
AUTH, JSON, LARGE = "M_UNAUTHORIZED", "M_BAD_JSON", "M_TOO_LARGE"

# fmt: off
ROWS = (
    # The header
    Row(HEADER, "none", 401, AUTH, "the request is not signed", "auth-missing",
        headers(lambda stage, signed: ())),
    Row(HEADER, "another scheme", 401, AUTH, "the request is not signed", "auth-missing",
        headers(lambda stage, signed: ("Bearer abc",))),
    Row(HEADER, "unreadable", 400, AUTH, UNREADABLE, "xmatrix-syntax",
        edited('sig="', 'sig"')),
    Row(HEADER, "without a key id", 400, AUTH, UNREADABLE, "xmatrix-missing-parameter",
        edited('key="', 'kez="')),
    Row(HEADER, "a parameter twice", 400, AUTH, UNREADABLE, "xmatrix-duplicate",
        edited("X-Matrix ", 'X-Matrix sig="A",')),
    Row(HEADER, "longer than 8 KiB", 400, AUTH, UNREADABLE, "xmatrix-too-long",
        edited("X-Matrix ", f'X-Matrix x="{"x" * 8192}",')),
    Row(HEADER, "more than 16", 400, AUTH, UNREADABLE, "xmatrix-too-many",
        headers(lambda stage, signed: (signed,) * 17)),
    Row(HEADER, "the same key in two", 400, AUTH, UNREADABLE, "xmatrix-same-key-twice",
        headers(lambda stage, signed: (signed,) * 2)),
    Row(HEADER, "two origins", 400, AUTH, UNREADABLE, "xmatrix-mixed-origins",
        headers(lambda stage, signed: (signed, stage.header(origin="a.example")))),
    Row(HEADER, "two destinations", 400, AUTH, UNREADABLE, "xmatrix-mixed-destinations",
        headers(lambda stage, signed: (
            signed, stage.header(destination="a.example", key=STRANGE)))),
    Row(HEADER, "the origin is no server name", 400, AUTH,
        "the origin in the Authorization header is no server name", "auth-origin",
        put(origin="no_such.name")),
    Row(HEADER, "the origin is our own name", 401, AUTH, NOBODY, "auth-own-name",
        lambda stage: stage.put(body(stage), origin=stage.us)),
    Row(HEADER, "for another destination", 401, AUTH, NOBODY, "auth-destination",
        put(destination="other.example")),
    # Who signed
    Row(WHO, "a key that the origin does not list", 401, AUTH, NOBODY, "request-key-unknown",
        put(key=STRANGE)),
    Row(WHO, "an old key, which is for events only", 401, AUTH, NOBODY, "request-key-old",
        put(key=OLD)),
    Row(WHO, "a key of a document that has expired", 401, AUTH, NOBODY, "request-key-expired",
        put(), expired),
    Row(WHO, "a key that was taken back", 401, AUTH, NOBODY, "request-key-unknown",
        put(key=GONE), revoked),
    Row(WHO, "the origin's keys cannot be had", 401, AUTH, NOBODY, "request-key-unknown",
        put(), unreadable),
    Row(WHO, "the origin cannot be reached", 401, AUTH, NOBODY, "request-key-unknown",
        put(origin="127.0.0.1:1")),
    Row(WHO, "a forged signature", 401, AUTH, NOBODY, "request-signature-invalid",
        headers(forged)),
    Row(WHO, "a signature that is none", 401, AUTH, NOBODY, "request-signature-malformed",
        headers(lambda stage, signed: (re.sub(r'sig="[^"]+"', 'sig="A"', signed),))),
    Row(WHO, "one good key and one bad", 401, AUTH, NOBODY, "request-signature-invalid",
        headers(lambda stage, signed: (signed, stage.header(content=b"{}", key=GONE))),
        lambda stage: two_keys(stage)),
    Row(WHO, "a client certificate is required, none shown", 401, AUTH, NOBODY,
        "auth-client-certificate", put(), certificate=True),
    Row(WHO, "a client certificate is required, another shown", 401, AUTH, NOBODY,
        "auth-client-certificate", put(), other_certificate, certificate=True),
    # What was signed
    Row(WHAT, "the body was changed", 401, AUTH, NOBODY, "request-signature-invalid",
        sent(put(), '"edu_type":"x"', '"edu_type":"y"')),
    Row(WHAT, "the target was changed", 401, AUTH, NOBODY, "request-signature-invalid",
        sent(put(), f"{SEND}1 ", f"{SEND}2 ")),
    Row(WHAT, "the method was changed", 401, AUTH, NOBODY, "request-signature-invalid",
        lambda stage: stage.raw("PUT", SEND + "1", stage.header("POST", content=body(stage)),
                                body=body(stage))),
    Row(WHAT, "the query was changed", 401, AUTH, NOBODY, "request-signature-invalid",
        sent(lambda stage: stage.get(PROFILE + "?a=1"), "?a=1", "?a=2")),
    Row(WHAT, "an empty query was taken away", 401, AUTH, NOBODY, "request-signature-invalid",
        sent(lambda stage: stage.get(PROFILE + "?"), "? ", " ")),
    Row(WHAT, "the target was spelled otherwise", 401, AUTH, NOBODY, "request-signature-invalid",
        sent(put(), f"{SEND}1 ", f"{SEND}%31 ")),
    Row(WHAT, "`{}` was signed, nothing sent", 401, AUTH, NOBODY, "request-signature-invalid",
        lambda stage: stage.put(b"", content=b"{}")),
    Row(WHAT, "nothing was signed, `{}` sent", 401, AUTH, NOBODY, "request-signature-invalid",
        lambda stage: stage.put(b"{}", content=None)),
    Row(WHAT, "the destination was changed", 401, AUTH, NOBODY, "auth-destination",
        headers(lambda stage, signed: (signed.replace(stage.us, "other.example"),))),
    Row(WHAT, "the origin was changed", 401, AUTH, NOBODY, "request-key-unknown",
        headers(lambda stage, signed: (signed.replace(stage.peer, "127.0.0.1:1"),))),
    # The body
    Row(BODY, "not JSON", 400, "M_NOT_JSON", "the body: ...", "json-not-json",
        content(b"{")),
    Row(BODY, "not UTF-8", 400, "M_NOT_JSON", "the body: ...", "json-not-utf8",
        content(b'{"a":"\xff"}')),
    Row(BODY, "no object", 400, JSON, "the body: ...", "request-content-not-object",
        content(b"[]")),
    Row(BODY, "deeper than 100", 400, JSON, "the body: ...", "json-too-deep",
        content(b'{"a":' * 101 + b"1" + b"}" * 101)),
    Row(BODY, "half of a surrogate pair", 400, JSON, "the body: ...", "json-surrogate",
        content(b'{"a":"\\ud800"}')),
    Row(BODY, "a float, but in a transaction", 400, JSON, "the body: ...", "json-not-integer",
        lambda stage: stage.raw("GET", PROFILE, stage.header("GET", PROFILE), body=b'{"a":1.5}')),
    Row(BODY, "a key twice, but in a transaction's items", 400, JSON, "the body: ...",
        "json-duplicate-key",
        lambda stage: stage.raw("GET", PROFILE, stage.header("GET", PROFILE),
                                body=b'{"a":1,"a":1}')),
    Row(BODY, "larger than the listener takes", 413, LARGE,
        "the body of the request is too large", "body-too-large",
        lambda stage: stage.put(b'{"a":"' + b"x" * 200_000 + b'"}')),
    Row(BODY, "the same without saying its length", 413, LARGE,
        "the body of the request is too large", "body-too-large",
        lambda stage: stage.raw("PUT", SEND + "1", stage.header(), chunked=True,
                                body=b'{"a":"' + b"x" * 200_000 + b'"}')),
    # The transaction
    Row(TRANSACTION, "no body at all", 400, "M_NOT_JSON", "not JSON: ...", "transaction-not-json",
        lambda stage: stage.put(b"", content=None)),
    Row(TRANSACTION, "larger than 12.5 MiB", 413, LARGE, "a transaction of ...",
        "transaction-too-large", of(x="x" * 100_000)),
    Row(TRANSACTION, "more than 50 PDUs", 400, JSON, "a transaction with 51 pdus; at most 50",
        "transaction-too-many", of(pdus=[{}] * 51)),
    Row(TRANSACTION, "more than 100 EDUs", 400, JSON, "a transaction with 101 edus; at most 100",
        "transaction-too-many", of(edus=[{}] * 101)),
    Row(TRANSACTION, "no `origin`", 400, JSON, "the transaction has no origin",
        "transaction-member-missing", of(origin=None)),
    Row(TRANSACTION, "no `origin_server_ts`", 400, JSON, "the transaction has no origin_server_ts",
        "transaction-member-missing", of(origin_server_ts=None)),
    Row(TRANSACTION, "no `pdus`", 400, JSON, "the transaction has no pdus",
        "transaction-member-missing", of(pdus=None)),
    Row(TRANSACTION, "`pdus` is no array", 400, JSON, "the transaction's pdus is not an array",
        "transaction-member-type", of(pdus={})),
    Row(TRANSACTION, "`origin_server_ts` beyond 2^53", 400, JSON,
        "the transaction's origin_server_ts is outside ...", "transaction-time-range",
        lambda stage: stage.put(b'{"edus":[],"origin":"x","origin_server_ts":9007199254740993,'
                                b'"pdus":[]}')),
    Row(TRANSACTION, "a member twice", 400, JSON, "the transaction has 'pdus' twice",
        "transaction-duplicate-key",
        lambda stage: stage.put(
            b'{"origin":"x","origin_server_ts":1,"pdus":[1],"pdus":[]}',
            content=b'{"origin":"x","origin_server_ts":1,"pdus":[]}')),
    # The path
    Row(PATH, "not known", 404, "M_UNRECOGNIZED", "there is nothing at this path", "",
        at("/_matrix/federation/v1/nothing")),
    Row(PATH, "a query that has no handler", 404, "M_UNRECOGNIZED",
        "there is nothing at this path", "",
        lambda stage: stage.get("/_matrix/federation/v1/query/nothing")),
    Row(PATH, "no transaction id", 404, "M_UNRECOGNIZED", "there is nothing at this path", "",
        at(SEND)),
    Row(PATH, "another method", 405, "M_UNRECOGNIZED", "this path has PUT only", "",
        lambda stage: stage.raw("POST", SEND + "1", stage.header("POST", content=body(stage)),
                                body=body(stage))),
    Row(PATH, "two segments after `send`", 400, "M_INVALID_PARAM",
        "'/_matrix/federation/v1/send/1/2' is not ...", "transaction-path", at(SEND + "1/2")),
    Row(PATH, "the slash of 2014, from others", 400, "M_INVALID_PARAM",
        "'/_matrix/federation/v1/send/1/' is not ...", "transaction-path", at(SEND + "1/")),
    Row(PATH, "a transaction id that is not UTF-8", 400, "M_INVALID_PARAM",
        "the transaction id is not UTF-8, ...", "transaction-id-encoding", at(SEND + "%ff")),
    Row(PATH, "a transaction id of more than 255 bytes", 400, "M_INVALID_PARAM",
        "a transaction id of 256 bytes; it has 1 to 255", "transaction-id-length",
        at(SEND + "x" * 256)),
    Row(PATH, "more than 100 arguments", 400, "M_INVALID_PARAM", "more than 100 arguments",
        "query-too-long", lambda stage: stage.get(PROFILE + "?" + "&".join(["a=1"] * 101))),
)
# fmt: on


async def two_keys(stage: Stage) -> None:
    stage.document = lambda: stage.good_document(KEY, GONE)


# --- The rows ---


@pytest.mark.req("AUTH-10", "AUTH-24", "AUTH-25", "AUTH-27", "API-05", "SEC-14", "SEC-18", "TXN-03")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.section}: {row.what}")
async def test_it_is_refused_and_nothing_happens(
    row: Row, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "ranvier")
    async with stage(tmp_path, certificate=row.certificate) as on:
        if row.before is not None:
            await row.before(on)
        caplog.clear()
        reply = await on.ask(row.make(on))
        assert (reply.status, reply.json["errcode"]) == (row.status, row.errcode)
        said = row.says.partition("...")[0]
        text = reply.json["error"]
        assert text.startswith(said) if "..." in row.says else text == said
        assert reply.json.keys() == {"errcode", "error"}
        assert on.handled == []
        assert await on.stored() == ()
        assert not row.code or f"({row.code})" in caplog.text


@pytest.mark.req("SEC-18")
def test_who_is_not_authenticated_is_told_one_text() -> None:
    kinds = {(row.errcode, row.says) for row in ROWS if row.status == 401}
    assert kinds == {(AUTH, NOBODY), (AUTH, "the request is not signed")}
    assert {row.says for row in ROWS if row.section in (WHO, WHAT)} == {NOBODY}


@pytest.mark.req("D23")
def test_no_400_says_unrecognized() -> None:
    assert not [row for row in ROWS if row.status == 400 and "UNRECOGNIZED" in row.errcode]


async def test_the_same_requests_unspoiled_are_taken(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        for request, n in ((put()(on), 1), (on.get(), 2), (on.get(PROFILE + "?"), 3)):
            assert (await on.ask(request)).status == 200
            assert len(on.handled) == n
        assert await on.stored() == (on.peer,)


@pytest.mark.req("SEED-21")
async def test_the_origins_own_client_certificate_is_taken(tmp_path: Path) -> None:
    async with stage(tmp_path, certificate=True) as on:
        await with_certificate(on, "127.0.0.1")
        assert (await on.ask(put()(on))).status == 200


# --- The page ---

HEAD = """# What is refused, and how

What our server answers to a signed request that is wrong. After each of these no handler
has run and nothing is stored. The `code` is in our own log with the reason in words
(logger `ranvier.receive`, for `body-too-large` `ranvier.listen`); the wire says less:
whoever is not authenticated is told one text, whatever the reason was (SEC-18).

Items of a transaction are judged one by one: a bad one is an error in the answer, which
is 200 ([errors](errors.md)). Besides these: 408 for what comes too slowly, 429
`M_LIMIT_EXCEEDED` while too many transactions of one origin wait
(`transactions-waiting`), too many keys are being fetched (`auth-busy`) or too many large
bodies read (`bodies-too-many`), and 500 `M_UNKNOWN` for our own faults, upon which the
same transaction may come again.

Every row is a test on real sockets (`tests/test_status.py`).
"""


def page() -> str:
    """The page that the rows make."""
    parts = [HEAD]
    for section, rows in groupby(ROWS, key=lambda row: row.section):
        lines = [
            "| wrong | status | `errcode` | `error` | code |",
            "| --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| {row.what} | {row.status} | `{row.errcode}` | {row.says} |"
            f" {f'`{row.code}`' if row.code else '-'} |"
            for row in rows
        ]
        parts.append(f"## {section}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def test_the_page_says_what_the_rows_say() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.test_status"


def test_a_refusal_has_two_members() -> None:
    assert refused(401, AUTH, NOBODY).body == (
        b'{"errcode":"M_UNAUTHORIZED","error":"the request is not authenticated"}'
    )


if __name__ == "__main__":
    PAGE.write_text(page())
