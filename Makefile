# `make` alone lists the targets with the words after ##.
.DEFAULT_GOAL := help
.PHONY: help build completions man test check check-tls check-beside deb docker-image docker-compose-up docker-compose-down docker-compose-logs docker-test docker-national docker-failover bench bench-growth bench-parts storms simulation cuts power-cuts model load flood fuzz mutants deny

# The older Compose replaces a missing v2. Both find the compose file through .env.
COMPOSE ?= $(shell if docker compose version >/dev/null 2>&1; then echo docker compose; else echo docker-compose; fi)

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Also if the environment names another directory, because the rules below look here.
build deb: export CARGO_TARGET_DIR = target
build: ## both programs, optimized, in target/release/
	cargo build --release --locked --bins --features "$(FEATURES)"

completions: build ## completions for bash, zsh and fish, in target/completions/
	mkdir -p target/completions
	for program in server client; do for shell in bash zsh fish; do \
		bash -c 'exec -a loteria-'$$program' target/release/'$$program' --completions '$$shell \
			>target/completions/loteria-$$program.$$shell || exit; \
	done; done

man: build ## manual pages, in target/man/
	mkdir -p target/man
	for program in server client; do \
		bash -c 'exec -a loteria-'$$program' target/release/'$$program' --man' \
			>target/man/loteria-$$program.1 || exit; \
	done

test: ## all tests but those that need Docker
	cargo test --locked

check: ## format, clippy, docs, tests: must pass before a commit
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps
	cargo test --locked
	cargo install --locked --debug --path . --root target/installed --target-dir target

check-tls: ## the same for the feature `tls`; needs openssl
	cargo clippy --locked --all-targets --features tls -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --features tls
	cargo build --locked --features tls --example make_agencies
	cargo test --locked --features tls --test programs --test project -- tls:: hostile:: readme::

# Clippy links nothing, so that libFuzzer itself need not be compiled.
check-beside: ## clippy for the packages beside this one: the benchmark of the parts, the fuzzers
	cargo clippy --locked --manifest-path benches/parts/Cargo.toml --target-dir target -- -D warnings
	CUSTOM_LIBFUZZER_PATH=none/libfuzzer.a cargo clippy --locked --manifest-path fuzz/Cargo.toml --target-dir target -- -D warnings

bench: ## whole lotteries beside a copy, Redis, PostgreSQL and SQLite, and the picture of it: some minutes
	ulimit -n $$(ulimit -Hn) && cargo bench --locked --features tls --bench lottery -- --ten-thousand
	scripts/plot-performance.py

bench-growth: ## how cost grows, and the picture of it: some minutes, and 10 GB of disk
	cargo bench --locked --bench growth
	scripts/plot-performance.py

bench-parts: ## checks, messages and the ledger, each by itself: some minutes
	cargo run --locked --release --manifest-path benches/parts/Cargo.toml --target-dir target/parts -- --bench

storms: ## kills, stops, a disturbed network and hostile peers, half of them in TLS: a minute, or LOTERIA_STORM_SECONDS
	LOTERIA_STORM_SECONDS=$${LOTERIA_STORM_SECONDS:-60} cargo test --locked --features tls --test programs -- storms:: --nocapture

# Without optimization across crates, which the simulation does not need, it is built sooner.
simulation: export CARGO_PROFILE_RELEASE_LTO = off
simulation: export CARGO_PROFILE_RELEASE_CODEGEN_UNITS = 16
simulation: ## the ledger over a disk that fails and loses power: 100,000 lotteries, or LOTERIA_SIMULATIONS
	LOTERIA_SIMULATIONS=$${LOTERIA_SIMULATIONS:-100000} cargo test --locked --release --lib simulation

cuts: ## every conversation of the tests in two pieces, cut at every byte
	LOTERIA_EVERY_CUT=1 cargo test --locked --test protocol

power-cuts: build ## power cuts under a running server, on a file system that loses unsynced data; needs root, /dev/fuse
	python3 tests/power-cuts.py target/release/server 300

model: ## the orders in which the agencies' threads can meet, by a model checker: some minutes
	cargo run --locked --release --manifest-path model/Cargo.toml --target-dir target/model

load: ## two thousand agencies in one draw, and a soak of two minutes
	cargo test --locked --release --test programs -- load:: --ignored --nocapture --test-threads 1

flood: ## lotteries while one address opens connections as fast as it is let; needs openssl
	cargo test --locked --release --features tls --test programs -- flood:: --ignored --nocapture --test-threads 1

# A scope's threads may still be ending as libFuzzer looks for leaks, and the standard library frees their memory last.
FUZZERS = conversations messages replies bets_csv agency_lines sorteo_toml
fuzz: ## each fuzzer for a minute, or LOTERIA_FUZZ_SECONDS; needs `cargo install cargo-fuzz`
	fuzz/seeds.py
	for target in $(FUZZERS); do \
		if [ $$target = conversations ]; then length=1000; else length=20000; fi; \
		RUSTC_BOOTSTRAP=1 cargo fuzz run $$target -- -detect_leaks=0 -max_total_time=$${LOTERIA_FUZZ_SECONDS:-60} -max_len=$$length || exit; \
	done

mutants: ## the tests against defects in the lines changed since SINCE (HEAD~1): two minutes each; needs `cargo install cargo-mutants`
	mkdir -p target
	git diff $${SINCE:-HEAD~1} -- src >target/changed.diff
	cargo mutants --in-diff target/changed.diff --features tls --output target -- --locked

deny: ## licences, packages and their sources; needs `cargo install cargo-deny`
	cargo deny --offline check licenses bans sources

# Built with TLS from the beginning, so that `cargo deb` builds nothing again.
deb: FEATURES = tls
deb: completions man ## a package for Debian, in target/debian/; needs `cargo install cargo-deb`
	cargo deb --locked

docker-image: ## the images server:latest and client:latest
	docker build -f Dockerfile.server -t server:latest .
	docker build -f Dockerfile.client -t client:latest .

docker-compose-up: ## a server and five agencies, in the background
	$(COMPOSE) up -d --build

docker-compose-down: ## stops and removes them; the bets stay in their volume
	$(COMPOSE) stop -t 10
	$(COMPOSE) down

docker-compose-logs: ## their logs, followed
	$(COMPOSE) logs -f

docker-test: ## the tests that need Docker
	tests/docker/run.sh

docker-national: ## three centrals and a national draw on a Spark cluster: some minutes, and a gigabyte of image
	tests/docker/national.sh

docker-failover: ## a machine that dies, and another that serves its files on GlusterFS: eight minutes; needs /dev/fuse
	tests/docker/failover.sh
