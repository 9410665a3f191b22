Behind another proxy, `trusted` names the networks whose `X-Forwarded-*` or `Forwarded` is believed, and `forwarded` says which of them backends get.
