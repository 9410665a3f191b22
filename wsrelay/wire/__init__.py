"""
What stands on the wire: bytes to values and back, without Twisted, clock, socket or log.

The modules, in the order in which a connection meets them:

  - L{wsrelay.wire.clienthello}: which name and protocols a TLS client asks for, before
    anything is encrypted (L4 passthrough).
  - L{wsrelay.wire.heads}: HTTP/1.1 request and response heads. The only reading of a head
    in the relay.
  - L{wsrelay.wire.bodies}: where an HTTP/1.1 body ends, and what is in it.
  - L{wsrelay.wire.proxyproto}: whom a balancer in front speaks for, and the same towards backends.
  - L{wsrelay.wire.caching}: what a shared cache may keep and use again (RFC 9111).
  - L{wsrelay.wire.handshake}: whether a request asks for a WebSocket, and whether an answer
    opened it (RFC 6455 section 4).
  - L{wsrelay.wire.frames}: WebSocket frames, enough to forward them (RFC 6455 section 5).
  - L{wsrelay.wire.messages}: whole messages, unmasked and reassembled.
  - L{wsrelay.wire.deflate}: permessage-deflate (RFC 7692).

All of them are written to one pattern. What arrives in pieces has a reader with
C{feed(data)}: it takes bytes in any pieces, byte by byte if need be, in linear time; keeps
no more than a limit that was its argument; gives out values and the bytes behind them; and
raises an error of L{wsrelay.errors} for what is malformed. What is whole already is read by
a function. Nothing is repaired: bytes that two recipients could read in two ways are an
error.

Names are imported from the modules, not from here.
"""
