# The host's proxy settings of this start, for login shells.
if [ -r /run/nsvm-environment ]; then
    while IFS= read -r nsvm_line; do export "$nsvm_line"; done </run/nsvm-environment
    unset nsvm_line
fi
