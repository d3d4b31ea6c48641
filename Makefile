# Gabion. `make help` explains the verbs.
SHELL := /bin/bash
.DEFAULT_GOAL := help

export CGO_ENABLED := 0
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/gabion-dev/gabion/internal/version.Version=$(VERSION)
GOFLAGS_BUILD := -trimpath -ldflags '$(LDFLAGS)'
# Figures go here; see docs/reference/figures.md.
BENCH_OUT ?= bench/results

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: setup
setup: ## install what `make run` needs (says what it does)
	@scripts/setup.sh run

.PHONY: build
build: ## build bin/gabion
	@mkdir -p bin
	go build $(GOFLAGS_BUILD) -o bin/gabion ./cmd/gabion
	@ln -sf gabion bin/kubectl-gabion

.PHONY: run
run: setup build ## set up, build, then protect this machine and show the attack being stopped (Ctrl-C ends it)
	bin/gabion up --demo

.PHONY: demo
demo: build ## the re-enactment once; exit code 0 only when every pass mark holds
	bin/gabion demo

.PHONY: test
test: ## install what the tests need, then pass them all
	@scripts/setup.sh test
	@scripts/test.sh

.PHONY: test-kernel
test-kernel: ## all tests that talk to the kernel, under Debian's 6.1 and 6.12 in an emulated machine (many minutes)
	@scripts/setup.sh test
	@scripts/test-kernel.sh

.PHONY: bench
bench: build ## measure; ends with a table, writes $(BENCH_OUT)/*.json
	@scripts/bench.sh $(BENCH_OUT)

.PHONY: bench-scan
bench-scan: build ## measure scanning beside other scanners, as root; slow the first time
	@scripts/bench-scan.sh $(BENCH_OUT)

.PHONY: bench-kernel
bench-kernel: ## measure run-time enforcement, as root: ratios of instructions under Debian's kernels in emulation (many minutes)
	@scripts/setup.sh test
	@go run ./test/benchkernel -out $(BENCH_OUT)

.PHONY: generate
generate: ## make generated files again: BPF objects, API description, reference docs, man pages
	go generate ./...

.PHONY: ui
ui: ## build the web UI into ui/dist (committed)
	cd ui && npm ci --no-audit --no-fund && npm run build && npm run check

.PHONY: lint
lint: ## gofmt, vet, staticcheck
	@scripts/lint.sh

.PHONY: fuzz
fuzz: ## every fuzz target for 20 s
	@scripts/fuzz.sh 20s

.PHONY: clean
clean: ## remove built files; detach what a killed gabion left in the kernel
	@if [ -x bin/gabion ] && [ "$$(id -u)" = 0 ]; then bin/gabion guard remove || true; fi
	rm -rf bin
