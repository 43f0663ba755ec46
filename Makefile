# What each target is for is said in README.md. The first one that needs
# something not installed installs it (scripts/setup.sh).

SHELL := /bin/sh
ARCH := $(subst arm64,aarch64,$(shell uname -m))
AGENT_TARGET := $(ARCH)-unknown-linux-gnu
PREFIX ?= /usr/local
export CARGO_TARGET_DIR ?= $(CURDIR)/target
# One cache of base images for demo, tests and the user's own machines, outside
# the checkout so that a fresh clone finds it.
export NSVM_IMAGE_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/nsvm/images

AGENT := $(CARGO_TARGET_DIR)/$(AGENT_TARGET)/agent/nsvm-agent
RELEASE := $(CARGO_TARGET_DIR)/release

# Found by the setup, because a new machine may have several or none.
CARGO = . scripts/toolchain.sh && "$$CARGO"

# Where shells look for completions.
BASH_COMPLETIONS ?= $(PREFIX)/share/bash-completion/completions
ZSH_COMPLETIONS ?= $(PREFIX)/share/zsh/site-functions
FISH_COMPLETIONS ?= $(PREFIX)/share/fish/vendor_completions.d

# libcrypto is linked in where the system has its archive (Debian's libssl-dev):
# to relocate the shared one is a third of the start of every command, though only
# supervisors use it. OPENSSL_DIR, OPENSSL_LIB_DIR or OPENSSL_STATIC choose otherwise.
LIBCRYPTO = $(firstword $(wildcard /usr/lib/$(ARCH)-linux-gnu/libcrypto.a /usr/lib64/libcrypto.a))
HOST_ENV = $(if $(OPENSSL_DIR)$(OPENSSL_LIB_DIR)$(OPENSSL_STATIC),,$(if $(LIBCRYPTO),\
    OPENSSL_STATIC=1 OPENSSL_LIB_DIR=$(patsubst %/,%,$(dir $(LIBCRYPTO))) OPENSSL_INCLUDE_DIR=/usr/include))

.PHONY: build agent agent-aarch64 agent-x86_64 image test test-long demo bench install schemas cross windows dist lint setup clean

# cargo makes one for the host of that name, which is larger and not static.
define put_agent
	cp $(AGENT) $(RELEASE)/nsvm-agent.new
	mv $(RELEASE)/nsvm-agent.new $(RELEASE)/nsvm-agent
endef

build: setup agent
	$(HOST_ENV) sh -c '$(CARGO) build --release --locked'
	$(put_agent)

setup:
	sh scripts/setup.sh

agent: setup
ifeq ($(shell uname -s),Linux)
	RUSTFLAGS="$$(sh scripts/agent-flags.sh $(AGENT_TARGET))" \
	sh -c '$(CARGO) build --locked --no-default-features --bin nsvm-agent --profile agent --target $(AGENT_TARGET)'
else
	@test -x "$(AGENT)" || { echo "The guest agent is a Linux program: take $(AGENT) from a release" >&2; exit 1; }
endif

# For guests of another architecture: static by musl, linked by Rust's own linker,
# so that no cross compiler is needed; Rust's library for it comes by rustup.
agent-aarch64 agent-x86_64: agent-%: setup
	rustup target add $*-unknown-linux-musl
	CARGO_TARGET_$(shell echo $* | tr a-z A-Z)_UNKNOWN_LINUX_MUSL_LINKER=rust-lld \
	sh -c '$(CARGO) build --locked --no-default-features --bin nsvm-agent --profile agent --target $*-unknown-linux-musl'
	install -d $(RELEASE)
	install -m 0755 $(CARGO_TARGET_DIR)/$*-unknown-linux-musl/agent/nsvm-agent $(RELEASE)/nsvm-agent-$*

image: build
	$(RELEASE)/nsvm image pull debian-local

test: setup agent
	sh scripts/setup.sh test
	NSVM_AGENT=$(AGENT) sh scripts/test.sh

# What takes too long for every change; `make test` has a part of each.
test-long: test agent-aarch64
	sh scripts/setup.sh foreign
	NSVM_AGENT=$(AGENT) NSVM_FOREIGN_AGENT=$(RELEASE)/nsvm-agent-aarch64 NSVM_TEST_ALL=1 \
	sh -c '$(CARGO) test --locked --test agent many_ && $(CARGO) test --locked --test vm -- --include-ignored'

demo: build
	sh scripts/demo.sh $(RELEASE)/nsvm

bench: build
	$(HOST_ENV) NSVM=$(RELEASE)/nsvm NSVM_AGENT=$(AGENT) sh -c '$(CARGO) bench --locked --quiet --bench whole'
	$(put_agent)

# Types on macOS, Windows and other Linux, without their compilers.
cross: setup
	sh scripts/cross.sh

# nsvm.exe, its unit and command line tests under Wine, and a machine there.
windows: setup agent
	windows=$$(NSVM_AGENT=$(AGENT) sh scripts/windows.sh) && eval "$$windows" && \
	NSVM_AGENT=$(AGENT) sh -c '$(CARGO) test --locked --test wine -- --nocapture'

DIST ?= $(CURDIR)/dist

# Archives, packages and digests of a release.
dist: setup
	sh packaging/dist.sh "$(DIST)"

# The JSON Schemas in machine-config/, after a change of the types behind them.
schemas: setup
	NSVM_WRITE_SCHEMAS=1 sh -c '$(CARGO) test --locked --test cli committed_schemas'

lint: setup
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings

install: build
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/nsvm
	install -m 0755 $(RELEASE)/nsvm $(DESTDIR)$(PREFIX)/bin/nsvm
	install -m 0755 $(RELEASE)/nsvm-agent $(DESTDIR)$(PREFIX)/libexec/nsvm/nsvm-agent-$(ARCH)
	$(RELEASE)/nsvm man $(DESTDIR)$(PREFIX)/share/man/man1
	install -d $(DESTDIR)$(BASH_COMPLETIONS) $(DESTDIR)$(ZSH_COMPLETIONS) \
	    $(DESTDIR)$(FISH_COMPLETIONS) $(DESTDIR)$(PREFIX)/share/nsvm
	$(RELEASE)/nsvm completion bash >$(DESTDIR)$(BASH_COMPLETIONS)/nsvm
	$(RELEASE)/nsvm completion zsh >$(DESTDIR)$(ZSH_COMPLETIONS)/_nsvm
	$(RELEASE)/nsvm completion fish >$(DESTDIR)$(FISH_COMPLETIONS)/nsvm.fish
	$(RELEASE)/nsvm completion powershell >$(DESTDIR)$(PREFIX)/share/nsvm/nsvm.ps1

clean:
	rm -rf $(CARGO_TARGET_DIR)
