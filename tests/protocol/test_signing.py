"""Signing, checking, the key types and the key file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ranvier.protocol.canonical import decode_base64, encode_base64
from ranvier.protocol.signing import SigningKey, sign_json, verify_json

VECTORS = json.loads(Path(__file__, "../../../vectors/signing.json").resolve().read_text())
KEY = SigningKey(VECTORS["key_id"], decode_base64(VECTORS["seed"]))
KEYS = {KEY.key_id: KEY.verify_key}


def vectors(kind: str) -> list[Any]:
    return [pytest.param(v, id=v["id"]) for v in VECTORS["vectors"] if v["kind"] == kind]


@pytest.mark.req("SIGN-01", "SIGN-03", "CHK-05", "TV-01", "TV-02", "TV-10", "TV-11")
@pytest.mark.parametrize("vector", vectors("signature"))
def test_the_published_vectors_are_signed_to_the_byte(vector: dict[str, Any]) -> None:
    signed = sign_json(vector["input"], VECTORS["name"], KEY)
    assert signed["signatures"] == {VECTORS["name"]: {KEY.key_id: vector["expected"]}}
    assert verify_json(signed, VECTORS["name"], KEYS) == KEY.key_id


@pytest.mark.req("TV-05")
@pytest.mark.parametrize("vector", vectors("verify-key"))
def test_the_public_key_of_the_published_seed(vector: dict[str, Any]) -> None:
    assert encode_base64(KEY.verify_key.key) == vector["expected"]
