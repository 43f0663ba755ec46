
# Bash ends a word at ":" and "=", which are inside of fedora-coreos:testing and
# --image=NAME: their parts are put together, and what is typed is left out again.
_nsvm() {
    local line=${COMP_LINE:0:COMP_POINT} words=() rest word i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        rest=${line#"${line%%[![:space:]]*}"}
        word=${COMP_WORDS[i]}
        ((i == COMP_CWORD)) && word=$rest
        if ((i > 0)) && [[ $rest == "$line" ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
        line=${rest#"$word"}
    done
    local current=${words[${#words[@]} - 1]} mark typed=
    COMP_WORDS=("${words[@]}")
    COMP_CWORD=$((${#words[@]} - 1))
    _clap_complete_nsvm "$1" "$current" "$3"
    for mark in : =; do
        if [[ $COMP_WORDBREAKS == *$mark* && $current == *$mark* ]]; then
            rest=${current%"${current##*$mark}"}
            ((${#rest} > ${#typed})) && typed=$rest
        fi
    done
    for i in "${!COMPREPLY[@]}"; do
        COMPREPLY[i]=${COMPREPLY[i]#"$typed"}
    done
}
