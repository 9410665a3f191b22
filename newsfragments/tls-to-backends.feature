Pools have a server name, a certificate and a minimum version of their own for TLS to backends; renewed files are used without a restart, and `verify = false` is warned about at every start.
