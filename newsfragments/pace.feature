Clients that trickle a body or hardly read their response are cut off: `bodyTimeout`, `readTimeout` and `minRate` of a listener.
