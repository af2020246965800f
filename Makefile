# `make` alone lists all targets. Each of them works as the first command after a clone.

# rustup installs cargo here; shells that were already open do not have it in PATH.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help setup demo app app-run bundle test test-forms test-app test-mesa26 test-compilers fuzz bench bench-device lint fmt clean
.DEFAULT_GOAL := help

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

setup: ## install what is missing to build and run: a C toolchain, a Vulkan driver
	@scripts/setup.sh

demo: setup ## train a small model, fine-tune it for chat, and ask it some questions (under 20 minutes)
	@scripts/demo.sh

app: ## build the desktop app, nanochat, and everything it needs
	@scripts/app.sh build

app-run: ## build the desktop app and start it
	@scripts/app.sh run

bundle: ## make packages of the desktop app for this system, such as a .deb
	@scripts/app.sh bundle

test-app: ## check and test the desktop app alone
	@scripts/app.sh test

# Everything at once, so that what the app, the command line and Burn's twin share is compiled a single time: each other
# selection of packages or features has cargo compile most of it anew.
all := --workspace --features nc-core/burn

test: lint ## check and test everything: the library, the command line, the app with its window, the forms for other adapters
	@scripts/setup.sh --test --app-test
	@scripts/python.sh >/dev/null
	@scripts/sandbox.sh >/dev/null
	scripts/app.sh test-pages
	cargo test $(all)
	NC_TEST_SELECTION='$(all)' scripts/test-forms.sh

test-forms: setup ## test the kernel forms for other adapters: GPUs with fixed, with varying and without subgroups
	@scripts/setup.sh --test
	scripts/test-forms.sh

test-mesa26: setup ## run the tests again on Mesa 26, unpacked into a private folder (Debian only)
	@scripts/setup.sh --test
	@scripts/python.sh >/dev/null
	@scripts/sandbox.sh >/dev/null
	scripts/mesa26.sh run cargo test

test-compilers: setup ## compile every shader with the compilers of real GPU drivers; ARGS=--table, ARGS=--update: docs/COMPILERS.md
	@scripts/compilers.sh run $(ARGS)

fuzz: ## fuzz every reader of untrusted files, a minute each; ARGS="--seconds 600 parquet" for more (nightly Rust)
	@scripts/fuzz.sh $(ARGS)

bench: ## compare with numpy, PyTorch, Burn and llama.cpp; ARGS="--rounds 5 --mesa26" and more: see bench/run.py --help
	@scripts/setup.sh --bench
	python3 bench/run.py $(ARGS)

bench-device: setup ## check and measure the adapter, into two files for an issue; ARGS="--quick --adapter NAME": see docs/HARDWARE.md
	NC_COMMIT=$$(git describe --always --dirty 2>/dev/null) cargo run --release -p nc-core -- bench device $(ARGS)

lint: ## check formatting, clippy and documentation of everything, with warnings denied
	@scripts/setup.sh --lint --app
	scripts/app.sh pages
	cargo fmt --all --check
	cargo clippy $(all) --all-targets -- -D warnings
	@# What the app takes of the library, and no more.
	cargo clippy -p nc-core --no-default-features --lib -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc $(all) --no-deps

fmt: ## format the code
	cargo fmt --all

clean: ## delete what was built here; runs and checkpoints stay
	cargo clean
	rm -rf bench/.venv bench/llama/node_modules bench/results
