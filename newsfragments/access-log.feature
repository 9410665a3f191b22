`--no-access-log`, or `accessLog = false` under `[relay]`, leaves out the line for each tunnel, exchange and session.
