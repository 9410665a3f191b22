# -*- test-case-name: tests.l7 -*-
"""
Layer 7: HTTP/1.1 with the WebSocket upgrade.

C{connection} reads request heads from one client connection, one I{exchange} at a time;
C{exchange} decides and relays one request and its response, through C{errand} and C{origin}
towards a backend, or C{cache}, and with C{fields} for the header rules; C{upgrade} settles a
WebSocket handshake and C{session} owns the WebSocket from its 101 to its end; C{serve} lets a
C{twisted.web} resource answer, C{resource} is the relay as such a resource; C{pages} says what a
refused client gets; C{forwarder} is C{forwarder = "http"}.
"""
