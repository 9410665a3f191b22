Connections to backends are kept for the next request (`keepAlive`, `keepAliveTimeout` of a pool); what may safely be asked twice is asked again if one has just been closed.
