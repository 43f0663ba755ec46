#!/bin/sh
# Runs a Windows program, as cargo's runner.
exec /usr/lib/wine/wine64 "$@"
