"""Fetch a server's signing keys; handle the two ways in which that can fail.

.venv/bin/python examples/fetch_keys.py matrix.org
.venv/bin/python examples/fetch_keys.py localhost:8448 ranvier-data/tls.crt
"""

import asyncio
import sys

from ranvier import Federation
from ranvier.errors import PeerFault, Unreachable


async def main(name: str, ca_file: str | None = None) -> None:
    # A CA file of one's own means one's own network: ask private addresses too.
    async with Federation(ca_file=ca_file, allow_private=ca_file is not None) as fed:
        try:
            fetched = await fed.fetch_keys(name)
        except Unreachable as error:
            print(f"no connection ({error.code}): {error}")
            for attempt in error.trail.of("dial"):
                print(f"  {attempt.question}: {attempt.answer}")
            return
        except PeerFault as error:
            print(f"it answered, but wrongly ({error.code}): {error} {error.clause}")
            return
        for outcome in fetched.outcomes:
            print(f"{outcome.verdict:<8} {outcome.key_id} {outcome.reason}")
        again = await fed.fetch_keys(name)
        print(f"asked again: answered from {again.source}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
