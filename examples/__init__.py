# -*- test-case-name: tests.test_examples -*-
"""
One file, one lesson. Each runs as its first lines say, from the checkout's root.

    - C{redact}: a message filter with options, in one direction only.
    - C{guard}: a request filter that authenticates, and fails closed.
    - C{tenants}: a routing policy that asks another server first, over HTTP.
    - C{knock}: a TCP forwarding factory: a forwarder of your own.
    - C{chatroom}: an Autobahn application, served by the relay itself.
    - C{counter}: an observer whose numbers can be fetched.
    - C{embed}: the relay as a resource of a C{twisted.web} site that exists already.

C{echo} and C{say} are no lessons: a backend and a client to try the others with.
"""
