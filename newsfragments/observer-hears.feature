An observer with an attribute `hears`, a tuple of event classes, is told of those only.
