`twistd -n wsrelay --demo` shows layer 4 and layer 7 side by side in a browser, with backends of its own.
