"""What the documents show is what is printed: the first screens, run again and compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.faces.conftest import Serving, start, stop
from tests.house.tree import ROOT

PAGES = ("README.md", "docs/tutorial/first-steps.md")
VARIES = (
    (r"  \d+ ms", ""),
    (r"(localhost|127\.0\.0\.1):\d+", r"\1:PORT"),
    (r"ed25519:a_\w{4}", "ed25519:a_XXXX"),
    (r"\b[0-9a-f]{64}\b", "SHA256"),
    (r"[A-Za-z0-9+/]{43}(?![A-Za-z0-9+/])", "BASE64"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "THEN"),
    (r"port \d+", "port PORT"),
    (r"\d+ bytes", "N bytes"),
    (r"--ca \S+", "--ca FILE"),
)


def masked(text: str) -> str:
    """``text`` without what differs from one run to the next."""
    for pattern, instead in VARIES:
        text = re.sub(pattern, instead, text)
    return text.strip()


def screens(page: str) -> list[str]:
    """The blocks of a page that show something, masked."""
    fenced = re.findall(
        r"^```$\n(.*?)^```$|^```\w+$.*?^```$", (ROOT / page).read_text(), re.S | re.M
    )
    return [masked(each) for each in fenced]


def printed(*words: str) -> str:
    """What a command prints where there is no terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "ranvier", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"},
    )
    return masked(done.stdout + done.stderr)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One server for the module."""
    one = start(tmp_path_factory.mktemp("serve"))
    yield one
    assert stop(one) == 0


@pytest.mark.parametrize("page", PAGES)
def test_the_first_screen_is_the_one_in_the_documents(page: str, serving: Serving) -> None:
    assert masked("\n".join(serving.said[-3:])) in screens(page)


@pytest.mark.parametrize("page", PAGES)
def test_the_second_screen_too(page: str, serving: Serving) -> None:
    words = ("keys", "fetch", serving.name, "--ca", serving.certificate, "--allow-private")
    assert printed(*words) in screens(page)


def test_the_refusals_of_the_tutorial(serving: Serving) -> None:
    words = ("keys", "fetch", serving.name)
    policy = printed(*words, "--ca", serving.certificate)
    assert policy[policy.index("FAIL") :] in screens(PAGES[1])
    authority = printed(*words, "--allow-private")
    assert authority[authority.index("FAIL") :].partition("\n\n")[0] in screens(PAGES[1])


def test_the_rule_of_2014_in_the_tutorial(serving: Serving) -> None:
    words = ("keys", "fetch", serving.name, "--allow-private", "--trust", "published-certificate")
    out = printed(*words)
    (shown,) = [each for each in screens(PAGES[1]) if "by first use; certificates accepted" in each]
    first, _, rest = shown.partition("\n...\n")
    assert out.startswith(first)
    assert out.endswith(rest)


def test_the_request_of_the_tutorial(serving: Serving) -> None:
    target = "/_matrix/federation/v1/version"
    way = ("--ca", serving.certificate, "--allow-private", "--unsigned")
    out = printed("request", "GET", serving.name, target, *way).split()
    assert out in [each.split() for each in screens(PAGES[1])]  # the port may break a line
