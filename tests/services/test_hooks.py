"""Handlers as they are registered and called, and what they may want written."""

from __future__ import annotations

from typing import Any

import pytest

from ranvier.deeds import NoteEffect, SqlEffect
from ranvier.errors import BadConfiguration, NotValid, StoreFault
from ranvier.handlers import Handlers
from ranvier.protocol.edus import Edu, UnknownEdu
from ranvier.protocol.names import ServerName
from ranvier.services.hooks import FAILED, Called, Effects, Hooks, Query, Reply, TryAgain
from tests.services.receiverrig import authenticated

PEER = ServerName("peer.example")


def effects() -> Effects:
    return Effects("key", authenticated(b"{}"))


async def test_a_handler_gets_effects_if_it_takes_a_third_argument() -> None:
    seen: list[Any] = []

    async def two(edu: Edu, origin: ServerName) -> None:
        seen.append((edu, origin))

    async def three(edu: Edu, origin: ServerName, effects: Effects) -> None:
        seen.append(effects)

    item, own = UnknownEdu(edu_type="x"), effects()
    await Called.of(two)(item, PEER, own)
    await Called.of(three)(item, PEER, own)
    assert seen == [(item, PEER), own]


@pytest.mark.parametrize(
    "handler", [lambda: None, lambda a: None, lambda a, b, c, d: None], ids=["0", "1", "4"]
)
def test_other_numbers_of_arguments_are_refused_at_registration(handler: Any) -> None:
    with pytest.raises(BadConfiguration) as refused:
        Called.of(handler)
    assert refused.value.code == "handler-arguments"
    with pytest.raises(BadConfiguration):
        Handlers().on_pdu(handler)


def test_effects_keep_their_order() -> None:
    own = effects()
    own.write("kind", "name", b"1")
    own.execute("DELETE FROM x WHERE a = ? AND b = ?", 1, "b")
    own.write("kind", "name", None)
    assert own.wanted == (
        NoteEffect(kind="kind", name="name", value=b"1"),
        SqlEffect(statement="DELETE FROM x WHERE a = ? AND b = ?", row=(1, "b")),
        NoteEffect(kind="kind", name="name", value=None),
    )


def test_an_edu_goes_to_the_handler_of_its_type_or_to_the_one_for_all() -> None:
    hooks = Hooks()
    assert hooks.for_edu(UnknownEdu(edu_type="x")) is None

    async def handler(edu: Edu, origin: ServerName) -> None: ...

    own, rest = Called.of(handler), Called.of(handler)
    hooks.edus = {"x": own, "*": rest}
    assert hooks.for_edu(UnknownEdu(edu_type="x")) is own
    assert hooks.for_edu(UnknownEdu(edu_type="y")) is rest


async def test_without_hooks_no_room_is_known_and_nobody_is_refused() -> None:
    hooks = Hooks()
    assert await hooks.version_of("!r:x") is None
    assert await hooks.against("!r:x", PEER) is None


@pytest.mark.parametrize(
    ("raised", "comes_out"),
    [
        (KeyError("secret"), NotValid),
        (NotValid("x", "no"), NotValid),
        (TryAgain(), TryAgain),
        (StoreFault("x", "no"), StoreFault),
    ],
)
async def test_a_hook_that_fails_is_our_own_fault_and_tells_nothing(
    raised: Exception, comes_out: type[Exception]
) -> None:
    async def hook(*about: object) -> str | None:
        raise raised

    hooks = Hooks()
    hooks.room_version = hooks.filter = hook
    for asked in (hooks.version_of("!r:x"), hooks.against("!r:x", PEER)):
        with pytest.raises(comes_out) as caught:
            await asked
        if isinstance(raised, KeyError):
            assert (getattr(caught.value, "code", ""), str(caught.value)) == ("hook-failed", FAILED)
        else:
            assert caught.value is raised


def test_the_last_registration_holds() -> None:
    handlers = Handlers()

    async def first(edu: Edu, origin: ServerName) -> None: ...
    async def last(edu: Edu, origin: ServerName) -> None: ...
    async def query(query: Query) -> dict[str, Any]:
        return {}

    async def hook(*about: object) -> str | None:
        return None

    for each in (first, last):
        assert handlers.on_edu("m.typing")(each) is each
        assert handlers.on_edu()(each) is each
        assert handlers.on_pdu(each) is each
    assert handlers.on_query("profile")(query) is query
    assert handlers.room_version(hook) is hook
    assert handlers.filter(hook) is hook
    hooks = handlers._hooks
    assert hooks.pdu is not None
    assert {hooks.pdu.handler, *(each.handler for each in hooks.edus.values())} == {last}
    assert (hooks.queries, hooks.room_version, hooks.filter) == ({"profile": query}, hook, hook)


def test_a_reply_carries_status_and_code() -> None:
    reply = Reply(404, "M_NOT_FOUND")
    assert (reply.status, reply.errcode, reply.error, str(reply)) == (404, "M_NOT_FOUND", "", "")
