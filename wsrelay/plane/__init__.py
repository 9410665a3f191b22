# -*- test-case-name: tests.plane -*-
"""
The data plane: what moves the bytes once Python has decided.

C{legs} holds a connection from its accept or dial until the plane takes it; C{engine} is
the small interface that every engine provides and the words it uses (I{lane}, I{link},
I{owner}); C{verdicts} says what the answers of plugin hooks mean, C{outcomes} what comes of
them in a lane; C{portable} is the engine in pure Python, on Twisted transports, for every
platform, with C{flows} and C{messages}; C{native} is the one in C, with C{transports} (sockets
that are its own from the beginning), C{adoption} (those that were Twisted's) and C{outlets}
(where verdicts go that C does not settle by itself); C{choice} takes one.

The plane decides nothing. It tells the owner of a link what happened, and does what it is
told; L{wsrelay.l4.tunnel} and L{wsrelay.l7.session} are the owners.
"""
