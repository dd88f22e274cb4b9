"""Find a server, and show which question led where.

.venv/bin/python examples/resolve_with_trail.py matrix.org [DNS-SERVER]
"""

import asyncio
import sys

from ranvier import Federation


async def main(name: str, *dns: str) -> None:
    async with Federation(dns=dns) as fed:
        found = await fed.resolve(name)
        for step in found.trail.steps:
            print(f"{step.outcome:<7} {step.number or step.what:<12} {step.question}")
            print(f"{'':20} {step.answer}  {step.clause}")
        for route in found.discovery.routes:
            located = await fed.locate(route)
            print(f"connect to {', '.join(map(str, located.addresses)) or 'nothing'}")
            print(f"send Host: {route.host_header}")
            print(f"expect a certificate for {route.tls_name}")
        if found.discovery.stopped:
            print(found.discovery.stopped.reason)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
