# The two commands of the README: `make run` and `make test`.
SHELL := /bin/bash
GO ?= go

.PHONY: run demo build test check race fuzz bench ui deps clean

# Builds and starts Vedette and prints the address. CONFIG=vedette.yml takes yours.
run: build
	./bin/vedette run $(if $(CONFIG),--config $(CONFIG)) $(ARGS)

# The same with a small shop of real services and faults to switch on.
demo: build
	./bin/vedette demo $(ARGS)

build:
	@command -v $(GO) >/dev/null || { echo "Go 1.26 or newer is needed: https://go.dev/dl/"; exit 1; }
	$(GO) build -o bin/vedette ./cmd/vedette

# Every test; what could not be run here is named at the end, and why.
test:
	scripts/test

# What a change must pass before it is handed over.
check:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt would change:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) test ./...
	@if command -v golangci-lint >/dev/null; then golangci-lint run; else echo "left out: golangci-lint is not installed"; fi
	@if command -v govulncheck >/dev/null; then govulncheck ./...; else echo "left out: govulncheck is not installed"; fi

race:
	$(GO) test -race ./internal/... ./cmd/...

# Each fuzz test for FUZZTIME.
FUZZTIME ?= 20s
fuzz:
	scripts/fuzz $(FUZZTIME)

# Go benchmarks, then whole processes beside a real Prometheus in the same run.
bench:
	$(GO) test -run '^$$' -bench . -benchmem ./internal/...
	scripts/bench

# Builds the UI into internal/web/dist, which is committed.
ui:
	cd ui && npm ci --no-audit --no-fund && npm run check && npm test && npm run build

# Writes the list of modules that the program is built from.
deps:
	scripts/deps > deps.txt

clean:
	rm -rf bin ui/node_modules e2e/peer/bin
