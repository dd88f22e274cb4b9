"""Every budget in one frozen value, and the unit of wall-clock time.

A loop that a stranger feeds is bounded by a number from here, never by one
written at the loop. Times are in **seconds** unless the name says another
unit (``_ms``, ``_days``); wall-clock instants are :data:`Ms`; sizes are in bytes.
"""

from __future__ import annotations

from typing import NewType

import msgspec

Ms = NewType("Ms", int)
"""Milliseconds since 1970-01-01 UTC: the specification's unit for instants."""

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
"""How long a fetched key may be trusted at most ``[s2s:publishing-keys]``."""


class ExchangeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one HTTP answer may cost us. ``seconds`` covers head and body together."""

    head_bytes: int = 65_536
    head_count: int = 128
    body_bytes: int = 1_048_576
    framing_bytes: int = 131_072  # chunk sizes and the like, besides framing_per_byte of body
    framing_per_byte: int = 6  # what a chunk of one byte costs
    seconds: float = 30.0


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """All budgets; the defaults are what production and diagnosis both run with."""

    # One whole resolution or key fetch, whatever happens inside it.
    total_seconds: float = 60.0

    # DNS
    dns_seconds: float = 5.0
    dns_tries: int = 2
    dns_strays: int = 16  # datagrams that are no answer, per try
    alias_hops: int = 10
    records_per_answer: int = 100
    srv_targets: int = 20
    addresses_per_name: int = 16
    dns_ttl_max_seconds: int = 86_400
    dns_negative_seconds: int = 60

    # Connecting: one address has connect_seconds for TCP and TLS together.
    connect_seconds: float = 10.0
    handshake_bytes: int = 262_144  # real ones take 2 to 8 KiB
    proxy_head_bytes: int = 65_536  # what our own proxy may answer to CONNECT
    stagger_seconds: float = 0.25
    attempts_per_request: int = 32

    # Well-known [s2s:resolving-server-names 3]
    wellknown_bytes: int = 51_200
    wellknown_redirects: int = 10
    wellknown_seconds: float = 15.0
    wellknown_default_seconds: int = 24 * 3600
    wellknown_max_seconds: int = 48 * 3600
    wellknown_min_seconds: int = 300
    wellknown_error_min_seconds: int = 60
    wellknown_error_max_seconds: int = 3600

    # Certificates of one chain that are looked at
    certificates_per_chain: int = 20

    # Key documents
    key_document_bytes: int = 262_144
    keys_per_document: int = 100
    signatures_per_document: int = 200
    documents_of_server_bytes: int = 1_048_576  # kept of one server; an honest one has 1 KiB
    documents_cached_bytes: int = 16_777_216  # of all servers, in memory
    pins_per_name: int = 16

    # Keys asked for because of what strangers sent us (SEC-06, KEYF-04)
    key_retry_min_seconds: int = 30  # after a failed fetch, doubling
    key_retry_max_seconds: int = 3600
    key_unknown_seconds: int = 60  # a good document is not fetched anew for an unknown id sooner
    inbound_fetches: int = 64  # at once, in all
    inbound_fetches_per_client: int = 8
    event_keys_seconds: float = 20.0  # for all keys that one transaction's events need

    # JSON
    json_depth: int = 100

    # Requests of ours (D33) and their answers
    request_bytes: int = 13_107_200
    answer_bytes: int = 1_048_576  # of one answer, if the caller says nothing
    answer_bytes_max: int = 524_288_000
    pool_connections: int = 512  # idle, in all
    pool_per_route: int = 5
    pool_idle_seconds: float = 60.0
    requests_per_destination: int = 16  # of a client at once; more wait

    # Inbound requests
    authorization_bytes: int = 8_192  # of one header
    authorization_headers: int = 16
    query_arguments: int = 100
    inbound_body_bytes: int = 268_435_456  # held of requests not authenticated yet, in all
    inbound_body_bytes_per_client: int = 67_108_864

    # Transactions
    transaction_pdus: int = 50
    transaction_edus: int = 100
    transaction_bytes: int = 13_107_200
    event_bytes: int = 65_536
    event_auth_events: int = 10  # not of events that we asked for (backfill)
    event_prev_events: int = 20
    outbox_in_flight: int = 200  # transactions at once, one per destination
    outbox_in_flight_slow: int = 600  # besides, that have not been answered for some seconds
    outbox_lane_items: int = 100_000
    outbox_lane_bytes: int = 268_435_456
    outbox_items: int = 10_000_000  # in all lanes
    lease_seconds: float = 30.0  # renewed at a third of it
    back_off_min_seconds: float = 2.0
    back_off_max_seconds: float = 24 * 3600.0
    back_off_unwelcome_seconds: float = 60.0  # at least, after a 401, 403, 404 and the like
    refusals_before_halving: int = 3
    refusal_retry_seconds: float = 5.0
    transaction_seconds: float = 60.0  # for one answer to a transaction
    inbox_waiting_per_origin: int = 4  # transactions that wait for the one in hand; more: 429
    handler_seconds: float = 120.0  # for one item; then it has failed
    inbox_days: int = 30  # how long a received id is remembered (D35)

    # Names remembered in memory at once (caches are least-recently-used).
    cache_entries: int = 10_000

    # Listener
    listen_head_bytes: int = 65_536
    listen_head_count: int = 128
    listen_head_seconds: float = 10.0
    listen_idle_seconds: float = 125.0
    listen_body_bytes: int = 13_107_200
    listen_body_seconds: float = 60.0
    listen_connections: int = 4_096
    listen_connections_per_client: int = 256  # an IPv4 address, or an IPv6 /64

    def exchange(self, *, body_bytes: int, seconds: float = 30.0) -> ExchangeLimits:
        """Limits of one exchange whose body may have ``body_bytes``."""
        return ExchangeLimits(body_bytes=body_bytes, seconds=seconds)
