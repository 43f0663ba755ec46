#!/bin/sh
# Stands in for a C compiler of another system while Rust code is only
# type-checked for it: preprocesses with the host's own compiler, because build
# scripts read what that says, and compiles to empty objects.
# Unknown options must fail: by that the crate cc tells it from Microsoft's.
output=
preprocess=
drop=
for word; do
    shift
    case $drop in
    value) drop=; continue ;;
    output) output=$word; drop= ;;
    esac
    case $word in
    -E | '-?' | '/?' | --version | -v | -dump* | -print*) preprocess=yes ;;
    -arch | -target) drop=value; continue ;;
    -mmacosx-version-min=* | --target=*) continue ;;
    -o) drop=output ;;
    esac
    set -- "$@" "$word"
done
[ -z "$preprocess" ] || exec cc "$@"
[ -z "$output" ] || : >"$output"
