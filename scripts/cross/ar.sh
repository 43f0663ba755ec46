#!/bin/sh
# Stands in for ar(1) beside cc.sh: an archive of nothing.
for word; do
    case $word in *.a) printf '!<arch>\n' >"$word"; exit ;; esac
done
