# -*- test-case-name: tests.test_benchmarks -*-
"""
A reverse proxy as one writes it by hand with aiohttp: C{python handwritten.py PORT BACKEND}.

It does what has to be done: no hop-by-hop fields either way, no redirects followed, no body
decoded, connections to the backend kept alive. Bodies are streamed, except small ones, for
which one write is faster. It has no WebSockets, no timeouts and no log.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys

from aiohttp import ClientResponse, ClientSession, TCPConnector, web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

__all__ = ["main"]

_HOP = ("Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade")
_SMALL = 65536  # bytes


def _endToEnd(fields: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    kept = fields.copy()
    for name in (*_HOP, *fields.get("Connection", "").split(",")):
        kept.popall(name.strip(), None)
    return kept


async def _answer(request: web.BaseRequest, got: ClientResponse) -> web.StreamResponse:
    fields = _endToEnd(got.headers)
    if got.content_length is not None and got.content_length <= _SMALL:
        return web.Response(status=got.status, headers=fields, body=await got.read())
    answer = web.StreamResponse(status=got.status, headers=fields)
    await answer.prepare(request)
    async for piece in got.content.iter_any():
        await answer.write(piece)
    await answer.write_eof()
    return answer


async def _serve(port: int, backend: int) -> None:
    connector = TCPConnector(limit=0)
    async with ClientSession(connector=connector, auto_decompress=False) as session:

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            url = URL(f"http://127.0.0.1:{backend}{request.raw_path}", encoded=True)
            body = request.content if request.can_read_body else None
            async with session.request(
                request.method,
                url,
                headers=_endToEnd(request.headers),
                data=body,
                allow_redirects=False,
            ) as got:
                return await _answer(request, got)

        runner = web.ServerRunner(web.Server(handle, access_log=None))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
        await asyncio.Event().wait()


def main() -> None:
    """Run until it is ended, on uvloop if there is one."""
    port, backend = map(int, sys.argv[1:])
    if importlib.util.find_spec("uvloop") is not None:
        import uvloop

        uvloop.install()
    asyncio.run(_serve(port, backend))


if __name__ == "__main__":
    main()
