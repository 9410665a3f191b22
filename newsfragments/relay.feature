wsrelay relays TCP (L4), HTTP and WebSockets (L7) along one road of listeners, routes, pools and plugins.
