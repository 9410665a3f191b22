# -*- test-case-name: tests.plane -*-
"""
The data plane: what moves the bytes once Python has decided.

C{legs} holds a connection from its accept or dial until the plane takes it; C{engine} is
the small interface that every engine provides and the words it uses (I{lane}, I{link},
I{owner}); C{verdicts} turns what plugin hooks answer into what a lane does; C{portable} is
the engine in pure Python, on Twisted transports, for every platform; C{native} and its
extension are the one in C; C{choice} takes one.

The plane decides nothing. It tells the owner of a link what happened, and does what it is
told; L{wsrelay.l4.tunnel} and L{wsrelay.l7.session} are the owners.
"""
