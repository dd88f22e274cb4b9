"""Inside the namespace: take turns at fetching the keys of fresh names; times in ms as JSON."""

from __future__ import annotations

import asyncio
import http.client
import json
import sys
import time
from typing import Any

from benchmarks.meters import cpu_seconds

from ranvier.federation import Federation


def ask_synapse(notary: http.client.HTTPConnection, name: str, key_id: str) -> float:
    minimum = int(time.time() * 1000) + 3_600_000
    query = {"server_keys": {name: {key_id: {"minimum_valid_until_ts": minimum}}}}
    began = time.perf_counter()
    headers = {"Content-Type": "application/json"}
    notary.request("POST", "/_matrix/key/v2/query", json.dumps(query), headers)
    answer = json.load(notary.getresponse())
    took = time.perf_counter() - began
    assert [each["server_name"] for each in answer["server_keys"]] == [name], answer
    return took * 1000


async def ask_ourselves(federation: Federation, name: str, key_id: str) -> float:
    began = time.perf_counter()
    fetched = await federation.fetch_keys(name)
    took = time.perf_counter() - began
    assert [each.key_id for each in fetched.outcomes] == [key_id]
    return took * 1000


async def measure(order: dict[str, Any]) -> dict[str, Any]:
    names, key_id = iter(order["names"]), order["key_id"]
    notary = http.client.HTTPConnection(order["notary"], 8008, timeout=60)
    ours: list[float] = []
    synapse: list[float] = []
    ours_cpu = 0.0
    federation = Federation(dns=(order["dns"],), ca_file=order["ca"], allow_private=True)
    async with federation:
        for _ in range(2):  # warm both
            await ask_ourselves(federation, next(names), key_id)
            ask_synapse(notary, next(names), key_id)
        before = cpu_seconds(order["notary_pid"])
        for mine, theirs in zip(names, names, strict=True):
            began = time.process_time()
            ours.append(await ask_ourselves(federation, mine, key_id))
            ours_cpu += time.process_time() - began
            synapse.append(ask_synapse(notary, theirs, key_id))
        synapse_cpu = cpu_seconds(order["notary_pid"]) - before
    return {
        "ours": ours,
        "synapse": synapse,
        "ours_cpu": 1000 * ours_cpu / len(ours),
        "synapse_cpu": 1000 * synapse_cpu / len(synapse),
    }


def main() -> None:
    json.dump(asyncio.run(measure(json.load(sys.stdin))), sys.stdout)


if __name__ == "__main__":
    main()
