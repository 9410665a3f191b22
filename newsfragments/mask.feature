The access log has the query, too; values of parameters that look like a secret are `***` (`maskQuery` under `[relay]`).
