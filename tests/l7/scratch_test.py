from tests.l7.harness import *
from wsrelay.model import *
class T(RelayTestCase):
    async def test_get(self):
        await self.start()
        c = await self.client()
        c.say(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        b = await self.backend()
        await b.hear(b"GET /x HTTP/1.1\r\nHost: a\r\n" + FORWARDED + b"Connection: close\r\n\r\n")
        b.say(answer("200 OK", b"hello"))
        await c.hear(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        await self.assertEnd(Party.BACKEND, Phase.RELAY, "answered 200", 200)
    async def test_ws(self):
        await self.start()
        c, b = await self.session()
        c.sayFrame(1, b"hi")
        await b.hearText(b"hi")
        c.sayClose(1000, "bye")
        await b.hearClose(1000, "bye")
        b.sayClose(1000, "bye")
        await c.hearClose(1000, "bye")
        b.close()
        await c.hearEnd()
        await self.assertEnd(Party.CLIENT, Phase.RELAY, "closed: 1000 bye", 101)
    async def test_smuggle(self):
        await self.start(Respond(404))
        c = await self.client()
        c.say(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 31\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n")
        print(await c.head())
        print(len(self.closed()), c.heard)
    async def test_many(self):
        await self.start(Respond(200, (), b"ok"))
        c = await self.client()
        c.say(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"*2000)
        await c.hear(answer("200 OK", b"ok")*2000)
