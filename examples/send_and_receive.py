"""Two servers of yours on this machine: one asks and sends, the other answers and receives.

    .venv/bin/python examples/send_and_receive.py

In life each has a machine and a certificate of its own, and `peers` is not needed. Here
both have self-signed certificates, so each lists the other by the rule of 2014.
"""

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from ranvier import (
    Config,
    Delivery,
    Effects,
    Federation,
    Peer,
    Query,
    ServerName,
    ToDevice,
    TrustMode,
    Typing,
)
from ranvier.config import Listen, Outgoing

PORTS = [int(port) for port in sys.argv[1:]] or [18448, 18449]
FIRST, SECOND = (f"localhost:{port}" for port in PORTS)
taken = asyncio.Event()


def server(name: str, folder: str) -> Federation:
    """A server that keeps its key and its queue in a folder of its own."""
    data = Path(folder) / name
    config = Config(
        server_name=name,
        data=str(data),
        listen=Listen(port=int(name.partition(":")[2])),
        outgoing=Outgoing(allow_private=True),
        peers=(Peer(names=(FIRST, SECOND), trust=TrustMode.PUBLISHED_CERTIFICATE),),
    )
    return Federation(config=config, store=data / "ranvier.db", serving=True)


def receive(fed: Federation) -> None:
    """What comes in is authenticated; one bad item spoils only itself."""

    @fed.on_query("profile")
    async def profile(query: Query) -> dict[str, str]:
        return {"displayname": f"{query.arguments['user_id']}, as told to {query.origin}"}

    @fed.on_edu("m.typing")
    async def typing(edu: Typing, origin: ServerName) -> None:
        print(f"received: {edu.user_id} types in {edu.room_id}")  # at least once

    @fed.on_edu("m.direct_to_device")
    async def to_device(edu: ToDevice, origin: ServerName, effects: Effects) -> None:
        effects.write("mail", edu.message_id, b"kept")  # exactly once
        print(f"received: message {edu.message_id} from {edu.sender}")


async def main() -> None:
    """Ask once, send once."""
    with TemporaryDirectory() as folder:
        first, second = server(FIRST, folder), server(SECOND, folder)
        receive(second)

        @first.on_sent
        async def sent(delivery: Delivery) -> None:
            print(f"sent: transaction {delivery.outcome} to {delivery.destination}")
            taken.set()

        async with first, second, first.listening(), second.listening():
            user = f"@alice:{FIRST}"
            path = f"/_matrix/federation/v1/query/profile?user_id=@bob:{SECOND}"
            answer = await first.get(SECOND, path)
            print(f"answer: {answer.json['displayname']}")
            messages = {f"@bob:{SECOND}": {"*": {"text": "hello"}}}
            await first.send(  # on disk when it returns; over restarts and outages it arrives
                [SECOND],
                edus=[
                    Typing(room_id="!room:here", user_id=user, typing=True),
                    ToDevice(sender=user, type="m.hello", message_id="m1", messages=messages),
                ],
            )
            await taken.wait()


asyncio.run(main())
