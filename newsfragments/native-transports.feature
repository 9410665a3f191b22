On the native plane plain TCP and UNIX sockets are accepted and dialled in C: opening a tunnel or a WebSocket costs about half of what it did.
