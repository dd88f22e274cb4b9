"""Which rule a name lives under, and that no rule leaks to a name that is not listed."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranvier.errors import Malformed
from ranvier.limits import Limits
from ranvier.protocol.names import Grammar, parse_server_name, parse_server_name_2014
from ranvier.protocol.routes import Mode
from ranvier.protocol.signing import VerifyKey, generate_signing_key
from ranvier.services.trust import DEFAULT_RULE, Pins, TrustBook, TrustMode, TrustRule

RULE = TrustRule(
    names=("old.example", "port.example:8449", "*.closed.example"),
    networks=("10.0.0.0/8", "fd00::/8"),
    trust=TrustMode.PUBLISHED_CERTIFICATE,
)
BOOK = TrustBook((RULE,))


@pytest.mark.req("TLS-05", "SEC-20")
@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("old.example", True),
        ("OLD.example", False),  # names are case-sensitive
        ("old.example:8448", False),  # another server name
        ("port.example:8449", True),
        ("port.example", False),
        ("a.closed.example", True),
        ("a.closed.example:1", True),
        ("closed.example", False),
        ("evilclosed.example", False),
        ("10.1.2.3", True),
        ("10.1.2.3:8448", True),
        ("[fd00::1]:8448", True),
        ("11.1.2.3", False),
        ("[2001:db8::1]", False),
        ("10.example", False),  # a DNS name never matches a network
    ],
)
def test_a_rule_lists_what_it_says_and_nothing_else(name: str, listed: bool) -> None:
    rule = BOOK.rule_for(parse_server_name(name))
    assert (rule is RULE) is listed
    assert rule.trust is (TrustMode.PUBLISHED_CERTIFICATE if listed else TrustMode.WEB_PKI)


def test_a_name_listed_as_of_2014_is_read_by_the_grammar_of_2014() -> None:
    book = TrustBook((TrustRule(names=("*.old.example", "x_y"), mode=Mode.SEED), RULE))
    assert book.parse_name("x_y") == parse_server_name_2014("x_y")
    assert book.parse_name("a.old.example:").grammar is Grammar.SEED
    assert book.parse_name("old.example").grammar is Grammar.CURRENT
    for text in ("y_x", "old.example:", ""):
        with pytest.raises(Malformed) as caught:
            book.parse_name(text)
        assert caught.value.clause == "[app:server-name]"


@pytest.mark.req("SEC-20")
@given(st.from_regex(r"\A[a-z0-9]{1,9}(\.[a-z0-9]{1,9}){0,2}\Z"))
def test_an_unlisted_name_is_always_judged_by_the_authorities(text: str) -> None:
    listed = text == "old.example" or text.endswith(".closed.example")
    assert (BOOK.rule_for(parse_server_name(text)) is DEFAULT_RULE) is not listed
    assert TrustBook().rule_for(parse_server_name(text)) is DEFAULT_RULE


def test_the_first_rule_that_lists_a_name_holds() -> None:
    other = TrustRule(names=("old.example",))
    assert TrustBook((other, RULE)).rule_for(parse_server_name("old.example")) is other


def test_pins_keep_the_last_used_and_never_give_a_key_id_other_bytes() -> None:
    few = Limits(pins_per_name=2, keys_per_document=2)
    first, other = (_key(each, "a") for each in (b"1", b"2"))
    pins = Pins().accepting("aa", (first,), few).accepting("bb", (other,), few)
    assert pins.leaves == ("aa", "bb")
    assert pins.verify_keys() == {"ed25519:a": first}
    assert pins.accepting("aa", (), few).leaves == ("bb", "aa")
    assert pins.accepting("cc", (), few).leaves == ("bb", "cc")
    flooded = pins.accepting("aa", (_key(b"3", "b"), first, _key(b"4", "c")), few)
    assert [key_id for key_id, _ in flooded.keys] == ["ed25519:a", "ed25519:c"]


def test_a_configured_key_counts_whatever_was_kept() -> None:
    rule = msgspec.structs.replace(RULE, verify_keys=(_key(b"1", "a"),))
    kept = Pins(configured=rule.entry, keys=(("ed25519:a", "of nobody's"),), leaves=("aa",))
    assert kept.under(rule).verify_keys() == {"ed25519:a": _key(b"1", "a")}
    assert kept.under(RULE) == kept, "a line that is gone changes nothing"


def _key(seed: bytes, version: str) -> VerifyKey:
    return generate_signing_key(seed * 32, version).verify_key
