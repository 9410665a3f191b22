The native plane moves bulk through the kernel, WebSocket frames included: about a third less CPU for each megabyte at layer 7.
