Up to 1,024 clients may connect at once before the kernel turns any away; Twisted's own default is fifty.
