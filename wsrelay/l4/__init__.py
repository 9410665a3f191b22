# -*- test-case-name: tests.l4 -*-
"""
Where clients arrive, and layer 4: opaque bytes between two TCP connections.

C{listener} opens endpoints and asks the policies; C{plans} knows what a decision to forward
needs; C{forwarders} are the factories behind C{forwarder = "tcp"} and C{"tls-passthrough"};
C{reception} is the way from an accept to a forwarder, past C{announcing} (a balancer in front
says whom it speaks for), C{limits} and C{securing} (TLS ends); C{detect} tells TLS, HTTP and
anything else apart; C{sniff} reads the one thing that may be read at this layer, the TLS
ClientHello; C{tunnel} joins the two connections; C{life}
is what everything that is relayed has in common, and C{hub} what all of it shares.
"""
