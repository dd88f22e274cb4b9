"""The options of what goes out, beside a configuration that lists the name already."""

from __future__ import annotations

from pathlib import Path

import pytest

from ranvier.faces.going import Going
from ranvier.protocol.names import ServerName
from ranvier.protocol.routes import Mode
from ranvier.services.trust import TrustMode

PIN, OTHER = "a" * 64, "b" * 64
FILE = f"""\
[[peers]]
names = ["old.example"]
trust = "published-certificate"
mode = "2014"
certificate_sha256 = ["{PIN}"]
"""


@pytest.mark.req("SEC-20")
@pytest.mark.parametrize(
    ("name", "mode", "trust", "expected"),
    [
        ("old.example", None, None, (Mode.SEED, TrustMode.PUBLISHED_CERTIFICATE, {PIN})),
        ("old.example", "current", None, (Mode.CURRENT, TrustMode.PUBLISHED_CERTIFICATE, {PIN})),
        ("old.example", None, "web-pki", (Mode.SEED, TrustMode.WEB_PKI, set())),
        (
            "old.example",
            None,
            f"sha256:{OTHER}",
            (Mode.SEED, TrustMode.PUBLISHED_CERTIFICATE, {OTHER}),
        ),
        ("new.example", "2014", None, (Mode.SEED, TrustMode.WEB_PKI, set())),
        (
            "new.example",
            None,
            "published-certificate",
            (Mode.CURRENT, TrustMode.PUBLISHED_CERTIFICATE, set()),
        ),
    ],
)
def test_an_option_changes_what_it_says_and_the_configuration_holds_for_the_rest(
    tmp_path: Path,
    name: str,
    mode: str | None,
    trust: str | None,
    expected: tuple[Mode, TrustMode, set[str]],
) -> None:
    file = tmp_path / "ranvier.toml"
    file.write_text(FILE)
    going = Going(config=file, mode=mode, trust=trust)  # type: ignore[arg-type] # words
    book = going.federation(name).config.book()
    rule = book.rule_for(ServerName(name))
    assert (rule.mode, rule.trust, set(rule.leaves)) == expected
    assert book.rule_for(ServerName("third.example")).trust is TrustMode.WEB_PKI
