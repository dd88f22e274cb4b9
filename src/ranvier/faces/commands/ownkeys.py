"""``ranvier keys generate`` and ``ranvier keys show``: our own signing keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ranvier.config import Config, load_config
from ranvier.edges import load_edge
from ranvier.errors import BadConfiguration
from ranvier.faces.outcome import GOOD, our_command, print_json
from ranvier.protocol.canonical import encode_base64
from ranvier.protocol.signing import format_signing_keys


def generate(
    *,
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> int:
    """Make one and print it, or keep it. The command's help stands in ``faces.cli``.

    Parameters
    ----------
    out:
        The file to make.
    json:
        Print what was made as JSON (never the private half, if --out is given).
    """
    clock = load_edge("clock")()
    key = load_edge("new-signing-key")(clock)
    text = format_signing_keys((key,))
    if out is not None and not load_edge("create-file")(out, text.encode(), clock.random_bytes(8)):
        raise BadConfiguration("key-file-exists", f"{out} is there already; it was left as it is")
    public = {"key_id": key.key_id, "verify_key": encode_base64(key.verify_key.key)}
    if json:
        print_json(public | ({"file": str(out)} if out else {"signing_key": text.strip()}))
    elif out is not None:
        print(f"{public['key_id']}  {public['verify_key']}\nthe private half is in {out}")
    else:
        print(text, end="")
    return GOOD


def show(
    *,
    config: Path | None = None,
    key_file: Path | None = None,
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> int:
    """Print the public halves. The command's help stands in ``faces.cli``.

    Parameters
    ----------
    config:
        The ranvier.toml that names the key file.
    key_file:
        The key file itself.
    json:
        Print the same facts as JSON.
    """
    settings = load_config(config) if config else Config(data="ranvier-data")
    path = key_file or settings.path(settings.signing.key_file)
    if not load_edge("is-there")(path):
        raise BadConfiguration(
            "key-file-missing",
            f"there is no key file {path}; make one: {our_command()} keys generate --out {path}",
        )
    keys = load_edge("signing-keys")(path, load_edge("clock")())
    public = [(each.key_id, encode_base64(each.verify_key.key)) for each in keys]
    if json:
        print_json({"file": str(path), "keys": [{"key_id": a, "verify_key": b} for a, b in public]})
    else:
        print("\n".join(f"{key_id}  {key}" for key_id, key in public))
    return GOOD
