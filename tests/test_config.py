"""The configuration file: what it may say, and one clear line for what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ranvier.config import Config, load_config
from ranvier.errors import BadConfiguration
from ranvier.protocol.routes import Mode
from ranvier.services.trust import ClientCertificate, TrustMode

KEY = "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI"

WHOLE = f"""
server_name = "example.org"
data = "state"
[signing]
key_file = "my.key"
[[signing.old_keys]]
key_id = "ed25519:a_old"
key = "{KEY}"
expired_ts = 1700000000000
[listen]
host = "0.0.0.0"
port = 8449
tls = false
proxy_certificate = "proxy.crt"
client_certificates = "ask"
[[listen.proxies]]
networks = ["10.0.0.1/32"]
client_certificate_header = "X-Client-Certificate"
[publish]
well_known = "matrix.example.org:443"
[store]
path = "x.db"
[outgoing]
dns = ["127.0.0.53", "127.0.0.1:5353"]
allow_private = true
timeout = 5
proxy = "http://127.0.0.1:3128"
client_certificate = "tls.crt"
client_key = "tls.key"
[[peers]]
names = ["old.example", "*.closed.example"]
networks = ["10.0.0.0/8"]
trust = "published-certificate"
mode = "2014"
certificate_sha256 = ["{"AB:" * 31}AB"]
verify_keys = {{ "ed25519:auto" = "{KEY}" }}
present_certificate = true
client_certificate = "require"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "ranvier.toml"
    path.write_text(text)
    return path


def test_every_word_of_the_file_is_read(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, WHOLE))
    assert config.server_name == "example.org"
    assert config.path(config.signing.key_file) == tmp_path / "state" / "my.key"
    assert [str(each) for each in config.outgoing.servers()] == ["127.0.0.53:53", "127.0.0.1:5353"]
    assert config.outgoing.limits().total_seconds == 5
    rule = config.book().rules[0]
    assert (rule.trust, rule.mode) == (TrustMode.PUBLISHED_CERTIFICATE, Mode.SEED)
    assert rule.leaves == {"ab" * 32}
    assert (rule.present, rule.client_certificate) == (True, ClientCertificate.REQUIRE)
    assert config.listen.proxies[0].networks == ("10.0.0.1/32",)
    assert rule.verify_keys[0].key_id == "ed25519:auto"
    assert config.old_keys()[0].expired_ts == 1700000000000


def test_an_empty_file_is_the_embedded_default(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, ""))
    assert config.server_name == Config().server_name == "localhost:8448"


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("server_name = 5", "config-value", "server_name: Expected `str`"),
        ("[listen]\nport = 'x'", "config-value", "listen.port: Expected `int`"),
        ("[listen]\nprot = 1", "config-value", "listen: Object contains unknown field `prot`"),
        ("[[peers]]\ntrust = 'blind'\nnames = ['a']", "config-value", "peers[0].trust"),
        ("server_name = 'exa_mple.org'", "config-value", "exa_mple.org"),
        ("[listen]\nport = 70000", "config-value", "listen.port is 70000"),
        ("[outgoing]\ntimeout = 0", "config-value", "time-out is 0 s"),
        ("[outgoing]\ndns = ['dns.example']", "config-value", "dns.example"),
        ("[[peers]]\nmode = '2014'", "config-value", "list names or networks"),
        ("[[peers]]\nnetworks = ['10.0.0.1/8']", "config-value", "is not a network"),
        ("[[peers]]\nnames=['a']\ncertificate_sha256 = ['ab']", "config-value", "64 hex digits"),
        ("[[peers]]\nnames=['a']\nverify_keys = {'ed25519:a' = '%'}", "config-value", "base64"),
        ("[[listen.proxies]]\nnetworks=['10.0.0.1/8']", "config-value", "is not a network"),
        ("[outgoing]\nclient_key = 'a'", "config-value", "go together"),
        ("[publish]\nwell_known = 'https://x'", "config-value", "https://x"),
        ("[store]\npath = 'a\\u0000'".replace("'", '"'), "config-value", "zero byte"),
        ("[listen]\nhost = 'example.org'", "config-value", "listen.host: 'example.org' is no IP"),
        ("= 1", "config-not-toml", "line 1"),
        ("a = " + "[" * 5000, "config-not-toml", "recursion"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(
    tmp_path: Path, text: str, code: str, said: str
) -> None:
    with pytest.raises(BadConfiguration) as caught:
        load_config(written(tmp_path, text))
    assert caught.value.code == code
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "ranvier.toml" in str(caught.value)


def test_bytes_that_are_no_text_are_said_so(tmp_path: Path) -> None:
    path = tmp_path / "ranvier.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadConfiguration) as caught:
        load_config(path)
    assert caught.value.code == "config-not-toml"


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration) as caught:
        load_config(tmp_path / "none.toml")
    assert caught.value.code == "config-unreadable"


def test_localhost_is_an_address_to_listen_on(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, "[listen]\nhost = 'localhost'"))
    assert config.listen.ip == "127.0.0.1"
