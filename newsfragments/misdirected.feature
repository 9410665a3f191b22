A request whose `Host` would have got another certificate than its connection has is answered with 421.
