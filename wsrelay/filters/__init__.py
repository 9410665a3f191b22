"""
The built-in filters: who may come in, and who may drop what caches keep.

Each is a plugin like anybody's: it imports nothing of the relay that a stranger could not, and
L{wsrelay.plugins.access} or L{wsrelay.plugins.caches} makes it by the name that the
configuration writes.

    - L{networks<wsrelay.filters.networks>}: by the client's address, at layer 4 and 7;
    - L{basic-auth<wsrelay.filters.basicauth>}: by name and password;
    - L{jwt<wsrelay.filters.bearer>}: by a signed token;
    - L{forward-auth<wsrelay.filters.forwardauth>}: by asking an HTTP service;
    - L{origin<wsrelay.filters.origin>}: by the page that opens a WebSocket;
    - L{purge<wsrelay.filters.purge>}: drops what caches keep, for certain networks.

All of them fail closed: what raises, takes too long or cannot be read lets nobody in. What a
client shows, a password or a token, stands in no log line and in no error.
"""
