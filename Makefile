# Heliostat. `make` lists the targets.

GO             ?= go
BIN            := bin
GOLANGCI       := $(BIN)/golangci-lint
GOLANGCI_VERSION := v2.12.0
# The linter's cache keeps the paths of the tree that filled it: each tree has its own.
export GOLANGCI_LINT_CACHE := $(CURDIR)/$(BIN)/lint-cache
# Published instances that make bench runs, and the time for each.
BENCH_DATA     ?=
BENCH_TIME     ?= 10s
VERSION        ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS        := -s -w -buildid= -X main.version=$(VERSION)
# What makes the same binary of the same sources, wherever they lie.
BUILD          := $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'

.DEFAULT_GOAL := help
.PHONY: help build reproducible sbom demo test check lint bench microbench protocol adopt powercut clean soak fuzz

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: go-is-there ## build bin/heliostat
	$(BUILD) -o $(BIN)/heliostat ./cmd/heliostat

reproducible: go-is-there ## build what is committed twice, in different folders and without a cache, and compare
	@set -e; a=$$(mktemp -d); b=$$(mktemp -d); trap 'rm -rf "$$a" "$$b"' EXIT; \
	mkdir "$$b/elsewhere"; git archive HEAD | tar x -C "$$a"; git archive HEAD | tar x -C "$$b/elsewhere"; \
	(cd "$$a" && CGO_ENABLED=0 $(BUILD) -o heliostat.bin ./cmd/heliostat); \
	(cd "$$b/elsewhere" && GOCACHE="$$b/cache" CGO_ENABLED=0 $(BUILD) -o heliostat.bin ./cmd/heliostat); \
	sha256sum "$$a/heliostat.bin" "$$b/elsewhere/heliostat.bin" | sed 's/ .*//'; cmp "$$a/heliostat.bin" "$$b/elsewhere/heliostat.bin" && echo "the same, byte for byte"

sbom: build ## what bin/heliostat was built from: bin/heliostat.cdx.json
	$(BIN)/heliostat version --sbom > $(BIN)/heliostat.cdx.json

demo: build ## three simulated datacentres, a day in about two minutes
	$(BIN)/heliostat demo

test: go-is-there ## run the tests
	$(GO) test -timeout 30m $(TESTFLAGS) ./...

check: go-is-there $(GOLANGCI) ## all that CI checks: format, vet, lint, modules, generated files, race
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "run gofmt -w on these"; exit 1; }
	$(GO) vet ./...
	$(GOLANGCI) run ./...
	$(GO) mod tidy -diff
	$(GO) generate ./...
	@git diff --exit-code --stat || { echo "go generate changed these files: commit them"; exit 1; }
	$(GO) test -timeout 30m -race ./...

lint: $(GOLANGCI) ## run the linters alone
	$(GOLANGCI) run ./...

soak: build ## a million executions of random plans, and 1,000 simulated days with faults, judged at every event: minutes of CPU
	$(BIN)/heliostat sim --orders 1000000 --seed 1 --json
	$(BIN)/heliostat sim --days 1000 --seed 1 --faults --json

bench: go-is-there ## a short form of each benchmark, as a table: bin/bench.md (with BENCH_DATA=DIR the published instances, too)
	@test -n "$(BENCH_DATA)" || echo "For the published instances, too: make bench BENCH_DATA=DIR; see docs/benchmarks.md"
	@mkdir -p $(BIN)
	@$(GO) run ./bench/table $(if $(BENCH_DATA),-data $(BENCH_DATA)) -time $(BENCH_TIME) -out $(BIN)/bench.md

microbench: go-is-there ## the Go benchmarks of the packages
	$(GO) test -run '^$$' -bench . -benchmem ./engine/... ./policy/... ./store/... ./collectors/...

protocol: go-is-there ## runs with lost calls and crashes: ours, and a naive control
	@$(GO) run ./bench/protocol -runs 200 -v

adopt: go-is-there ## kill -9 of a daemon with 500 actions in flight: taken over, and journaled to their ends
	@out=$$(HELIOSTAT_ADOPT=500 $(GO) test -count=1 -v -run '^TestAdoptMany$$' ./cmd/heliostat) && status=0 || status=$$?; \
	echo "$$out" | grep -o '{"in_flight.*}'; [ $$status = 0 ] || { echo "$$out"; exit 1; }

powercut: go-is-there ## power cuts while the journal is written, and a control without syncs (root, loop devices)
	@$(GO) run ./bench/powercut -rounds 100

FUZZTIME ?= 10m
fuzz: go-is-there ## fuzz each decoder for FUZZTIME (10m); what fails is kept in testdata/fuzz, commit it
	@GO=$(GO) .ci/fuzz $(FUZZTIME)

$(GOLANGCI):
	GOBIN=$(CURDIR)/$(BIN) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

clean: ## remove what was built
	rm -rf $(BIN)

.PHONY: go-is-there
go-is-there:
	@command -v $(GO) >/dev/null || { echo "Go 1.26 or later is needed: https://go.dev/dl/"; exit 1; }
