"""The endpoints that take signed requests: transactions, and queries with a handler.

A path and its methods are known to everybody; only then it is asked who is there
(UNS-05). What an error says on the wire is less than what the log gets (SEC-18), and
never 400 ``M_UNRECOGNIZED``, upon which Synapse would ask again (D23). A handler of
queries may raise ``Reply``, or ``Malformed`` for arguments that it cannot read; all else
is our own fault, and 500.

With a trailing slash, as in 2014, ``/send/`` is there for listed origins alone: that is
known once the origin is.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from ranvier.errors import Malformed, StoreFault, Unauthenticated
from ranvier.faces.answers import Answer, refused
from ranvier.faces.inbound import authenticate, raw_targets
from ranvier.limits import Limits
from ranvier.protocol.canonical import encode_canonical
from ranvier.protocol.routes import Mode
from ranvier.protocol.transactions import parse_send_path
from ranvier.services.gate import Authenticated, Gate
from ranvier.services.hooks import Hooks, Query, Reply, TryAgain
from ranvier.services.receiver import Receiver
from ranvier.services.trust import TrustBook

SEND = "/_matrix/federation/v1/send/"
QUERY = "/_matrix/federation/v1/query/"

_OF_THE_PATH = frozenset({"transaction-path", "transaction-id-encoding", "transaction-id-length"})

logger = logging.getLogger("ranvier.receive")


class Exchange:
    """Answers signed requests to our own endpoints."""

    def __init__(
        self, gate: Gate, receiver: Receiver, hooks: Hooks, book: TrustBook, limits: Limits
    ) -> None:
        self._gate = gate
        self._receiver = receiver
        self._hooks = hooks
        self._book = book
        self._limits = limits

    def methods(self, path: str) -> str | None:
        """The methods of a path that is ours."""
        if path.startswith(SEND) and len(path) > len(SEND):
            return "PUT"
        if path.startswith(QUERY) and path.removeprefix(QUERY) in self._hooks.queries:
            return "GET"
        return None

    async def answer(self, scope: Any, receive: Any, path: str) -> Answer:
        """The answer to a request whose path and method are ours."""
        try:
            sending = path.startswith(SEND)
            authenticated = await authenticate(self._gate, scope, receive, lenient=sending)
            if sending:
                return await self._receive(authenticated)
            return await self._query(authenticated, path.removeprefix(QUERY))
        except Unauthenticated as error:
            logger.info("refused %s: %s (%s)", _place(scope), error, error.code)
            return refused(error.status, error.errcode, error.public)
        except Malformed as error:
            logger.info("refused %s: %s (%s)", _place(scope), error, error.code)
            return refused(*_wire(error), error.message)
        except Reply as reply:
            return refused(reply.status, reply.errcode, reply.error)
        except (TryAgain, StoreFault) as error:
            logger.error("failed at %s: %s", _place(scope), str(error) or "a handler says later")
            return refused(500, "M_UNKNOWN", "this cannot be taken now")
        except Exception:
            logger.exception("failed at %s", _place(scope))
            return refused(500, "M_UNKNOWN", "the server failed")

    async def _receive(self, request: Authenticated) -> Answer:
        seed = self._book.rule_for(request.origin).mode is Mode.SEED
        txn_id = parse_send_path(request.target, seed=seed)
        return Answer(200, await self._receiver.receive(request, txn_id, seed=seed))

    async def _query(self, request: Authenticated, query_type: str) -> Answer:
        query = Query(
            query_type=query_type,
            arguments=_arguments(request.target, self._limits),
            origin=request.origin,
        )
        said = await self._hooks.queries[query_type](query)
        try:
            return Answer(200, encode_canonical(said))
        except Malformed as error:
            raise TypeError(f"the handler of {query_type} answered no JSON: {error}") from None


def _arguments(target: str, limits: Limits) -> Mapping[str, str]:
    """Raises: Malformed."""
    query = target.partition("?")[2]
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=limits.query_arguments)
    except ValueError:
        raise Malformed(
            "query-too-long", f"more than {limits.query_arguments} arguments", clause="[s2s:query]"
        ) from None
    return dict(pairs)


def _wire(error: Malformed) -> tuple[int, str]:
    """Status and errcode of what is no transaction or no query."""
    if error.code == "transaction-too-large":
        return 413, "M_TOO_LARGE"
    if error.code == "transaction-not-json":
        return 400, "M_NOT_JSON"
    of_body = error.code.startswith("transaction-") and error.code not in _OF_THE_PATH
    return 400, "M_BAD_JSON" if of_body else "M_INVALID_PARAM"


def _place(scope: Any) -> str:
    return f"{scope['method']} {ascii(raw_targets(scope)[0])[:200]}"
