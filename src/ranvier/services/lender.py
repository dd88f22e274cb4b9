"""Connections for requests to a name: judged by the rule that the name lives under.

Under ``published-certificate`` only accepted leaves count. A server that has renewed
its certificate shows another one, so when every way ends at a leaf that is not
accepted, its key document is asked for: only an accepted key can vouch for the new
leaf (D1). If one does, the name is dialled once more; a man in the middle gains
nothing by it, because no request goes out before.
"""

from __future__ import annotations

from ranvier.errors import RanvierError, Unreachable
from ranvier.protocol.names import ServerName
from ranvier.protocol.trust import Pinned, Trust
from ranvier.services.keyring import Keyring
from ranvier.services.pool import Borrowed, Pool
from ranvier.trail import Recorder


class Lender:
    """Joins pool and keyring."""

    def __init__(self, pool: Pool, keyring: Keyring) -> None:
        self._pool = pool
        self._keyring = keyring

    async def lend(
        self, name: ServerName, recorder: Recorder, *, again: bool = True, fresh: bool = False
    ) -> Borrowed:
        """A judged connection to ``name``; ``again`` and ``fresh`` as :meth:`Pool.borrow`.

        Raises: Unreachable, StoreFault, and what fetching the keys raises, if the name
        is judged by them and has none yet.
        """
        trust = await self._keyring.trust_for(name, recorder)
        try:
            return await self._borrow(name, trust, recorder, again=again, fresh=fresh)
        except Unreachable:
            renewed = await self._renewed(name, trust, recorder)
            if renewed is None:
                raise
        return await self._borrow(name, renewed, recorder, again=again, fresh=fresh)

    async def take_back(self, borrowed: Borrowed) -> None:
        """After one exchange, however it ended."""
        await self._pool.give_back(borrowed)

    async def _borrow(
        self, name: ServerName, trust: Trust, recorder: Recorder, *, again: bool, fresh: bool
    ) -> Borrowed:
        rule = self._keyring.rule_for(name)
        return await self._pool.borrow(
            name,
            trust=trust,
            mode=rule.mode,
            present=rule.present,
            recorder=recorder,
            again=again,
            fresh=fresh,
        )

    async def _renewed(self, name: ServerName, trust: Trust, recorder: Recorder) -> Trust | None:
        """What the name is judged by now, if that is more than it was."""
        shown_another = any(step.code == "tls-pin-mismatch" for step in recorder.trail.of("dial"))
        if not (isinstance(trust, Pinned) and shown_another):
            return None
        try:
            await self._keyring.fetch(name, fresh=True, recorder=recorder)
            now = await self._keyring.trust_for(name, recorder)
        except RanvierError:
            return None  # the trail has it; the caller hears what the connection ended in
        return now if now != trust else None
