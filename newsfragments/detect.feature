The forwarder `detect` tells TLS, HTTP and other protocols apart on one port; TLS for chosen names passes through untouched.
