Trailers that were announced pass in both directions, but for those that could mean something on the way.
