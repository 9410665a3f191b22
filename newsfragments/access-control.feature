Built-in access control: `networks`, `basic-auth`, `jwt`, `forward-auth` and `origin` are plugins that decide who may come in, before any 101, and fail closed.
